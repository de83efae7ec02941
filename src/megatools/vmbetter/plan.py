"""What a build will do: the keys of the later stages, each made of everything that goes into it.

Pure, called by the builder. The chain: packages' content -> overlays -> postbuild -> image.
"""

from __future__ import annotations

from megatools.vmbetter.cache import key_of

IMAGE_FORMAT = 2  # to be raised when what is kept of an image comes to hold something else
TREE_FORMAT = 3  # to be raised when overlays or postbuild scripts come to mean something else


def image_name(config: str) -> str:
    """The name results get: the config's base name up to its first dot."""
    return config.rsplit("/", 1)[-1].split(".", 1)[0]


def overlays_key(packages_sha256: str, overlays: list[list[list[object]]], epoch: int) -> str:
    """The key of the layer of overlays (their digests, in order) over the packages."""
    return key_of("overlays", TREE_FORMAT, packages_sha256, overlays, epoch)


def postbuild_key(below: str, scripts: list[str]) -> str:
    """The key of the layer of everything over the packages; `below` is the overlays' key."""
    return key_of("postbuild", TREE_FORMAT, below, scripts)


def image_key(tree: str, target: str, identity: object, *, epoch: int) -> str:
    """The key of a target made from a tree; `identity` is all that decides it beside the tree."""
    return key_of("image", IMAGE_FORMAT, tree, target, identity, epoch)
