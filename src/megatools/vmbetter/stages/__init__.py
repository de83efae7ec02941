"""The steps that make a tree: packages, overlays, postbuild."""
