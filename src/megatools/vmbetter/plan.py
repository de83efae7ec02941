"""What a build will do: the keys of the later stages, each made of everything that goes into it.

Pure, called by the builder. The chain: packages -> tree (overlays and postbuild over the packages' content) -> image.
"""

from __future__ import annotations

from megatools.vmbetter.cache import key_of
from megatools.vmbetter.config.recipe import Recipe

# 2024-01-01: the times of an image's files are at most this, unless SOURCE_DATE_EPOCH says otherwise
DEFAULT_EPOCH = 1704067200

TREE_FORMAT = 1  # to be raised when overlays or postbuild scripts come to mean something else


def image_name(config: str) -> str:
    """The name results get: the config's base name up to its first dot."""
    return config.rsplit("/", 1)[-1].split(".", 1)[0]


def tree_key(packages_sha256: str, recipe: Recipe, overlays: list[list[list[object]]], *, epoch: int) -> str:
    """The key of the tree after overlays (their digests, in order) and postbuild scripts."""
    scripts = [entry.value for entry in recipe.postbuilds]
    return key_of("tree", TREE_FORMAT, packages_sha256, overlays, scripts, epoch)


def image_key(tree: str, target: str, identity: object, *, epoch: int) -> str:
    """The key of a target made from a tree; `identity` is all that decides it beside the tree."""
    return key_of("image", tree, target, identity, epoch)
