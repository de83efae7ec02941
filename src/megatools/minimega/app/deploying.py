"""What deployments from this daemon need: its flags, its files, and the right to make other nodes members."""

from __future__ import annotations

from pathlib import Path

from megatools.hostkit.errors import MegaError, Unavailable
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

    def __init__(self, store: CredentialStore) -> None:
        self._store = store

    def enrolled(self, name: str) -> bool:
        """Whether a node of this name is a member already."""
        return self._authority().member(name) is not None

    def credentials(self, name: str) -> bytes:
        """The content of `node.pem` for a node of this name."""
        return self._authority().credentials(name).pem

    def _authority(self) -> Authority:
        try:
            return required_authority(self._store)
        except MegaError as error:
            raise Unavailable(
                "no cluster to make it a member of",
                hint="cluster init here, or deploy from the host where it ran, or use -mesh-open",
            ) from error


def deployment(settings: Settings, host: str, store: CredentialStore) -> Deployment:
    """The deployments of this daemon; flags that are at their defaults are left out."""
    enroller = None if settings.mesh_open else _AuthorityHere(store)
    flags: list[str] = []
    for name in _SHARED:
        value: object = getattr(settings, name)
        if value != getattr(Settings(), name):
            text = str(value).lower() if isinstance(value, bool) else str(value)
            flags.append(f"-{name.replace('_', '-')}={text}")
    return Deployment(
        here=host,
        defaults=flags,
        base=Settings().base,
        cluster_dir=Settings().cluster_dir,
        cache=_cache(),
        enroller=enroller,
    )


def _cache() -> Path:
    return Path("/var/cache/megatools/deploy")
