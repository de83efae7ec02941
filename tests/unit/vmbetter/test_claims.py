"""What a shell uses is neither pruned nor replaced, until it ends."""

import os
from pathlib import Path

import pytest

from megatools.hostkit.errors import InvalidState
from megatools.vmbetter import claims
from megatools.vmbetter.cache import Cache


def test_a_claim_lasts_as_long_as_its_descriptor(tmp_path: Path) -> None:
    assert not claims.is_claimed(tmp_path / "absent")
    assert not claims.is_claimed(tmp_path)
    first = claims.claim(tmp_path)
    assert first is not None
    assert claims.is_claimed(tmp_path)
    assert claims.claim(tmp_path, shared=True) is None
    os.close(first)
    assert not claims.is_claimed(tmp_path)


def test_what_is_claimed_is_not_removed(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    used, other = cache.folder("unpacked", "used"), cache.folder("unpacked", "other")
    held = [claims.claim(used, shared=True), claims.claim(used, shared=True)]
    assert [one.key for one in cache.prune(keep_bytes=-1)] == ["other"]
    assert not other.exists()
    with pytest.raises(InvalidState, match='used" is the tree of a shell'):
        cache.discard(used)
    for descriptor in held:
        assert descriptor is not None
        os.close(descriptor)
    cache.discard(used)
    assert not used.exists()
