"""Bulk bytes between a file and a connection: blocking, for the threads of `channel`.

Each copy holds one buffer of a MiB, whatever the length. Files are read and not mapped: a mapped one that is cut short
meanwhile would kill the process.
"""

from __future__ import annotations

import os
import socket
import ssl

from megatools.hostkit.errors import Unavailable
from megatools.minimega.mesh.connection import Ended

_BUFFER = 1 << 20


def send_file(sock: socket.socket, source: int, offset: int, length: int) -> None:
    """Send a part of an open file. Raises Ended when the file has become shorter, OSError (also TimeoutError)."""
    if isinstance(sock, ssl.SSLSocket):
        _send_encrypted(sock, source, offset, length)
    else:
        _send_plain(sock, source, offset, length)


def _send_encrypted(sock: ssl.SSLSocket, source: int, offset: int, length: int) -> None:
    with memoryview(bytearray(min(_BUFFER, length))) as buffer:
        while length > 0:
            count = os.preadv(source, [buffer[: min(length, len(buffer))]], offset)
            if count == 0:
                raise Ended("the file has become shorter")
            sock.sendall(buffer[:count])
            offset += count
            length -= count


def _send_plain(sock: socket.socket, source: int, offset: int, length: int) -> None:
    with open(os.dup(source), "rb", buffering=0) as stream:  # noqa: PTH123 it is a descriptor
        if sock.sendfile(stream, offset, length) != length:
            raise Ended("the file has become shorter")


def receive_file(sock: socket.socket, into: int, offset: int, length: int) -> None:
    """Write bytes that come to the same place of an open file.

    Raises Ended when too few come, OSError (of the connection), Unavailable when the file takes no more.
    """
    with memoryview(bytearray(min(_BUFFER, length))) as buffer:
        filled = 0
        while length > 0:
            count = sock.recv_into(buffer[filled : min(len(buffer), length)])
            if count == 0:
                raise Ended("the connection was closed")
            filled += count
            if filled == min(len(buffer), length):
                _write(into, buffer[:filled], offset)
                offset += filled
                length -= filled
                filled = 0


def _write(into: int, data: memoryview, offset: int) -> None:
    while data:
        try:
            written = os.pwrite(into, data, offset)
        except OSError as error:  # not the other node's fault
            raise Unavailable("cannot write the file", hint="is the disk full?") from error
        data = data[written:]
        offset += written
