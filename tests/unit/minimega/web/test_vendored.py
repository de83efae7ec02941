"""The vendored front end is what scripts/vendor wrote: nothing added, changed or lost; and it asks nobody outside."""

import hashlib
import json
import re

import pytest

from megatools.minimega.web.pages import STATIC

RECORD = json.loads((STATIC / "vendor" / "VENDOR.json").read_text())


@pytest.mark.parametrize("name", sorted(RECORD))
def test_every_file_has_its_recorded_hash(name: str) -> None:
    entry = RECORD[name]
    files = {
        str(path.relative_to(STATIC)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (STATIC / entry["folder"]).rglob("*")
        if path.is_file()
    }
    assert files == entry["sha256"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", entry["version"])
    assert entry["licence"]


def test_our_own_pages_work_without_the_internet() -> None:
    own = [path for path in STATIC.iterdir() if path.is_file()]
    assert len(own) > 5
    for path in own:
        addresses = re.findall(r"(?:https?:)?//[\w.-]+\.\w+", path.read_text())
        assert [a for a in addresses if "www.w3.org" not in a] == [], path
