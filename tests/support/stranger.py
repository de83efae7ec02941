"""Somebody who connects to a side channel by hand: `python -m tests.support.stranger HOST:PORT PEM CALLER WANT NAME`.

PEM is a `node.pem`, `none` for TLS without a certificate, or `plain` for no TLS. Asks once, and prints in hexadecimal
all that comes back until the other end closes or is silent for a while.
"""

from __future__ import annotations

import socket
import sys

import msgspec

from megatools.minimega.mesh.exchange import Ask, Want
from megatools.minimega.mesh.tls import unverified_context

_SILENCE_S = 3.0


def said(address: str, pem: str, ask: Ask) -> bytes:
    """What the other end says."""
    host, _, port = address.rpartition(":")
    data = msgspec.msgpack.encode(ask)
    got = b""
    try:
        with socket.create_connection((host, int(port)), timeout=_SILENCE_S) as plain:
            with _secured(plain, pem) as sock:
                sock.sendall(len(data).to_bytes(4, "big") + data)
                while part := sock.recv(1 << 16):
                    got += part
    except OSError as error:  # refused, reset, an alert, or silence
        print(error, file=sys.stderr)
    return got


def _secured(plain: socket.socket, pem: str) -> socket.socket:
    if pem == "plain":
        return plain
    context = unverified_context()
    if pem != "none":
        context.load_cert_chain(pem)
    return context.wrap_socket(plain)


def main() -> None:
    """Ask as the arguments say."""
    address, pem, caller, want, name = sys.argv[1:]
    print(said(address, pem, Ask(caller, Want(want), name, 0, 1 << 20)).hex())


if __name__ == "__main__":
    main()
