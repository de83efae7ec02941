"""The pages: where they are served, and where noVNC comes from."""

from __future__ import annotations

from megatools.minimega.commands.services import Cmd, Services
from megatools.minimega.lang.registry import Family

family: Family[Services] = Family("web", "Pages and consoles in the browser")


@family.command("vnc serve [address]")
async def vnc_serve(call: Cmd, address: str | None = None) -> str:
    """Serve the pages: all VMs, and a console for each

    Prints the address to open, with the token it asks for; the token is new at every start of the daemon.

    Without an address: port 8080, reachable from this machine only. A port alone (8081 or :8081) also means this
    machine only; to be reachable from others, name an address:

        vnc serve
        vnc serve :8081
        vnc serve 0.0.0.0:8080
    """
    return await call.services.web.start(address or "")


@family.command("vnc novnc [path]")
async def vnc_novnc(call: Cmd, path: str | None = None) -> str | None:
    """Show or set the directory noVNC is served from

    minimega brings its own noVNC; another one must hold core/rfb.js. "clear vnc" goes back to ours.
    """
    return _novnc(call, path)


@family.command("clear vnc")
async def clear_vnc(call: Cmd) -> None:
    """Serve the noVNC that minimega brings"""
    call.services.web.set_novnc("")


@family.command("web [port]")
async def web(call: Cmd, port: str | None = None) -> str:
    """Serve the pages, as "vnc serve" does

    Prints the address to open. The port is 8080 unless given; ADDRESS:PORT is taken as well.
    """
    return await call.services.web.start(port or "")


@family.command("clear web")
async def clear_web(call: Cmd) -> None:
    """Serve the noVNC that minimega brings, as "clear vnc" does"""
    call.services.web.set_novnc("")


@family.command("web novnc [path]")
async def web_novnc(call: Cmd, path: str | None = None) -> str | None:
    """Show or set the directory noVNC is served from, as "vnc novnc" does"""
    return _novnc(call, path)


def _novnc(call: Cmd, path: str | None) -> str | None:
    if path is None:
        return call.services.web.novnc
    call.services.web.set_novnc(path)
    return None
