"""Where packages come from: what options become; no process is started (the architecture is always given)."""

from pathlib import Path

import pytest

from megatools.hostkit.bootstrap.sources import distribution, host_sources
from megatools.hostkit.errors import InvalidInput, NotFound, Unavailable
from megatools.vmbetter.stages import request as requests
from megatools.vmbetter.stages.request import Source, request


@pytest.fixture(autouse=True)
def keyrings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "keyrings"
    folder.mkdir()
    monkeypatch.setattr(requests, "KEYRINGS", folder)
    return folder


def mirror(suite: str, url: str = "http://a.test/x", **more: object) -> Source:
    return Source(suite, url, architecture="amd64", **more)  # type: ignore[arg-type]


def test_the_keys_follow_the_distribution(keyrings: Path) -> None:
    for name in ("debian", "ubuntu"):
        (keyrings / f"{name}-archive-keyring.gpg").write_bytes(b"k")
    for suite, whose in (("bookworm", "debian"), ("jammy", "ubuntu"), ("noble-updates", "ubuntu"), ("sid", "debian")):
        archive = request((), mirror(suite)).archives[0]
        assert archive.signed_by == str(keyrings / f"{whose}-archive-keyring.gpg")
    assert (
        request((), mirror("devel", "http://a.test/ubuntu"))
        .archives[0]
        .signed_by.endswith("ubuntu-archive-keyring.gpg")
    )


def test_absent_keys_of_ubuntu_are_told_and_of_debian_left_to_apt() -> None:
    with pytest.raises(NotFound, match="the keys of Ubuntu are not on this host") as raised:
        request((), mirror("noble"))
    assert "--keyring" in raised.value.hint
    assert request((), mirror("bookworm")).archives[0].signed_by == ""


def test_a_named_keyring_is_used_and_the_image_has_its_own(tmp_path: Path) -> None:
    for name, inside in (("k.gpg", "/etc/apt/keyrings/image.gpg"), ("k.asc", "/etc/apt/keyrings/image.asc")):
        (tmp_path / name).write_bytes(b"k")
        made = request((), mirror("noble", keyring=tmp_path / name, components=("main", "universe")))
        assert made.archives[0].signed_by == str(tmp_path / name)
        assert f"Components: main universe\nSigned-By: {inside}\n" in made.sources()


def test_a_folder_is_a_mirror(tmp_path: Path) -> None:
    assert request((), mirror("x", str(tmp_path))).archives[0].uris == (f"file://{tmp_path}",)
    with pytest.raises(InvalidInput, match="neither a URL nor a folder"):
        request((), mirror("x", "a.test/debian"))


@pytest.mark.parametrize("word", ["a b", "x\nTrusted: yes", "-o", "", "ä"])
def test_words_that_would_say_more_than_a_name_are_refused(word: str) -> None:
    if word:
        with pytest.raises(InvalidInput, match="is no name of a suite"):
            request((), mirror(word))
    with pytest.raises(InvalidInput, match=r"is no name of a component|neither a URL nor a folder"):
        request((), mirror("x", components=(word or " ",)))


def test_a_host_has_the_sources_of_its_own_distribution(tmp_path: Path) -> None:
    (tmp_path / "etc/apt").mkdir(parents=True)
    (tmp_path / "etc/apt/sources.list").write_text("deb http://a.test/ubuntu noble main\n")
    (tmp_path / "etc/os-release").write_text("VERSION_CODENAME=noble\n")
    assert host_sources("jammy", tmp_path)[0].suites == ("jammy",)
    with pytest.raises(Unavailable, match='"trixie" is a suite of Debian, this host has package sources of Ubuntu'):
        host_sources("trixie", tmp_path)
    assert distribution("trixie") == "debian"
