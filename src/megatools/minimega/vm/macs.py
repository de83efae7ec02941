"""MAC addresses for interfaces that were given none: random, with a real vendor's prefix (spec B.11). Pure."""

from __future__ import annotations

import random
from collections.abc import Collection

# Prefixes the IEEE lists for Intel network adapters, the maker of the default NIC model.
VENDOR_PREFIXES = ("00:15:17", "00:1b:21", "00:1e:67", "68:05:ca", "90:e2:ba", "a0:36:9f")


def new_mac(taken: Collection[str], source: random.Random) -> str:
    """An address nobody has."""
    while True:
        tail = source.randrange(1 << 24)
        mac = f"{source.choice(VENDOR_PREFIXES)}:{tail >> 16:02x}:{tail >> 8 & 0xFF:02x}:{tail & 0xFF:02x}"
        if mac not in taken:
            return mac
