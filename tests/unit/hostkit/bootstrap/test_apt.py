"""What apt's words mean: each known trouble is an error of its kind that names the thing."""

from pathlib import Path

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


VIRTUAL = """Reading package lists...
Package mail-transport-agent is a virtual package provided by:
  postfix 3.7.11-0+deb12u1
  postfix 3.7.10-0+deb12u1
  exim4-daemon-light 4.96-15
You should explicitly select one to install.

E: Package 'mail-transport-agent' has no installation candidate
"""


def test_a_virtual_package_is_told_with_those_that_provide_it() -> None:
    virtual = apt.providers(VIRTUAL)
    assert virtual == {"mail-transport-agent": ["postfix", "exim4-daemon-light"]}
    error = apt.MissingPackages(["mail-transport-agent", "lesss"], {"lesss": "less"}, virtual)
    one = 'no package "lesss" in the sources; '
    assert (
        error.message == one + '"mail-transport-agent" is no package but a name for one of postfix, exim4-daemon-light'
    )
    assert error.hint == 'did you mean "less"?'
    assert apt.MissingPackages(["mail-transport-agent"], {}, virtual).hint == "name the one you want"


UNMET = """Some packages could not be installed. This may mean that you have
requested an impossible situation or if you are using the unstable
The following packages have unmet dependencies:
 hello : Depends: libnot (>= 2) but it is not installable
         Conflicts: other but 1 is to be installed
E: Unable to correct problems, you have held broken packages.
"""


def test_what_a_package_lacks_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt, "host_options", lambda: ())
    monkeypatch.setenv("http_proxy", "http://proxy.test:3128")
    one = apt.Apt(tmp_path, [], architecture="amd64", local=[])
    error = one.reason(UNMET.splitlines())
    assert "held broken packages.\n    hello : Depends: libnot (>= 2) but it is not installable\n    Conflicts" in str(
        error
    )
    assert one.environment["http_proxy"] == "http://proxy.test:3128"
