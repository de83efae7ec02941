"""Everything that talks to the kernel or to another program; it knows no VM, reservation or build."""
