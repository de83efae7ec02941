"""Settings of a program: one frozen dataclass, filled from flags, the environment, a JSON file and defaults (R10).

Each program declares its own dataclass with `setting(...)` as the metadata of every field, and calls `load` once, in
its composition root; everybody else is handed values. Precedence: flag > environment > file > default::

    @dataclass(frozen=True)
    class Settings:
        base: Path = field(default=Path("/tmp/minimega"), metadata=setting("run directory", flag="base", env="M_BASE"))
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from megatools.hostkit.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

S = TypeVar("S", bound="DataclassInstance")


@dataclass(frozen=True)
class Described:
    """One setting, for help texts and the reference: the default is text as a user would write it."""

    name: str
    default: str
    help: str
    unit: str
    flag: str
    env: str


@dataclass(frozen=True)
class Loaded(Generic[S]):
    """The settings, and where each value came from: `flag -base`, `environment X`, `file F` or `default`."""

    settings: S
    origins: Mapping[str, str]


def setting(help_text: str, *, flag: str = "", env: str = "", unit: str = "") -> dict[str, str]:
    """The metadata of one field: what it does, its flag without dashes, its environment name, its unit."""
    return {"help": help_text, "flag": flag, "env": env, "unit": unit}


def describe(kind: type[DataclassInstance]) -> list[Described]:
    """Every setting of a program, in the order declared."""
    return [
        Described(
            name=field.name,
            default=_written(_default(field)),
            help=field.metadata.get("help", ""),
            unit=field.metadata.get("unit", ""),
            flag=field.metadata.get("flag", ""),
            env=field.metadata.get("env", ""),
        )
        for field in dataclasses.fields(kind)
    ]


def load(
    kind: type[S],
    *,
    flags: Mapping[str, object],
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Loaded[S]:
    """Settings of a program. `flags` holds what was given on the command line, by field name; None counts as not given.

    Text from flags and the environment is converted, values in the file must have their JSON type. Raises
    InvalidInput for a value of the wrong kind, an unknown name or a broken file, Unavailable for an unreadable one.
    """
    environment = os.environ if environ is None else environ
    from_file = _read(kind, file) if file is not None else {}
    hints = typing.get_type_hints(kind)
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    for field in dataclasses.fields(kind):
        env = field.metadata.get("env", "")
        flag = flags.get(field.name)
        if flag is not None:
            raw, origin = flag, f"flag -{field.metadata.get('flag') or field.name}"
        elif env and env in environment:
            raw, origin = environment[env], f"environment {env}"
        elif field.name in from_file:
            raw, origin = from_file[field.name], f"file {file}"
        else:
            origins[field.name] = "default"
            continue
        values[field.name] = _converted(
            raw, hints[field.name], f'"{field.name}" ({origin})', strict=origin.startswith("file")
        )
        origins[field.name] = origin
    return Loaded(kind(**values), origins)


def show(loaded: Loaded[S]) -> str:
    """What `--show-settings` prints: a line `name = value unit  (origin)` for every setting."""
    lines: list[tuple[str, str]] = []
    for field in dataclasses.fields(loaded.settings):
        unit = field.metadata.get("unit", "")
        value = _written(getattr(loaded.settings, field.name))
        lines.append((f"{field.name} = {value}{f' {unit}' if unit else ''}", loaded.origins[field.name]))
    width = max((len(text) for text, _ in lines), default=0)
    return "\n".join(f"{text:<{width}}  ({origin})" for text, origin in lines)


def _default(field: dataclasses.Field[object]) -> object:
    if field.default is not dataclasses.MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else None


def _written(value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "true" if value else "false"
        case tuple() | list():
            return ",".join(_written(item) for item in typing.cast("tuple[object, ...]", value))
        case _:
            return str(value) or '""'


def _read(kind: type[DataclassInstance], file: Path) -> dict[str, object]:
    try:
        found = msgspec.json.decode(file.read_bytes(), type=dict[str, object])
    except OSError as error:
        raise Unavailable(f'cannot read the settings file "{file}"') from error
    except msgspec.MsgspecError as error:
        raise InvalidInput(f'settings file "{file}" is not a JSON object', hint=str(error)) from error
    known = [field.name for field in dataclasses.fields(kind)]
    for name in found:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"settings are {', '.join(known)}"
            raise InvalidInput(f'unknown setting "{name}" in "{file}"', hint=hint)
    return found


def _converted(raw: object, wanted: object, name: str, *, strict: bool) -> object:
    kinds = typing.get_args(wanted) if isinstance(wanted, types.UnionType) else (wanted,)
    if isinstance(raw, str) and raw in ("", "none") and type(None) in kinds:
        return None
    if isinstance(raw, str) and any(typing.get_origin(one) is tuple for one in kinds):
        raw = [part.strip() for part in raw.split(",") if part.strip()]
    if isinstance(raw, Path):
        raw = str(raw)
    try:
        return msgspec.convert(raw, wanted, strict=strict, dec_hook=_path_of)
    except msgspec.ValidationError as error:
        raise InvalidInput(f'invalid value "{_written(raw)}" for setting {name}', hint=str(error)) from error


def _path_of(wanted: type, value: object) -> object:
    if wanted is Path and isinstance(value, str):
        return Path(value).expanduser()
    raise NotImplementedError(f"settings of type {wanted} are not supported")
