"""`igor web`; the program's table of commands names it."""

from __future__ import annotations

from typing import Protocol

import click

from megatools.igor.model.config import Config


class HasConfig(Protocol):
    """A run of the program, as far as this command needs it."""

    @property
    def config(self) -> Config:
        """The configuration in force."""
        ...


@click.command("web", context_settings={"help_option_names": ["-h", "-help", "--help"]})
@click.option("-listen", "--listen", metavar="HOST:PORT", help='Serve there ("listen" of igor.conf; port 0: any).')
@click.pass_obj
def web_command(run: HasConfig, listen: str | None) -> None:
    """Serve the page and the API over HTTPS, as whoever may write the store (root).

    People sign in with what "igor token" gives them.
    """
    import os

    from megatools.hostkit import log
    from megatools.igor.web.server import serve

    log.configure(level="warn")
    os.umask(0o022)
    serve(run.config, listen or run.config.listen, _announce)


def _announce(url: str) -> None:
    click.echo(url)
