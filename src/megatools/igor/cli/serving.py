"""`igor serve` and `token`."""

from __future__ import annotations

import click

from megatools.igor.api.requests import MakeToken, Token
from megatools.igor.cli.program import HELP, Run
from megatools.igor.run.transitions import spoken


@click.command("serve", context_settings=HELP)
@click.option(
    "-idle-exit",
    "--idle-exit",
    metavar="SECONDS",
    type=click.FloatRange(0),
    default=0.0,
    help="Exit when idle so long.",
)
@click.option("-socket", "--socket", "path", metavar="PATH", help='Listen there ("socket" of igor.conf).')
@click.pass_obj
def serve_command(run: Run, idle_exit: float, path: str | None) -> None:
    """Answer other users over a unix socket, as whoever may write the store (root).

    A socket that systemd passed is used if there is one.
    """
    import asyncio
    import os
    import signal
    from pathlib import Path

    from megatools.hostkit import log
    from megatools.igor.api.service import Service, listening_socket

    log.configure(level="info")
    os.umask(0o022)
    config = run.config
    passed = "LISTEN_FDS" in os.environ
    listener = listening_socket(path or config.socket)

    async def serve() -> None:
        service = Service(config, idle_exit_s=idle_exit)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, service.stop)
        await service.serve(listener)

    try:
        asyncio.run(serve())
    finally:
        listener.close()
        if not passed:
            Path(path or config.socket).unlink(missing_ok=True)


@click.command("token", context_settings=HELP)
@click.option("-days", "--days", metavar="N", type=int, default=30, help="How long it lasts (30).")
@click.pass_obj
def token_command(run: Run, days: int) -> None:
    """Make a token for the API over HTTPS; it is shown once."""
    token = run.ask(MakeToken(days), Token)
    click.echo(token.secret)
    click.echo(f"it lasts until {spoken(token.until_s)}", err=True)
