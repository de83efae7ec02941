"""Plumbing: programs run on the host for the user."""
