"""Build Debian images from small configs."""

from megatools.vmbetter.building import Image, Options, build

__all__ = ["Image", "Options", "build"]
