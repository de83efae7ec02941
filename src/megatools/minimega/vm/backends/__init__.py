"""The kinds of virtual machine: one folder each."""
