"""The command families, one file each; no logic."""
