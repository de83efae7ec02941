"""What an image is made of: `NAME.manifest`, written beside the results; as text, as SPDX, and compared with another's.

Made by the builder, read by the command line. It is JSON; an image is found in it by its SHA-256.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import msgspec

from megatools.hostkit.bootstrap.apt import Offer
from megatools.hostkit.bootstrap.sources import distribution
from megatools.hostkit.errors import Corrupt, NotFound
from megatools.vmbetter.cache import digest_of
from megatools.vmbetter.config.recipe import Recipe
from megatools.vmbetter.lock import Lock

FORMAT = 1
_IMAGE = "SPDXRef-Image"


class Part(msgspec.Struct, frozen=True):
    """A file or script that went into an image: what it is called and its SHA-256."""

    name: str
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What an image is made of; `date` is the image's time stamp, `results` are names of files beside the manifest.

    `memory_mib` is what a machine needs to boot those results that are unpacked into memory; 0 when none is. `options`
    are those that were given for the results, `tools` the programs that made them, with their versions.
    """

    name: str
    date: int
    suite: str
    architecture: str
    engine: str
    configs: tuple[Part, ...]
    overlays: tuple[Part, ...]
    postbuilds: tuple[Part, ...]
    packages: tuple[Offer, ...]
    results: tuple[Part, ...]
    format: int = FORMAT
    memory_mib: int = 0
    options: dict[str, str] = {}
    tools: tuple[str, ...] = ()


def of_build(
    name: str,
    recipe: Recipe,
    lock: Lock,
    folders: list[tuple[str, list[list[object]]]],
    engine: str,
    date: int,
    results: tuple[Part, ...],
) -> Manifest:
    """The manifest of a build; `folders` are the overlays' names and digests."""
    rows: list[Part] = []
    for folder, digest in folders:
        for row in digest:
            name_inside = str(row[0]).removeprefix("\0")  # see overlays.plain
            rows.append(Part(f"{folder}/{name_inside}", hashlib.sha256(msgspec.json.encode(row[1:])).hexdigest()))
    scripts = tuple(
        Part(str(entry.origin), hashlib.sha256(entry.value.encode()).hexdigest()) for entry in recipe.postbuilds
    )
    configs = tuple(Part(path, digest) for path, digest in zip(recipe.files, recipe.digests, strict=True))
    packages = lock.packages
    return Manifest(name, date, lock.suite, lock.architecture, engine, configs, tuple(rows), scripts, packages, results)


def find(path: Path) -> Manifest:
    """The manifest of an image, or in a file. Raises NotFound when there is none for it, Corrupt."""
    if path.suffix == ".manifest":
        return _read(path)
    if not path.is_file():
        raise NotFound(f'no file "{path}"')
    digest = ""
    for candidate in sorted(path.resolve().parent.glob("*.manifest")):
        try:
            manifest = _read(candidate)
        except Corrupt:
            if candidate.stem == path.resolve().name.split(".", 1)[0]:
                raise
            continue  # another program's
        names = {part.name: part.sha256 for part in manifest.results}
        if path.resolve().name not in names:
            continue
        digest = digest or digest_of(path)
        if names[path.resolve().name] == digest:
            return manifest
    hint = "a build writes NAME.manifest; keep it with the image"
    raise NotFound(f'no manifest beside "{path}" is for its content', hint=hint)


def _read(path: Path) -> Manifest:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError as error:
        raise NotFound(f'no file "{path}"') from error
    except (msgspec.DecodeError, OSError) as error:
        raise Corrupt(f'manifest "{path}" is damaged') from error


def text(manifest: Manifest) -> str:
    """The manifest as people read it."""
    lines = [f"{manifest.name}: {manifest.suite} {manifest.architecture}, {len(manifest.packages)} packages"]
    if manifest.memory_mib:
        lines.append(f"memory: {manifest.memory_mib} MiB to boot")
    for title, words in (
        ("options", [f"{key}={value}" for key, value in manifest.options.items()]),
        ("tools", manifest.tools),
    ):
        lines += [f"{title}:", *(f"  {word}" for word in words)] if words else []
    for title, parts in (
        ("results", manifest.results),
        ("configs", manifest.configs),
        ("overlays", manifest.overlays),
        ("postbuild", manifest.postbuilds),
    ):
        lines += [f"{title}:", *(f"  {part.sha256[:16]}  {part.name}" for part in parts)] if parts else []
    width = max((len(offer.name) for offer in manifest.packages), default=0)
    lines += ["packages:", *(f"  {offer.name:<{width}}  {offer.version}" for offer in manifest.packages)]
    return "\n".join(lines)


