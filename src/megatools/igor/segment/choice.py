"""The segment driver a configuration names; `run` and `api` call it."""

from __future__ import annotations

from megatools.hostkit.errors import InvalidInput
from megatools.hostkit.files import read_secret
from megatools.igor.model.config import SegmentConfig
from megatools.igor.segment.arista import AristaSegment
from megatools.igor.segment.command import CommandSegment
from megatools.igor.segment.driver import SegmentDriver
from megatools.igor.segment.none import NoSegment

NAMES = ("none", "command", "arista")


def driver_for(config: SegmentConfig) -> SegmentDriver:
    """The driver; raises InvalidInput, or NotFound and PermissionDenied for the password file."""
    match config.driver:
        case "none":
            return NoSegment()
        case "command":
            return CommandSegment(config)
        case "arista":
            return AristaSegment(config, read_secret(config.password_file) if config.password_file else "")
        case other:
            raise InvalidInput(f'"{other}" is not a segment driver', hint=f"drivers are {', '.join(NAMES)}")
