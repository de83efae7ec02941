"""Virtual machines run by QEMU, with KVM where it works and TCG elsewhere; the only place that names QMP."""
