"""What apt's words mean: each known trouble is an error of its kind that names the thing."""

import pytest

from megatools.hostkit.bootstrap import apt
from megatools.hostkit.errors import Corrupt, MegaError, NotFound, PermissionDenied, Unavailable

SAID = [
    ("Err:1 http://a.test x InRelease\n  Could not resolve 'a.test'", Unavailable, "cannot be reached"),
    ("  Cannot initiate the connection to a.test:80 - connect (101: Network is unreachable)", Unavailable, "reached"),
    ("W: GPG error: http://a.test x InRelease: NO_PUBKEY 01", PermissionDenied, "signature cannot be checked"),
    ("E: The repository 'http://a.test x InRelease' is not signed.", PermissionDenied, "InRelease' is not signed"),
    ("E: The repository 'http://a.test/d x Release' does not have a Release file.", NotFound, 'has no suite "x"'),
    ("E: Version '1.0-2' for 'hello' was not found", NotFound, 'no "hello" 1.0-2 any more'),
    ("E: Failed to fetch http://a.test/h.deb  Hash Sum mismatch", Corrupt, '"http://a.test/h.deb" has another content'),
    (
        "W: Skipping acquire of configured file 'q/binary-amd64/Packages' as repository 'http://a.test/d x InRelease'"
        " doesn't have the component 'q' (component misspelt in sources.list?)",
        NotFound,
        '"http://a.test/d" has no component "q"',
    ),
]


@pytest.mark.parametrize(("said", "kind", "message"), SAID)
def test_troubles_are_told_apart(said: str, kind: type[MegaError], message: str) -> None:
    found = apt.trouble(said)
    assert isinstance(found, kind)
    assert message in found.message


def test_other_words_mean_no_known_trouble() -> None:
    assert apt.trouble("E: Unable to correct problems, you have held broken packages.") is None
