"""Manifests: as SPDX 2.3, with all that it requires; as text; compared."""

import hashlib
import re
from pathlib import Path

import msgspec
import pytest

from megatools.hostkit.bootstrap.apt import Offer
from megatools.hostkit.errors import Corrupt, NotFound
from megatools.vmbetter import manifest as manifests
from megatools.vmbetter.config.merge import load
from megatools.vmbetter.lock import Lock
from megatools.vmbetter.manifest import Manifest, Part


def offer(name: str, version: str) -> Offer:
    return Offer(name, version, "amd64", "ab" * 32, 10, 20, "optional")


MADE = Manifest(
    "x", 1700000000, "bookworm", "amd64", "mmdebstrap", (Part("x.conf", "cd" * 32),),
    (Part("over/etc/motd", "ef" * 32),), (Part("x.conf:2:14", "01" * 32),),
    (offer("libstdc++6", "1:12.2.0-14~b+deb12u1"), offer("less", "590-2.1")),
    (Part("x.initrd", "23" * 32),),
)  # fmt: skip
_ID = re.compile(r"SPDXRef-[A-Za-z0-9.-]+\Z")  # SPDX 2.3, clauses 6.3, 7.2


def test_an_spdx_document_has_what_is_required() -> None:
    document = manifests.spdx(MADE)
    assert document["spdxVersion"] == "SPDX-2.3"
    assert document["dataLicense"] == "CC0-1.0"
    assert document["SPDXID"] == "SPDXRef-DOCUMENT"
    assert document["name"]
    assert re.fullmatch(r"[a-z][a-z0-9+.-]*:[^#\s]+", str(document["documentNamespace"]))
    creation = document["creationInfo"]
    assert isinstance(creation, dict)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", creation["created"])
    assert all(re.match(r"(Tool|Person|Organization): .+", creator) for creator in creation["creators"])
    packages = document["packages"]
    assert isinstance(packages, list)
    names = [package["SPDXID"] for package in packages]
    assert len(set(names)) == len(names) == 3
    assert all(_ID.match(name) for name in names)
    for package in packages:
        assert package["name"]
        assert package["downloadLocation"] == "NOASSERTION"
        assert package["filesAnalyzed"] is False
        for checksum in package.get("checksums", []):
            assert checksum["algorithm"] == "SHA256"
            assert re.fullmatch(r"[0-9a-f]{64}", checksum["checksumValue"])
    relations = document["relationships"]
    assert isinstance(relations, list)
    known = {"SPDXRef-DOCUMENT", *names}
    assert {one["spdxElementId"] for one in relations} | {one["relatedSpdxElement"] for one in relations} == known
    assert {one["relationshipType"] for one in relations} == {"DESCRIBES", "CONTAINS"}


def test_configs_are_those_that_were_read(tmp_path: Path) -> None:
    """Not those that stand there at the end of the build."""
    (tmp_path / "up.conf").write_text('packages = "less"')
    config = tmp_path / "x.conf"
    config.write_text('parents = "up.conf"')
    digests = {name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("x.conf", "up.conf")}
    recipe = load(config)
    config.write_text("")
    (tmp_path / "up.conf").unlink()
    made = manifests.of_build("x", recipe, Lock("s", "amd64", (), (), 1, ()), [], "mmdebstrap", 1, ())
    assert {Path(part.name).name: part.sha256 for part in made.configs} == digests


def test_package_urls_are_quoted() -> None:
    packages = manifests.spdx(MADE)["packages"]
    assert isinstance(packages, list)
    locator = packages[1]["externalRefs"][0]["referenceLocator"]
    expected = "pkg:deb/debian/libstdc%2B%2B6@1%3A12.2.0-14~b%2Bdeb12u1?arch=amd64&distro=bookworm"
    assert locator == expected


def test_the_same_manifest_is_the_same_document() -> None:
    assert manifests.spdx(MADE) == manifests.spdx(MADE)


def test_text_and_differences() -> None:
    text = manifests.text(MADE)
    for part in ("x: bookworm amd64, 2 packages", "x.initrd", "over/etc/motd", "x.conf:2:14", "less        590-2.1"):
        assert part in text
    other = Manifest(
        "y", 0, "bookworm", "amd64", "mmdebstrap", MADE.configs, (), (Part("x.conf:2:14", "45" * 32),),
        (offer("less", "600-1"), offer("vim", "2")), (),
    )  # fmt: skip
    assert manifests.difference(MADE, other) == [
        "~ date 2023-11-14T22:13:20Z -> 1970-01-01T00:00:00Z",
        "~ package less 590-2.1 -> 600-1",
        "- package libstdc++6 1:12.2.0-14~b+deb12u1",
        "+ package vim 2",
        "- overlay file over/etc/motd",
        "~ postbuild script x.conf:2:14",
        "- result initrd",
    ]
    assert manifests.difference(MADE, MADE) == []


DIFFERENT = [
    ({"suite": "trixie"}, "~ suite bookworm -> trixie"),
    ({"architecture": "arm64"}, "~ architecture amd64 -> arm64"),
    ({"engine": "debootstrap"}, "~ engine mmdebstrap -> debootstrap"),
    ({"date": 1700000001}, "~ date 2023-11-14T22:13:20Z -> 2023-11-14T22:13:21Z"),
    ({"memory_mib": 7}, "~ memory 0 MiB -> 7 MiB"),
    ({"options": {"compress": "xz"}}, "+ option compress xz"),
    ({"tools": ("zstd 1.5.4",)}, "+ tool zstd 1.5.4"),
    ({"results": (Part("x.initrd", "99" * 32),)}, "~ result initrd"),
]


@pytest.mark.parametrize(("change", "line"), DIFFERENT)
def test_everything_that_differs_is_told(change: dict[str, object], line: str) -> None:
    assert manifests.difference(MADE, msgspec.structs.replace(MADE, **change)) == [line]


def test_scripts_are_known_by_their_text_not_by_their_line() -> None:
    one = msgspec.structs.replace(MADE, postbuilds=(Part("x.conf:2:14", "1"), Part("x.conf:9:14", "2")))
    moved = msgspec.structs.replace(MADE, postbuilds=(Part("x.conf:3:14", "1"), Part("x.conf:10:14", "2")))
    assert manifests.difference(one, moved) == []
    turned = msgspec.structs.replace(MADE, postbuilds=(Part("x.conf:2:14", "2"), Part("x.conf:9:14", "1")))
    assert manifests.difference(one, turned) == ["~ order of the postbuild scripts"]


def test_the_same_image_under_another_name_is_the_same() -> None:
    renamed = msgspec.structs.replace(MADE, name="y", results=(Part("y.initrd", "23" * 32),))
    assert manifests.difference(MADE, renamed) == []


def test_anothers_manifest_beside_an_image_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "x.initrd").write_bytes(b"image")
    digest = hashlib.sha256(b"image").hexdigest()
    (tmp_path / "a.manifest").write_text("CACHE MANIFEST")
    with pytest.raises(NotFound):
        manifests.find(tmp_path / "x.initrd")
    ours = msgspec.structs.replace(MADE, results=(Part("x.initrd", digest),))
    (tmp_path / "x.manifest").write_bytes(msgspec.json.encode(ours))
    assert manifests.find(tmp_path / "x.initrd") == ours
    (tmp_path / "x.manifest").write_text("{")
    with pytest.raises(Corrupt, match=r"x\.manifest"):
        manifests.find(tmp_path / "x.initrd")
