"""QEMU: command lines, devices, the monitor, images and what an installed QEMU can do."""
