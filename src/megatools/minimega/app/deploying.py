"""What deployments from this daemon need: its flags, its files, and the right to make other nodes members."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from megatools.hostkit.errors import NotFound, Unavailable
from megatools.hostkit.ranges import compress
from megatools.minimega.app.settings import Settings
from megatools.minimega.cluster.deploy import Deployment
from megatools.minimega.mesh.credentials import CredentialStore
from megatools.minimega.mesh.issuing import Authority, required_authority

# What the daemons of one mesh must agree on, or want alike.
_SHARED = (
    *("base", "cluster_dir", "level", "vlanrange"),
    *("mesh_open", "mesh_hubs", "mesh_timeout", "context", "port", "broadcast", "msa"),
)


class _AuthorityHere:
    """Satisfies `cluster.deploy.Enroller` with the authority in this host's cluster directory."""

    def __init__(self, store: CredentialStore, authorities: Callable[[], Sequence[str]]) -> None:
        self._store = store
        self._authorities = authorities

    def enrolled(self, name: str) -> bool:
        """Whether a node of this name is a member already."""
        return self._authority().member(name) is not None

    def credentials(self, name: str) -> bytes:
        """The content of `node.pem` for a node of this name."""
        return self._authority().credentials(name).pem

    def _authority(self) -> Authority:
        try:
            return required_authority(self._store)
        except NotFound as error:
            if not self._store.is_member:
                raise Unavailable(
                    "no cluster to make it a member of", hint="cluster init here, or use -mesh-open"
                ) from error
            where = compress(self._authorities()) or "the host where `cluster init` ran"
            raise Unavailable(
                f'"{self._store.host}" cannot make it a member: the authority of the cluster is not here',
                hint=f"deploy from {where}",
            ) from error


def deployment(
    settings: Settings, host: str, store: CredentialStore, authorities: Callable[[], Sequence[str]]
) -> Deployment:
    """The deployments of this daemon; flags that are at their defaults are left out.

    `authorities` are the hosts that are known to have the cluster's.
    """
    enroller = None if settings.mesh_open else _AuthorityHere(store, authorities)
    flags: list[str] = []
    for name in _SHARED:
        value: object = getattr(settings, name)
        if value != getattr(Settings(), name):
            flags.append(f"-{name.replace('_', '-')}={_written(value)}")
    return Deployment(
        here=host,
        defaults=flags,
        base=Settings().base,
        cluster_dir=Settings().cluster_dir,
        cache=_cache(),
        enroller=enroller,
    )


def _written(value: object) -> str:
    """A value as a flag takes it."""
    match value:
        case bool():
            return str(value).lower()
        case tuple():
            return ",".join(str(item) for item in cast("tuple[object, ...]", value))
        case _:
            return str(value)


def _cache() -> Path:
    return Path("/var/cache/megatools/deploy")
