"""igor.conf: the six keys of the document and ours; read by the front doors, handed to everybody else.

JSON, but forgiving where people err: `//`, `#` and `/* */` comments, a comma after the last entry, keys in any case.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import cast

import msgspec

from megatools.hostkit.errors import InvalidInput, NotFound, PermissionDenied, Unavailable
from megatools.igor.model.cluster import Cluster

DEFAULT_PATH = Path("/etc/igor.conf")
MAX_NODES = 100_000
HOUR_S = 3600

_TOKEN = re.compile(r'"(?:\\.|[^"\\\n])*"|//[^\n]*|#[^\n]*|/\*.*?\*/|,(?=\s*[}\]])', re.DOTALL)


class PowerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How nodes are switched: `driver` is `none`, `command`, `ipmi` or `redfish`; `{}` in commands is the node.

    A Redfish service's certificate is checked (`verify`) against `ca`, a file, or else the system's authorities.
    """

    driver: str = "none"
    on: str = ""
    off: str = ""
    cycle: str = ""
    status: str = ""
    address: str = "{}"  # where a node's controller answers, when the node has no address of its own
    user: str = ""
    password_file: str = ""
    parallel: int = 16
    retries: int = 2
    timeout_s: float = 20.0
    reboot: bool = False  # power-cycle the nodes whenever a reservation starts
    interface: str = "lanplus"  # of ipmitool
    verify: bool = True
    ca: str = ""


class SegmentConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How reservations are separated: `driver` is `none`, `command` or `arista`; VLANs come from first..last.

    In commands `{}` is the node, `{port}` its port, `{vlan}` the VLAN. `tunnel` makes Arista ports carry the
    reservation's own VLANs inside its VLAN (802.1Q tunnelling), as igor 2 does; else they are plain access ports.
    """

    driver: str = "none"
    vlan_first: int = 100
    vlan_last: int = 200
    join: str = ""
    leave: str = ""
    url: str = ""
    user: str = ""
    password_file: str = ""
    timeout_s: float = 20.0
    tunnel: bool = True
    verify: bool = True
    ca: str = ""


class NoticeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How owners are told: a command (the message on its stdin, `{}` the user), mail through `sendmail`, or neither."""

    command: str = ""
    mail: bool = False
    sendmail: str = "/usr/sbin/sendmail"
    domain: str = ""
    before_end_s: tuple[int, ...] = (24 * HOUR_S, HOUR_S)
    before_start_s: tuple[int, ...] = (HOUR_S,)
    timeout_s: float = 20.0


class BootConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which boot files are written. `http_url` is where nodes reach the TFTP root by HTTP (iPXE, HTTP boot)."""

    layouts: tuple[str, ...] = ("pxelinux", "grub", "ipxe")
    http_url: str = ""
    max_image_bytes: int = 4 << 30


class ProbeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How liveness is found out: TCP connects to `port` (or pings); 0 s of budget switches it off."""

    enabled: bool = True
    port: int = 22
    budget_s: float = 0.8
    max_age_s: int = 60
    parallel: int = 256


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one reservation, or all of one person's, may take; 0 means no limit. Times in seconds."""

    nodes: int = 0  # of one reservation
    duration_s: int = 0  # of one reservation
    scaled: bool = False  # duration_s is divided by log2(nodes) when there is more than one node
    reservations: int = 0  # of one person at a time
    total_nodes: int = 0  # of one person at a time
    node_hours: float = 0.0  # of one person at a time: nodes x hours still ahead
    horizon_s: int = 0  # how far ahead a start may lie
    extend_within_s: int = 0  # extending is allowed in the last so many seconds only


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may take how much: the limits of everybody, of groups (the most generous of a person's groups counts), of
    people; and which groups may use which nodes.
    """

    limits: Limits = Limits()
    groups: dict[str, Limits] = {}
    people: dict[str, Limits] = {}
    nodes: dict[str, tuple[str, ...]] = {}  # a range of nodes -> the groups that may reserve them


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything igor.conf may say; only the first six are required."""

    tftproot: str
    prefix: str
    start: int
    end: int
    rackwidth: int
    rackheight: int
    padlen: int = 0
    statedir: str = ""  # empty: <tftproot>/igor/state
    socket: str = "/run/igor/igor.sock"
    goodfaith: bool = True  # anybody may change or delete anybody's reservations, as in the document
    admins: tuple[str, ...] = ("root",)
    admin_groups: tuple[str, ...] = ()
    state_group: str = ""  # members may write the store themselves (a lab without a service)
    default_hours: float = 12.0
    free_at_expiry: bool = False
    pause: str = ""  # a text refuses every change, and is shown
    domain: str = ""
    hooks: bool = True
    nodelimit: int = 0  # igor 2.x: nodes of one reservation
    timelimit: int = 0  # igor 2.x: minutes of one reservation, divided by log2(nodes)
    extendwithin: int = 0  # igor 2.x: minutes
    policy: Policy | str = Policy()  # a path (relative to igor.conf) or the policy itself
    power: PowerConfig = PowerConfig()
    segment: SegmentConfig = SegmentConfig()
    notices: NoticeConfig = NoticeConfig()
    boot: BootConfig = BootConfig()
    probes: ProbeConfig = ProbeConfig()
    listen: str = "127.0.0.1:8443"  # igor web, and the API over HTTPS
    certificate: str = ""
    key: str = ""

    @property
    def cluster(self) -> Cluster:
        """How nodes are named and where they stand."""
        return Cluster(self.prefix, self.start, self.end, self.rackwidth, self.rackheight, self.padlen)

    @property
    def root(self) -> Path:
        """The TFTP root."""
        return Path(self.tftproot)

    @property
    def state(self) -> Path:
        """Where the store is."""
        return Path(self.statedir) if self.statedir else self.root / "igor" / "state"

    @property
    def limits(self) -> Policy:
        """The policy in force, the keys of igor 2.x included; `load` has read the policy's file."""
        policy = self.policy if isinstance(self.policy, Policy) else Policy()
        if not (self.nodelimit or self.timelimit or self.extendwithin):
            return policy
        old = policy.limits
        merged = msgspec.structs.replace(
            old,
            nodes=old.nodes or self.nodelimit,
            duration_s=old.duration_s or self.timelimit * 60,
            scaled=old.scaled or (not old.duration_s and self.timelimit > 0),
            extend_within_s=old.extend_within_s or self.extendwithin * 60,
        )
        return msgspec.structs.replace(policy, limits=merged)


def plain_json(text: str) -> str:
    """JSON without its comments and without commas after last entries; strings are left alone."""
    without = _TOKEN.sub(lambda found: found[0] if found[0][0] in '",' else " ", text)
    return _TOKEN.sub(lambda found: " " if found[0] == "," else found[0], without)


def parse(text: str, source: str = "igor.conf") -> Config:
    """The configuration a text describes; raises InvalidInput naming `source`, the key and the reason."""
    try:
        found: object = msgspec.json.decode(plain_json(text))
    except msgspec.DecodeError as error:
        raise InvalidInput(
            f'"{source}" is not JSON: {error}', hint='it must look like { "tftproot" : "/tftpboot/", ... }'
        ) from error
    if not isinstance(found, dict):
        raise InvalidInput(
            f'"{source}" is not a JSON object', hint='it must look like { "tftproot" : "/tftpboot/", ... }'
        )
    keys = {str(key).lower(): value for key, value in cast("dict[object, object]", found).items()}
    try:
        config = msgspec.convert(keys, Config)
    except msgspec.ValidationError as error:
        raise InvalidInput(f'"{source}": {error}', hint="docs/reference/igor.md lists every key") from error
    return _checked(config, source)


def _checked(config: Config, source: str) -> Config:
    wrong = ""
    if not config.tftproot.startswith("/"):
        wrong = f'tftproot is "{config.tftproot}", it must be an absolute path'
    elif not re.fullmatch(r"[A-Za-z][A-Za-z0-9.-]*", config.prefix):
        wrong = f'prefix is "{config.prefix}", it must start with a letter and hold letters, digits, "." and "-"'
    elif not 0 <= config.start <= config.end:
        wrong = f"start is {config.start} and end is {config.end}: nodes are numbered start..end, from 0"
    elif config.end - config.start >= MAX_NODES:
        wrong = f"start..end holds {config.end - config.start + 1} nodes, the limit is {MAX_NODES}"
    elif config.rackwidth < 1 or config.rackheight < 1:
        wrong = f"rackwidth is {config.rackwidth} and rackheight is {config.rackheight}: both must be at least 1"
    elif not 0 <= config.padlen <= 9:
        wrong = f"padlen is {config.padlen}, it must be 0 to 9"
    elif not config.default_hours > 0:
        wrong = f"default_hours is {config.default_hours:g}, it must be more than 0"
    if wrong:
        raise InvalidInput(f'"{source}": {wrong}')
    return config


def load(path: Path) -> Config:
    """Read igor.conf and the policy file it names.

    Raises NotFound, PermissionDenied or Unavailable (it cannot be read), InvalidInput (what it says).
    """
    config = parse(_read(path, hint="sudo igor setup writes one"), str(path))
    if not isinstance(config.policy, str):
        return config
    place = path.parent / config.policy
    try:
        policy = msgspec.json.decode(plain_json(_read(place, hint=f'"{path}" names it as the policy')), type=Policy)
    except msgspec.MsgspecError as error:
        raise InvalidInput(f'"{place}": {error}', hint="docs/reference/igor.md describes policies") from error
    return msgspec.structs.replace(config, policy=policy)


def _read(path: Path, hint: str) -> str:
    try:
        return path.read_text()
    except FileNotFoundError as error:
        raise NotFound(f'there is no "{path}"', hint=hint) from error
    except PermissionError as error:
        raise PermissionDenied(f'cannot read "{path}"') from error
    except (OSError, UnicodeDecodeError) as error:
        raise Unavailable(f'cannot read "{path}"') from error
