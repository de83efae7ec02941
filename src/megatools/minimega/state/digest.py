"""A short summary of shared records, kept up to date as they change, by which two nodes find where they differ.

Used by `state.shared` and `cluster.replication`. Each record falls into one of `BUCKETS` buckets by the hash of its
name; a bucket's sum is the exclusive or of its records' hashes (name and stamp), so that adding and removing are the
same cheap operation and the order does not matter.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from hashlib import blake2b

from megatools.minimega.state.stamps import Stamp

BUCKETS = 256


class Digest:
    """The sums of all buckets, and what is in each."""

    def __init__(self) -> None:
        self._sums = [0] * BUCKETS
        self._keys: list[set[tuple[str, str]]] = [set() for _ in range(BUCKETS)]

    @property
    def sums(self) -> Sequence[int]:
        """A 64 bit sum per bucket."""
        return self._sums

    @property
    def root(self) -> int:
        """One 64 bit sum for everything."""
        packed = b"".join(number.to_bytes(8, "big") for number in self._sums)
        return int.from_bytes(blake2b(packed, digest_size=8).digest(), "big")

    def bucket(self, number: int) -> Collection[tuple[str, str]]:
        """The kinds and ids of a bucket's records."""
        return self._keys[number]

    def add(self, kind: str, id: str, stamp: Stamp) -> None:
        """A record is there."""
        bucket = bucket_of(kind, id)
        self._keys[bucket].add((kind, id))
        self._sums[bucket] ^= _hash(kind, id, stamp)

    def remove(self, kind: str, id: str, stamp: Stamp) -> None:
        """A record that was added is gone."""
        bucket = bucket_of(kind, id)
        self._keys[bucket].discard((kind, id))
        self._sums[bucket] ^= _hash(kind, id, stamp)


def bucket_of(kind: str, id: str) -> int:
    """The bucket a record falls into."""
    return blake2b(f"{kind}\0{id}".encode(), digest_size=1).digest()[0]


def _hash(kind: str, id: str, stamp: Stamp) -> int:
    text = f"{kind}\0{id}\0{stamp.time_ms}\0{stamp.count}\0{stamp.node}"
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")
