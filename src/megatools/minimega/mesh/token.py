"""The one-time token that lets a new node join a cluster. Pure; made by `issuing`, read by the node that joins.

    mt1.BASE64URL       of msgpack [authority's fingerprint, secret, port, addresses]

Whoever reads a token may join under it until it is used or expires; the secret itself never goes over the network.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

import msgspec

from megatools.hostkit.errors import InvalidInput

_PREFIX = "mt1."
_SECRET_LENGTH = 16


class Token(msgspec.Struct, frozen=True, array_like=True):
    """What a node needs to know to join: whom to believe, the secret to prove, and where to ask."""

    fingerprint: bytes
    secret: bytes
    port: int
    addresses: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """What the invitation is called in the open."""
        return hashlib.sha256(b"megatools invitation\0" + self.secret).hexdigest()[:16]

    @property
    def text(self) -> str:
        """As it is handed to a person."""
        return _PREFIX + base64.urlsafe_b64encode(msgspec.msgpack.encode(self)).decode().rstrip("=")

    def proof(self, server: bytes, name: str, request: bytes) -> bytes:
        """Proves to the server with this certificate's fingerprint that who sends a signing request has the secret."""
        parts = [b"megatools join 1", server, name.encode(), request]
        return hmac.digest(self.secret, b"".join(len(part).to_bytes(4, "big") + part for part in parts), "sha256")

    def proven(self, proof: bytes, server: bytes, name: str, request: bytes) -> bool:
        """Whether a proof is right."""
        return hmac.compare_digest(proof, self.proof(server, name, request))


def read_token(text: str) -> Token:
    """The token in a text. Raises InvalidInput."""
    body = text.strip().removeprefix(_PREFIX)
    hint = "copy the whole of what `cluster invite` printed"
    if not text.strip().startswith(_PREFIX):
        raise InvalidInput(f'this is no token to join a cluster: it does not begin with "{_PREFIX}"', hint=hint)
    try:
        found = msgspec.msgpack.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)), type=Token)
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise InvalidInput("the token is damaged", hint=hint) from error
    if len(found.fingerprint) != hashlib.sha256().digest_size or len(found.secret) != _SECRET_LENGTH:
        raise InvalidInput("the token is damaged", hint=hint)
    if not 1 <= found.port <= 65535:
        raise InvalidInput(f'the token names port "{found.port}"', hint=hint)
    return found
