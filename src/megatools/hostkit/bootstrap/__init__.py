"""Debian bootstrapping programs."""
