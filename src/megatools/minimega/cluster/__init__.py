"""Hosts, and how a request reaches them."""
