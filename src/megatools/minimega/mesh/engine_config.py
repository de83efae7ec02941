"""The engine's configuration: what we know of a mesh, as the JSON that Zenoh reads. Pure.

Called by `mesh.clique`. Why each value is what it is stands beside it; measurements are in decision 20.
"""

from __future__ import annotations

import base64

import msgspec

from megatools.minimega.mesh.scouting import Scouting, endpoints


class Certificates(msgspec.Struct, frozen=True):
    """Of this node, PEM: the authority's certificate, our own, and its key."""

    authority: bytes
    certificate: bytes
    key: bytes


class EngineSettings(msgspec.Struct, frozen=True):
    """What an engine is told.

    Its part (`peer`, `router`, `client`), where it listens (`host:port`), where it looks, and how it proves itself.
    """

    role: str
    listen: str
    interface: str
    scouting: Scouting
    lease_s: float
    certificates: Certificates | None = None
    denied: tuple[str, ...] = ()

    @property
    def protocol(self) -> str:
        """The protocol of all endpoints."""
        return "tls" if self.certificates else "tcp"


def engine_config(settings: EngineSettings) -> str:
    """The configuration of an engine."""
    config: dict[str, object] = {
        "mode": settings.role,
        # An explicit address: `[::]` would tell the others about the bridges of all VM networks.
        "listen": {"endpoints": _listening(settings), "exit_on_failure": True},
        "connect": {
            "endpoints": endpoints(settings.scouting.seeds, settings.protocol),
            "exit_on_failure": False,
            "timeout_ms": -1,
        },
        "scouting": _scouting(settings),
        "transport": _transport(settings),
        "adminspace": {"enabled": False},
        "plugins_loading": {"enabled": False},
    }
    if settings.denied:
        config["access_control"] = _access(settings.denied)
    return msgspec.json.encode(config).decode()


def _listening(settings: EngineSettings) -> list[str]:
    return [] if settings.role == "client" else endpoints([settings.listen], settings.protocol)


def guest_config(settings: EngineSettings, *listeners: str) -> str:
    """The configuration of a session that is only for a moment at our listener, a far one, or between them."""
    config: dict[str, object] = {
        "mode": "peer",
        "listen": {"endpoints": []},
        "connect": {
            "endpoints": list(listeners),
            "exit_on_failure": True,
            "timeout_ms": 5000,
        },
        "scouting": {
            "delay": 0,
            "multicast": {"enabled": False},
            "gossip": {"enabled": True, "autoconnect": {"peer": [], "router": []}},
        },
        "transport": _transport(settings),
        "plugins_loading": {"enabled": False},
    }
    return msgspec.json.encode(config).decode()


# Whom each part looks for. Hubs find each other, their clients find them; a clique has neither.
_WHO = {"peer": ["peer"], "router": ["router"], "client": ["router"]}


def _scouting(settings: EngineSettings) -> dict[str, object]:
    # With "always", both ends of a pair connect to each other: duplicate links.
    strategy = {"peer": {"to_router": "always", "to_peer": "greater-zid"}, "router": {"to_router": "greater-zid"}}
    who = {settings.role: _WHO[settings.role]}
    multicast: dict[str, object] = {"enabled": bool(settings.scouting.group)}
    if settings.scouting.group:
        multicast |= {
            "address": settings.scouting.group,
            "interface": settings.interface,
            "autoconnect": who,
            "autoconnect_strategy": strategy,
            "listen": True,
        }
    return {
        "delay": 0,
        "multicast": multicast,
        "gossip": {"enabled": True, "autoconnect": who, "autoconnect_strategy": strategy},
    }


def _transport(settings: EngineSettings) -> dict[str, object]:
    link: dict[str, object] = {
        "protocols": [settings.protocol],
        "tx": {
            "lease": int(settings.lease_s * 1000),
            "keep_alive": 4,
            # A reader that is slow for more than the default of 5 s would lose the whole connection.
            "queue": {"congestion_control": {"block": {"wait_before_close": 60_000_000}}},
        },
        "rx": {"max_message_size": 1 << 27},
    }
    if settings.certificates is not None:
        link["tls"] = _tls(settings.certificates)
    return {
        "link": link,
        "unicast": {"max_sessions": 4000, "accept_pending": 1000},
        "shared_memory": {"enabled": False},  # hosts share none; it would only differ between the nodes of one host
    }


def _tls(own: Certificates) -> dict[str, object]:
    def text(pem: bytes) -> str:
        return base64.b64encode(pem).decode()

    return {
        "root_ca_certificate_base64": text(own.authority),
        "listen_certificate_base64": text(own.certificate),
        "listen_private_key_base64": text(own.key),
        "connect_certificate_base64": text(own.certificate),
        "connect_private_key_base64": text(own.key),
        "enable_mtls": True,
        # What is looked up is an address, found by scouting: it has no name to verify, and it may change. Who the
        # other end is, its certificate's common name says, and members are believed only under that name.
        "verify_name_on_connect": False,
    }


def _access(denied: tuple[str, ...]) -> dict[str, object]:
    everything = ["put", "delete", "declare_subscriber", "query", "reply", "declare_queryable"]
    everything += ["liveliness_token", "liveliness_query", "declare_liveliness_subscriber"]
    return {
        "enabled": True,
        "default_permission": "allow",
        "rules": [
            {
                "id": "denied",
                "permission": "deny",
                "messages": everything,
                "flows": ["ingress", "egress"],
                "key_exprs": ["**"],
            }
        ],
        "subjects": [{"id": "denied", "cert_common_names": list(denied)}],
        "policies": [{"rules": ["denied"], "subjects": ["denied"]}],
    }
