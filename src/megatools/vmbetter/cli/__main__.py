"""Lets `python -m megatools.vmbetter.cli` be the program."""

from megatools.vmbetter.cli.main import main

main()
