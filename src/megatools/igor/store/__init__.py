"""igor's memory: one SQLite file, whose every change carries the boot files with it."""
