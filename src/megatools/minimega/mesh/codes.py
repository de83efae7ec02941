"""Codes that stand in for signatures between two nodes that ask each other often. Used by `mesh.signing`.

Two nodes that know each other's certificates have a secret in common that nobody else has (elliptic curve
Diffie-Hellman with the keys of the certificates); a keyed hash over a request proves as much to the one who is asked as
a signature does, for a thirtieth of the work. The signature goes along: who has no code, or does not know it, reads
that. Of each direction the secret is another one, so that no code can be sent back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b
from hmac import compare_digest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from megatools.hostkit.x509 import Certificate, Key

_SECRET, _REQUEST, _CODE = b"mt code secret 1", b"mt code ask 1", b"mt code 1"
"""What BLAKE2 is used for each time (its `person`, 16 bytes at most)."""

CODE_BYTES = 16
_NO_CODE = bytes(CODE_BYTES)
_FIRST_SIGNED = 3
"""So many requests to a node go without a code: agreeing on a secret costs both about what one signature does."""

_MOST_KNOWN = 4096


class Codes:
    """This node's codes."""

    def __init__(self, key: Key, own: Certificate) -> None:
        self._key = key
        self._own = own
        self._met: dict[str, Certificate] = {}
        self._asked: Counter[str] = Counter()
        self._secrets: dict[tuple[bytes, bool], bytes] = {}

    def met(self, name: str, certificate: Certificate) -> None:
        """A node of this name proved that it has a certificate: it is the one to make codes for."""
        if name not in self._met and len(self._met) >= _MOST_KNOWN:
            self._met.clear()
        self._met[name] = certificate

    def make(self, request: bytes, names: Sequence[str]) -> bytes:
        """Codes for the nodes that are asked, in their order, those that were met and asked before; empty for none."""
        digest = _digest(request)
        codes = [self._for(name, digest) for name in names]
        return b"".join(codes) if any(code is not _NO_CODE for code in codes) else b""

    def _for(self, name: str, digest: bytes) -> bytes:
        certificate = self._met.get(name)
        if certificate is None:
            return _NO_CODE
        self._asked[name] += 1
        if self._asked[name] <= _FIRST_SIGNED:
            return _NO_CODE
        return _code(self._secret(certificate, ours=True), digest)

    def fits(self, codes: bytes, place: int, request: bytes, certificate: Certificate) -> bool:
        """Whether the holder of a certificate made the code at our place, for us and over this request."""
        code = codes[place * CODE_BYTES : (place + 1) * CODE_BYTES]
        if code in (b"", _NO_CODE):
            return False
        return compare_digest(code, _code(self._secret(certificate, ours=False), _digest(request)))

    def _secret(self, other: Certificate, *, ours: bool) -> bytes:
        """What only this node and another one know, for our requests or for its."""
        place = other.fingerprint, ours
        known = self._secrets.get(place)
        if known is None:
            if len(self._secrets) >= 2 * _MOST_KNOWN:
                self._secrets.clear()
            sender, receiver = (self._own, other) if ours else (other, self._own)
            material = self._key.agree(other) + sender.fingerprint + receiver.fingerprint
            known = self._secrets[place] = blake2b(material, digest_size=32, person=_SECRET).digest()
        return known


def _digest(request: bytes) -> bytes:
    return blake2b(request, digest_size=32, person=_REQUEST).digest()


def _code(secret: bytes, digest: bytes) -> bytes:
    return blake2b(digest, digest_size=CODE_BYTES, key=secret, person=_CODE).digest()
