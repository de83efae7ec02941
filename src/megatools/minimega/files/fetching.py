"""Arguments that name files elsewhere, on a host with peers: `file:` looks everywhere, the rest as on one host.

Satisfies `lang.fetch.Fetcher`; made by `app` for the interpreter. Source: spec B.4, B.18.
"""

from __future__ import annotations

from megatools.minimega.files.library import Library
from megatools.minimega.lang.fetch import LocalFetcher


class ClusterFetcher:
    """Fetches what `file:` names from peers when it is not here, then does as a single host does."""

    def __init__(self, library: Library, *, local: LocalFetcher | None = None) -> None:
        self._library = library
        self._local = local or LocalFetcher(library.store.root)

    async def fetch(self, url: str) -> str:
        """The absolute path of the file, once it is whole. Raises NotFound, InvalidInput, Unavailable."""
        scheme, _, name = url.partition(":")
        if scheme in ("file", "tar") and not self._library.store.inside(name).exists():
            await self._library.ensure([name.lstrip("/")])
        return await self._local.fetch(url)
