"""Settings: precedence, conversion, and what is shown."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import pytest

from megatools.hostkit.errors import InvalidInput, Unavailable
from megatools.hostkit.settings import describe, load, setting, show


class Mode(StrEnum):
    FAST = "fast"
    SLOW = "slow"


@dataclass(frozen=True)
class Example:
    base: Path = field(default=Path("/tmp/x"), metadata=setting("where", flag="base", env="X_BASE"))
    port: int = field(default=9000, metadata=setting("listens here", flag="port", env="X_PORT"))
    wait_s: float = field(default=1.5, metadata=setting("patience", flag="wait", env="X_WAIT", unit="s"))
    loud: bool = field(default=False, metadata=setting("talk", flag="loud", env="X_LOUD"))
    run_dir: Path | None = field(default=None, metadata=setting("ovs", flag="ovs-run-dir", env="X_RUN"))
    mode: Mode = field(default=Mode.FAST, metadata=setting("mode", env="X_MODE"))
    hosts: tuple[str, ...] = field(default=(), metadata=setting("peers", env="X_HOSTS"))


def test_precedence(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text('{"port": 1, "wait_s": 2, "loud": true}')
    loaded = load(Example, flags={"port": "3", "base": None}, environ={"X_PORT": "2", "X_WAIT": "2.5"}, file=file)
    assert loaded.settings == Example(port=3, wait_s=2.5, loud=True)
    assert loaded.origins == {
        "base": "default",
        "port": "flag -port",
        "wait_s": "environment X_WAIT",
        "loud": f"file {file}",
        "run_dir": "default",
        "mode": "default",
        "hosts": "default",
    }


def test_conversion_from_text() -> None:
    environ = {"X_LOUD": "true", "X_RUN": "/run/ovs", "X_MODE": "slow", "X_HOSTS": "a, b"}
    settings = load(Example, flags={}, environ=environ).settings
    assert settings == Example(loud=True, run_dir=Path("/run/ovs"), mode=Mode.SLOW, hosts=("a", "b"))
    assert load(Example, flags={"run_dir": ""}, environ=environ).settings.run_dir is None


@pytest.mark.parametrize(
    ("name", "value"), [("X_PORT", "many"), ("X_LOUD", "maybe"), ("X_MODE", "warp"), ("X_WAIT", "")]
)
def test_a_wrong_value_names_setting_value_and_origin(name: str, value: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        load(Example, flags={}, environ={name: value})
    assert name in str(caught.value)
    assert caught.value.hint


def test_files_are_checked(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text('{"prot": 1}')
    with pytest.raises(InvalidInput, match='unknown setting "prot"') as caught:
        load(Example, flags={}, environ={}, file=file)
    assert "port" in caught.value.hint
    file.write_text('{"port": "1"}')
    with pytest.raises(InvalidInput, match="port"):
        load(Example, flags={}, environ={}, file=file)
    file.write_text("[")
    with pytest.raises(InvalidInput, match="not a JSON object"):
        load(Example, flags={}, environ={}, file=file)
    with pytest.raises(Unavailable, match="cannot read"):
        load(Example, flags={}, environ={}, file=tmp_path / "absent")


def test_show_and_describe() -> None:
    lines = show(load(Example, flags={"wait_s": 3.0}, environ={})).splitlines()
    assert len(lines) == 7
    assert lines[2].split("  (")[0].rstrip() == "wait_s = 3.0 s"
    assert lines[2].endswith("(flag -wait)")
    assert [(one.name, one.default, one.unit) for one in describe(Example)][2] == ("wait_s", "1.5", "s")
