"""What a node's certificate says of it: its name, its cluster, and what it may ask of others. Pure.

`credentials`, `issuing`, `signing` and `channel` read and write it. The node's name stands in a URI of the
certificate's alternative names, with everything else::

    megatools:node:CLUSTER:NAME:ROLE:NAMESPACE          each part percent-encoded

The common name is new with every certificate (`kn1#5f2c...`: the name, then the certificate's serial number), because
the mesh engine can refuse a peer by its common name alone, and a revoked node may be enrolled again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import msgspec

from megatools.hostkit.errors import Corrupt, InvalidInput
from megatools.minimega.mesh.mesh import Caller, Role

if TYPE_CHECKING:
    from megatools.hostkit.x509 import Certificate

_SCHEME = "megatools:node:"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LONGEST_IN_COMMON_NAME = 47  # of 64, with `#` and 16 digits after it


class Identity(msgspec.Struct, frozen=True):
    """A node of a cluster; `namespace` is the only one it may ask something in (empty: any)."""

    cluster: str
    name: str
    role: Role = Role.FULL
    namespace: str = ""

    @property
    def caller(self) -> Caller:
        """Who asks, when this node asks."""
        return Caller(self.name, self.role, self.namespace)

    @property
    def uri(self) -> str:
        """As it stands in the certificate."""
        parts = (self.cluster, self.name, self.role.value, self.namespace)
        return _SCHEME + ":".join(quote(part, safe="") for part in parts)


def check_name(name: str) -> str:
    """The name of a node as it is. Raises InvalidInput when no host is called that."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f'"{name}" is not a name for a node', hint="letters, digits, dots, dashes and underscores, at most 64"
        )
    return name


def read_uri(uri: str) -> Identity:
    """The identity in a URI. Raises Corrupt."""
    parts = uri.removeprefix(_SCHEME).split(":")
    if not uri.startswith(_SCHEME) or len(parts) != 4:
        raise Corrupt(f'"{uri}" does not name a node')
    cluster, name, role, namespace = map(unquote, parts)
    try:
        return Identity(cluster, check_name(name), Role(role), namespace)
    except (ValueError, InvalidInput) as error:
        raise Corrupt(f'"{uri}" does not name a node') from error


def identity_of(certificate: Certificate) -> Identity:
    """Whose certificate it is. Raises Corrupt when it is not a node's."""
    uris = [uri for uri in certificate.names.uris if uri.startswith(_SCHEME)]
    if len(uris) != 1:
        raise Corrupt(f'the certificate "{certificate.names.common}" is not one of a node')
    return read_uri(uris[0])


def common_name(name: str, serial: str) -> str:
    """The common name of a node's certificate; `serial` is the serial number in hexadecimal."""
    return f"{name[:_LONGEST_IN_COMMON_NAME]}#{serial[:16]}"


def is_common_name_of(common: str, name: str) -> bool:
    """Whether a common name, as the mesh engine saw it proven, is one of a certificate of this node."""
    return common.rpartition("#")[0] == name[:_LONGEST_IN_COMMON_NAME] != ""


def cluster_of(authority: Certificate) -> str:
    """The id of the cluster of an authority: the beginning of its fingerprint, in hexadecimal."""
    return authority.fingerprint.hex()[:16]
