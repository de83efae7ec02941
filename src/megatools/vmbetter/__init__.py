"""Build Debian images from small configs."""

from megatools.vmbetter.building import Options, Result, build

__all__ = ["Options", "Result", "build"]
