"""Disk images of virtual machines."""
