"""Package sources as apt has them: both file formats, one suite of them, nothing about trust."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatools.hostkit.bootstrap import mmdebstrap
from megatools.hostkit.bootstrap.sources import Archive, for_suite, host_sources, parse_deb822, parse_list
from megatools.hostkit.errors import Unavailable

DEB822 = """\
# a comment
Types: deb deb-src
URIs: http://archive.test/debian
Suites: bookworm bookworm-updates
Components: main
  contrib
Trusted: yes
Signed-By: /usr/share/keyrings/a.gpg

Types: deb
URIs: http://off.test/debian
Suites: bookworm
Enabled: no

Types: deb
URIs: http://other.test
Suites: nodistro
Components: main
"""


def test_deb822_is_read_without_disabled_stanzas_and_without_trust() -> None:
    first, other = parse_deb822(DEB822)
    assert first.components == ("main", "contrib")
    assert first.signed_by == "/usr/share/keyrings/a.gpg"
    assert "rusted" not in first.text()
    assert other.suites == ("nodistro",)


def test_one_line_style_is_read_with_its_options() -> None:
    line = "deb [arch=amd64 signed-by=/k.gpg trusted=yes] http://a.test/debian bookworm main contrib # x\n"
    assert parse_list(line + "#deb http://b.test c d\n") == [
        Archive(("http://a.test/debian",), ("bookworm",), ("main", "contrib"), ("amd64",), "/k.gpg")
    ]


def test_only_the_suite_and_its_pockets_are_taken_and_renamed() -> None:
    found = for_suite(parse_deb822(DEB822), "bookworm", "trixie")
    assert [archive.suites for archive in found] == [("trixie", "trixie-updates")]


def test_a_host_without_a_source_says_so(tmp_path) -> None:
    (tmp_path / "etc/apt").mkdir(parents=True)
    (tmp_path / "etc/os-release").write_text('VERSION_CODENAME="bookworm"\n')
    with pytest.raises(Unavailable, match='no package source for "bookworm"'):
        host_sources("bookworm", tmp_path)
    (tmp_path / "etc/apt/sources.list").write_text("deb http://a.test/debian bookworm main\n")
    assert host_sources("bookworm", tmp_path)[0].uris == ("http://a.test/debian",)


words = st.lists(st.text("abcxyz/:.-", min_size=1), min_size=1, max_size=3).map(tuple)


@given(words, words, words)
def test_text_is_read_back_as_it_was(uris, suites, components) -> None:
    archive = Archive(uris, suites, components, ("amd64",), "/k.gpg")
    assert parse_deb822(archive.text()) == [archive]


@given(st.text())
def test_any_text_is_read_without_a_fault(text) -> None:
    for archive in parse_deb822(text) + parse_list(text):
        assert isinstance(archive, Archive)


def test_the_command_names_packages_and_trusts_only_what_apt_has_checked(tmp_path) -> None:
    request = mmdebstrap.Request("bookworm", ("b", "c"), "amd64", "Types: deb\n")
    words = mmdebstrap.argv(request, tmp_path / "t.tar", tmp_path / "r", tmp_path / "s")
    assert "--include=b,c" in words
    assert words[-3:-1] == ["bookworm", str(tmp_path / "t.tar")]
    # our own folder of packages that apt has checked is trusted; nothing from elsewhere is
    assert words[-1] == f"deb [trusted=yes] copy:{tmp_path / 'r'} bookworm main"
    assert not any("nsecure" in word or "nauthenticated" in word or "rusted" in word for word in words[:-1])
