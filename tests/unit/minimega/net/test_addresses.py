"""Addresses: leases first, then what was seen, for MACs of VMs only."""

from megatools.hostkit.neighbours import Sighting
from megatools.minimega.net.addresses import AddressBook
from megatools.minimega.net.ports import Addresses

MAC = "52:54:00:00:00:01"


def test_only_watched_macs_are_kept_and_changes_are_told_once() -> None:
    told: list[str] = []
    book = AddressBook(lambda _: "", told.append)
    book.hear(Sighting(MAC, "10.0.0.5", 4))
    assert book.addresses(MAC) == Addresses()
    book.watch(MAC)
    book.hear(Sighting(MAC, "10.0.0.5", 4))
    book.hear(Sighting(MAC, "10.0.0.5", 4))
    book.hear(Sighting(MAC, "fd00::5", 6))
    assert book.addresses(MAC) == Addresses("10.0.0.5", "fd00::5")
    assert told == [MAC, MAC]


def test_a_lease_wins() -> None:
    book = AddressBook({MAC: "10.0.0.9"}.get)  # type: ignore[arg-type]
    book.watch(MAC)
    book.hear(Sighting(MAC, "10.0.0.5", 4))
    assert book.addresses(MAC).ip4 == "10.0.0.9"


def test_a_link_local_address_does_not_hide_another() -> None:
    book = AddressBook(lambda _: "")
    book.watch(MAC)
    book.hear(Sighting(MAC, "fe80::5", 6))
    assert book.addresses(MAC).ip6 == "fe80::5"
    book.hear(Sighting(MAC, "fd00::5", 6))
    book.hear(Sighting(MAC, "fe80::5", 6))
    assert book.addresses(MAC).ip6 == "fd00::5"


def test_two_ports_with_one_mac_are_counted() -> None:
    book = AddressBook(lambda _: "")
    book.watch(MAC)
    book.watch(MAC)
    book.hear(Sighting(MAC, "10.0.0.5", 4))
    book.forget(MAC)
    assert book.addresses(MAC).ip4 == "10.0.0.5"
    book.forget(MAC)
    assert book.addresses(MAC) == Addresses()