def spdx(manifest: Manifest) -> dict[str, object]:
    """The manifest as an SPDX 2.3 document (JSON's types): the image, and the packages it contains."""
    created = datetime.fromtimestamp(manifest.date, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    digest = hashlib.sha256(msgspec.json.encode(manifest)).hexdigest()
    image: dict[str, object] = {
        "SPDXID": _IMAGE,
        "name": manifest.name,
        "versionInfo": created,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "primaryPackagePurpose": "OPERATING-SYSTEM",
        "comment": "; ".join(f"{part.name} SHA256 {part.sha256}" for part in manifest.results),
    }
    packages = [_spdx_package(number, offer, manifest.suite) for number, offer in enumerate(manifest.packages)]
    relations = [_relation("SPDXRef-DOCUMENT", "DESCRIBES", _IMAGE)]
    relations += [_relation(_IMAGE, "CONTAINS", str(package["SPDXID"])) for package in packages]
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": manifest.name,
        "documentNamespace": f"urn:megatools:vmbetter:{digest}",
        "creationInfo": {"created": created, "creators": ["Tool: vmbetter"]},
        "packages": [image, *packages],
        "relationships": relations,
    }


def _spdx_package(number: int, offer: Offer, suite: str) -> dict[str, object]:
    name, version = quote(offer.name, safe=""), quote(offer.version, safe="")
    locator = f"pkg:deb/{distribution(suite)}/{name}@{version}?arch={offer.architecture}&distro={quote(suite, safe='')}"
    return {
        "SPDXID": f"SPDXRef-Package-{number}",
        "name": offer.name,
        "versionInfo": offer.version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "checksums": [{"algorithm": "SHA256", "checksumValue": offer.sha256}],
        "externalRefs": [
            {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": locator}
        ],
    }


def _relation(one: str, kind: str, other: str) -> dict[str, str]:
    return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}


def difference(one: Manifest, other: Manifest) -> list[str]:
    """What changed from one image to another, a line for each thing; empty when nothing did."""
    lines = _changes("", _facts(one), _facts(other), show=True)
    lines += _changes("option ", one.options, other.options, show=True)
    lines += [f"- tool {tool}" for tool in one.tools if tool not in other.tools]
    lines += [f"+ tool {tool}" for tool in other.tools if tool not in one.tools]
    before = {offer.name: offer.version for offer in one.packages}
    after = {offer.name: offer.version for offer in other.packages}
    lines += _changes("package ", before, after, show=True)
    for kind, old, new in (("config", one.configs, other.configs), ("overlay file", one.overlays, other.overlays)):
        lines += _changes(f"{kind} ", _by_name(old), _by_name(new))
    lines += _scripts(one.postbuilds, other.postbuilds)
    lines += _changes("result ", _by_suffix(one), _by_suffix(other))
    return lines


def _facts(manifest: Manifest) -> dict[str, str]:
    date = datetime.fromtimestamp(manifest.date, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    facts = {"suite": manifest.suite, "architecture": manifest.architecture, "engine": manifest.engine, "date": date}
    return facts | {"memory": f"{manifest.memory_mib} MiB"}


def _by_name(parts: tuple[Part, ...]) -> dict[str, str]:
    return {part.name: part.sha256 for part in parts}


def _by_suffix(manifest: Manifest) -> dict[str, str]:
    """The results by what they are, whatever the image is called."""
    return {part.name.removeprefix(manifest.name).lstrip("._"): part.sha256 for part in manifest.results}


def _scripts(before: tuple[Part, ...], after: tuple[Part, ...]) -> list[str]:
    """What changed in scripts, which are known by their text: the line where one stands is no part of it."""
    kept = {part.sha256 for part in before} & {part.sha256 for part in after}
    old = [part for part in before if part.sha256 not in kept]
    new = [part for part in after if part.sha256 not in kept]
    lines = _changes("postbuild script ", _by_name(tuple(old)), _by_name(tuple(new)))
    order = [[part.sha256 for part in parts if part.sha256 in kept] for parts in (before, after)]
    return lines + (["~ order of the postbuild scripts"] if order[0] != order[1] else [])


def _changes(kind: str, before: dict[str, str], after: dict[str, str], *, show: bool = False) -> list[str]:
    lines: list[str] = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old is None:
            lines.append(f"+ {kind}{name}" + (f" {new}" if show else ""))
        elif new is None:
            lines.append(f"- {kind}{name}" + (f" {old}" if show else ""))
        elif old != new:
            lines.append(f"~ {kind}{name}" + (f" {old} -> {new}" if show else ""))
    return lines
