"""What a capture shows to who listens on the wire: the bytes of each TCP connection, and the datagrams. Pure.

Reads pcap files of Ethernet with IPv4, as tcpdump writes them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_TLS13 = 0x0304
_CHANGE_CIPHER_SPEC, _ALERT, _HANDSHAKE, _DATA = 20, 21, 22, 23
_CLIENT_HELLO, _SERVER_HELLO = 1, 2
_SERVER_NAME, _SUPPORTED_VERSIONS, _EARLY_DATA = 0, 43, 42


@dataclass
class Flow:
    """One direction of a TCP connection; `begun` says that its first packet was captured."""

    source: str
    target: str
    begun: bool = False
    parts: dict[int, bytes] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        """All bytes, in order; fails where some were not captured."""
        found = b""
        for at, part in sorted(self.parts.items()):
            assert at <= len(found), f"a gap in {self.source} -> {self.target}"
            found += part[len(found) - at :]
        return found


@dataclass
class Capture:
    """TCP flows, and UDP datagrams as (source, target, payload)."""

    flows: list[Flow]
    datagrams: list[tuple[str, str, bytes]]

    def between(self, port: int) -> list[Flow]:
        """The flows to and from a port."""
        return [f for f in self.flows if f.source.endswith(f":{port}") or f.target.endswith(f":{port}")]


def read_capture(path: Path) -> Capture:
    """What is in a pcap file."""
    flows: dict[tuple[str, str], list[Flow]] = {}
    starts: dict[int, int] = {}
    datagrams: list[tuple[str, str, bytes]] = []
    for packet in _ip_packets(path):
        header, protocol = (packet[0] & 15) * 4, packet[9]
        source, target = (".".join(map(str, packet[at : at + 4])) for at in (12, 16))
        body = packet[header : int.from_bytes(packet[2:4], "big")]
        if protocol not in (6, 17):
            continue
        near, far = struct.unpack_from("!HH", body)
        ends = (f"{source}:{near}", f"{target}:{far}")
        if protocol == 17:
            datagrams.append((*ends, body[8:]))
            continue
        sequence, flags, payload = struct.unpack_from("!I", body, 4)[0], body[13], body[(body[12] >> 4) * 4 :]
        known = flows.setdefault(ends, [])
        if flags & 2 or not known:  # SYN: a new connection between these ports
            known.append(Flow(*ends, begun=bool(flags & 2)))
            starts[id(known[-1])] = sequence + bool(flags & 2)
        if payload:
            at = (sequence - starts[id(known[-1])]) % (1 << 32)
            known[-1].parts[at] = max(known[-1].parts.get(at, b""), payload, key=len)
    return Capture([flow for known in flows.values() for flow in known], datagrams)


def _ip_packets(path: Path) -> Iterator[bytes]:
    data = path.read_bytes()
    assert data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1"), "not a pcap file of this machine"
    assert struct.unpack_from("<I", data, 20)[0] == 1, "not Ethernet"
    at = 24
    while at + 16 <= len(data):
        captured = struct.unpack_from("<I", data, at + 8)[0]
        frame = data[at + 16 : at + 16 + captured]
        at += 16 + captured
        if frame[12:14] == b"\x08\x00":
            yield frame[14:]


def check_tls13(flow: Flow) -> str:
    """Fail unless a flow is TLS 1.3 from its first byte to its last; returns which end it comes from, if it says."""
    content, at, said = flow.content, 0, ""
    while at < len(content):
        kind, version, length = struct.unpack_from("!BHH", content.ljust(at + 5, b"\0"), at)
        assert kind in (_CHANGE_CIPHER_SPEC, _ALERT, _HANDSHAKE, _DATA), f"not TLS: {content[at : at + 40]!r}"
        assert version in (0x0301, 0x0303) and length <= (1 << 14) + 256, f"not TLS: {content[at : at + 40]!r}"
        if kind == _HANDSHAKE:
            assert not said, "a second handshake message in the clear"
            said = _check_hello(content[at + 5 : at + 5 + length])
        assert kind != _DATA or said, "data before the handshake"
        at += 5 + length
    return said


def _check_hello(message: bytes) -> str:
    """What each end says in the clear: nothing of names, and that it speaks 1.3."""
    kind = message[0]
    assert kind in (_CLIENT_HELLO, _SERVER_HELLO), "a handshake message in the clear that is no hello"
    extensions = _extensions(message, client=kind == _CLIENT_HELLO)
    assert _SERVER_NAME not in extensions, f"a name in the clear: {extensions[_SERVER_NAME]!r}"
    assert _EARLY_DATA not in extensions
    versions = extensions.get(_SUPPORTED_VERSIONS, b"")
    if kind == _SERVER_HELLO:
        assert versions == _TLS13.to_bytes(2, "big"), "not TLS 1.3"
        return "server"
    return "client"


def _extensions(message: bytes, *, client: bool) -> dict[int, bytes]:
    at = 4 + 2 + 32
    at += 1 + message[at]  # session id
    at += 2 + int.from_bytes(message[at : at + 2], "big") if client else 2  # cipher suites
    at += 1 + message[at] if client else 1  # compression
    end = at + 2 + int.from_bytes(message[at : at + 2], "big")
    at += 2
    found: dict[int, bytes] = {}
    while at < end:
        number, length = struct.unpack_from("!HH", message, at)
        found[number] = message[at + 4 : at + 4 + length]
        at += 4 + length
    return found
