"""Switching nodes on and off: one small file per kind of power control."""
