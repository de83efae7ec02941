"""What igor can be asked, as records: the command line, the service and the web page all speak these.

A request never says who asks: the front door knows. `kernel` and `initrd` of a request are positions in the list of
open descriptors that come with it (-1: none), so that files are opened with the asker's rights.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from megatools.igor.model.cluster import Cluster
from megatools.igor.model.host import Host
from megatools.igor.model.reservation import Reservation


class Request(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, tag_field="op"):
    """One thing asked; `op` on the wire is the class's tag."""


class Submit(Request, frozen=True, tag="submit"):
    """Reserve nodes, by count or by name, from now or from `start_s` (0: now)."""

    name: str
    nodes: str = ""
    count: int = 0
    duration_s: int = 0  # 0: the configuration's default
    start_s: int = 0
    kernel: int = -1
    initrd: int = -1
    kernel_name: str = ""  # what the asker called the file, for messages
    initrd_name: str = ""
    profile: str = ""
    args: str = ""
    group: str = ""
    contiguous: bool = False
    wait: bool = False
    speculate: bool = False
    kind: str = "normal"
    reboot: bool = False
    vlan: str = ""  # a number, a reservation to share with, or empty
    every_s: int = 0
    times: int = 1
    hook_start: str = ""
    hook_end: str = ""
    mail: str = ""
    note: str = ""


class Delete(Request, frozen=True, tag="delete"):
    """End a reservation (`series`: all of its recurring series) and free its nodes."""

    name: str
    series: bool = False


class Extend(Request, frozen=True, tag="extend"):
    """Let a reservation last longer, by a duration or as long as the limits and the calendar allow (`most`)."""

    name: str
    by_s: int = 0
    most: bool = False


class Edit(Request, frozen=True, tag="edit"):
    """Change what a reservation boots, whose it is, or what it is called; None leaves a thing as it is."""

    name: str
    kernel: int = -1
    initrd: int = -1
    kernel_name: str = ""
    initrd_name: str = ""
    profile: str | None = None
    args: str | None = None
    owner: str | None = None
    group: str | None = None
    note: str | None = None
    new_name: str | None = None


class ChangeNodes(Request, frozen=True, tag="change-nodes"):
    """Add nodes to a reservation, or drop some of it: by name, or by count."""

    name: str
    add: str = ""
    add_count: int = 0
    drop: str = ""


class Show(Request, frozen=True, tag="show"):
    """What is reserved and how the nodes are; `past` also asks for that many ended reservations."""

    past: int = 0
    name: str = ""


class Block(Request, frozen=True, tag="block"):
    """Keep nodes from being reserved, for a reason, or (empty reason) let them be reserved again; administrators."""

    nodes: str
    reason: str = ""


class SetHosts(Request, frozen=True, tag="set-hosts"):
    """Record what is known of nodes; replaces what was known of each; administrators."""

    hosts: tuple[Host, ...]


class GetHosts(Request, frozen=True, tag="get-hosts"):
    """What is known of nodes; an empty text means all."""

    nodes: str = ""


class SetProfile(Request, frozen=True, tag="set-profile"):
    """Keep a kernel, an initrd and arguments under a name, or (`remove`) forget them."""

    name: str
    kernel: int = -1
    initrd: int = -1
    kernel_name: str = ""
    initrd_name: str = ""
    args: str = ""
    public: bool = True
    remove: bool = False


class GetProfiles(Request, frozen=True, tag="get-profiles"):
    """The profiles the asker may use."""


class Power(Request, frozen=True, tag="power"):
    """Switch nodes: `action` is on, off, cycle or status; of a reservation, or named (administrators: any node)."""

    action: str
    name: str = ""
    nodes: str = ""


class Stats(Request, frozen=True, tag="stats"):
    """How the cluster was used in the last days."""

    days: int = 30


class Check(Request, frozen=True, tag="check"):
    """Whether store and boot files agree; `repair` makes them; administrators to repair."""

    repair: bool = False


class Tick(Request, frozen=True, tag="tick"):
    """Do what is due: starts, ends, notices, hooks."""


class Import(Request, frozen=True, tag="import"):
    """Take over reservations of a 2013 reservations.json; administrators. `text` is the file."""

    text: str


class MakeToken(Request, frozen=True, tag="make-token"):
    """A token with which the asker may use the API over HTTPS for some days."""

    days: int = 30


AnyRequest: TypeAlias = (
    Submit
    | Delete
    | Extend
    | Edit
    | ChangeNodes
    | Show
    | Block
    | SetHosts
    | GetHosts
    | SetProfile
    | GetProfiles
    | Power
    | Stats
    | Check
    | Tick
    | Import
    | MakeToken
)


class Opening(msgspec.Struct, frozen=True):
    """A time at which a request would fit, on which nodes, and why not earlier."""

    start_s: int
    nodes: str
    why: str = ""


class Done(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to a change: the reservations as they are now, and what the asker should know."""

    reservations: tuple[Reservation, ...] = ()
    messages: tuple[str, ...] = ()
    openings: tuple[Opening, ...] = ()


class Overview(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to Show. `down` and `unknown` are node sets as text; `hosts` holds blocked nodes only.

    `asker` is the name of who asked (which reservations are "mine"), `pause` the configuration's text.
    """

    cluster: Cluster
    now_s: int
    asker: str
    reservations: tuple[Reservation, ...]
    blocked: tuple[Host, ...] = ()
    down: str = ""
    probed_s: int = 0
    pause: str = ""
    groups: tuple[str, ...] = ()


class HostList(msgspec.Struct, frozen=True):
    """The answer to GetHosts."""

    hosts: tuple[Host, ...]


class ProfileRow(msgspec.Struct, frozen=True):
    """A profile as it is listed."""

    name: str
    owner: str
    kernel: str
    initrd: str
    args: str
    public: bool


class ProfileList(msgspec.Struct, frozen=True):
    """The answer to GetProfiles."""

    profiles: tuple[ProfileRow, ...]


class NodeResult(msgspec.Struct, frozen=True):
    """What became of one node: `ok`, and a word or a reason."""

    node: str
    ok: bool
    text: str = ""


class NodeResults(msgspec.Struct, frozen=True):
    """The answer to Power."""

    results: tuple[NodeResult, ...]


class StatsRow(msgspec.Struct, frozen=True):
    """How much one person used: reservations and node-hours; the row of all has the owner `*`."""

    owner: str
    reservations: int
    node_hours: float


class StatsTable(msgspec.Struct, frozen=True):
    """The answer to Stats."""

    days: int
    rows: tuple[StatsRow, ...]
    busy_share: float


class CheckReport(msgspec.Struct, frozen=True):
    """The answer to Check: what does not agree, and what was repaired."""

    problems: tuple[str, ...]
    repaired: tuple[str, ...]


class Token(msgspec.Struct, frozen=True):
    """The answer to MakeToken; the secret is shown once and not kept."""

    secret: str
    until_s: int


Answer: TypeAlias = Done | Overview | HostList | ProfileList | NodeResults | StatsTable | CheckReport | Token

ANSWERS: dict[type[Request], type[Answer]] = {
    Show: Overview,
    GetHosts: HostList,
    SetHosts: HostList,
    GetProfiles: ProfileList,
    Power: NodeResults,
    Stats: StatsTable,
    Check: CheckReport,
    MakeToken: Token,
}
"""What kind of answer a request gets; those not named here get Done."""
