"""The Mega tools: minimega, igor and vmbetter."""

__version__ = "0.1.0"
