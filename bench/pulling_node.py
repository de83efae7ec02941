"""One end of the pull benchmark: `python -m bench.pulling_node serve|pull|serve-plain|pull-plain DIRECTORY NAME ...`.

`serve` and `pull` are our side channel; the plain ones are the standard library alone, under the same certificates and
the same TLS: `SSLSocket.sendfile` there, `recv_into` and `write` here. A server prints a line once it listens; a puller
prints the seconds it took and the CPU seconds it used.
"""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import sys
import time
from pathlib import Path

from megatools.hostkit.tasks import Supervisor
from megatools.minimega.mesh.channel import Channel
from megatools.minimega.mesh.credentials import Credentials
from megatools.minimega.mesh.credentials import CredentialStore as Store
from megatools.minimega.mesh.mesh import Caller, Member
from megatools.minimega.mesh.tls import Secured

PORT = 9101  # beside a daemon, which has 9000 and 9001
CHUNK = 16 << 20  # what is pulled at once, as in a transfer of chunks
_PLAIN_BUFFER = 1 << 18


def _secured(directory: Path, name: str) -> tuple[Secured, Credentials]:
    store = Store(directory / name, name)
    found = store.load()
    assert found is not None
    return Secured(found, store), found


async def _serve(directory: Path, name: str, address: str) -> None:
    secured, _ = _secured(directory, name)

    def find(_caller: Caller, wanted: str) -> Path:
        return directory / wanted

    async with Supervisor("bench") as supervisor:
        channel = Channel(name, secured, supervisor)
        channel.share(find)
        channel.listen(address, PORT)
        print("listening", flush=True)
        await asyncio.Event().wait()


async def _pull(directory: Path, name: str, address: str, server: str, wanted: str, size: int) -> float:
    secured, _ = _secured(directory, name)
    member = Member(server, server, f"{address}:{PORT}")
    async with Supervisor("bench") as supervisor:
        channel = Channel(name, secured, supervisor)
        descriptor = os.open(directory / "got", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            started = time.monotonic()
            for offset in range(0, size, CHUNK):
                await channel.pull(member, wanted, offset, CHUNK, descriptor)
            return time.monotonic() - started
        finally:
            os.close(descriptor)
            await channel.close()


def _serve_plain(directory: Path, name: str, address: str, wanted: str) -> None:
    secured, _ = _secured(directory, name)
    with socket.create_server((address, PORT)) as listener:
        print("listening", flush=True)
        while True:
            sock, _ = listener.accept()
            with (
                secured.server.wrap_socket(sock, server_side=True) as connection,
                (directory / wanted).open("rb") as source,
            ):
                connection.sendfile(source)


def _pull_plain(directory: Path, name: str, address: str, size: int) -> float:
    secured, _ = _secured(directory, name)
    started = time.monotonic()
    with (
        socket.create_connection((address, PORT)) as sock,
        secured.client.wrap_socket(sock) as connection,
        (directory / "got").open("wb", buffering=0) as into,
        memoryview(bytearray(_PLAIN_BUFFER)) as buffer,
    ):
        left = size
        while left and (count := connection.recv_into(buffer)):
            into.write(buffer[:count])
            left -= count
    return time.monotonic() - started


def main() -> None:
    """Be the end that was asked for."""
    what, directory, name, address, *rest = sys.argv[1:]
    place = Path(directory)
    if what == "serve":
        asyncio.run(_serve(place, name, address))
    elif what == "serve-plain":
        _serve_plain(place, name, address, rest[0])
    elif what == "pull":
        _report(asyncio.run(_pull(place, name, address, rest[0], rest[1], int(rest[2]))), place, int(rest[2]))
    else:
        _report(_pull_plain(place, name, address, int(rest[2])), place, int(rest[2]))


def _report(took_s: float, place: Path, size: int) -> None:
    got = (place / "got").stat().st_size
    assert got == size, f"{got} bytes came, not {size}"
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(took_s, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


if __name__ == "__main__":
    main()
