"""The `vmbetter` program."""

from megatools.vmbetter.cli.main import main

__all__ = ["main"]
