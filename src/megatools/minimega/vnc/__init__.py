"""Consoles: from a browser to the VNC socket of a VM."""
