"""Separating reservations from each other on the network: one small file per kind of switch."""
