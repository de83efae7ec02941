"""The settings of the minimega daemon: one frozen record, from flags, environment, file and defaults (R10)."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from megatools.hostkit import routes
from megatools.hostkit.errors import InvalidInput
from megatools.hostkit.settings import Loaded, load, setting
from megatools.minimega.app.flags import Flags
from megatools.minimega.mesh.credentials import DEFAULT_DIRECTORY

DEFAULT_FILE = Path("/etc/minimega.json")


@dataclass(frozen=True)
class Settings:
    """What a daemon is told when it starts; `minimega -show-settings` prints each value with its source."""

    base: Path = field(
        default=Path("/tmp/minimega"),  # noqa: S108 the documented default
        metadata=setting("runtime directory: socket, journal, instances", flag="base", env="MINIMEGA_BASE"),
    )
    filepath: Path | None = field(
        default=None,
        metadata=setting("directory of images and files; none: <base>/files", flag="filepath", env="MINIMEGA_FILEPATH"),
    )
    level: str = field(
        default="warn",
        metadata=setting("log level: debug, info, warn, error, fatal", flag="level", env="MINIMEGA_LEVEL"),
    )
    verbose: bool = field(
        default=True, metadata=setting("log to standard error", flag="verbose", env="MINIMEGA_VERBOSE")
    )
    logfile: Path | None = field(
        default=None, metadata=setting("append the log to this file", flag="logfile", env="MINIMEGA_LOGFILE")
    )
    nostdin: bool = field(
        default=False, metadata=setting("no prompt: run until told to end", flag="nostdin", env="MINIMEGA_NOSTDIN")
    )
    vlanrange: str = field(
        default="101-4096",
        metadata=setting("VLANs handed out to names, low-high, half open", flag="vlanrange", env="MINIMEGA_VLANRANGE"),
    )
    ovs_run_dir: Path | None = field(
        default=None,
        metadata=setting(
            "run directory of the Open vSwitch to use; none: the system's, else a private one",
            flag="ovs-run-dir",
            env="MINIMEGA_OVS_RUN_DIR",
        ),
    )
    address: str = field(
        default="",
        metadata=setting(
            "address of this host on the network between hosts; empty: that of the default route",
            flag="address",
            env="MINIMEGA_ADDRESS",
        ),
    )
    mesh_open: bool = field(
        default=False,
        metadata=setting(
            "be in a mesh without certificates: anyone on this network can command this host",
            flag="mesh-open",
            env="MINIMEGA_MESH_OPEN",
        ),
    )
    mesh_hubs: tuple[str, ...] = field(
        default=(),
        metadata=setting(
            "nodes that all others are connected to, for hundreds of hosts; none: every node knows all others",
            flag="mesh-hubs",
            env="MINIMEGA_MESH_HUBS",
        ),
    )
    cluster_dir: Path = field(
        default=DEFAULT_DIRECTORY,
        metadata=setting(
            "directory of this host's membership of a cluster: certificates, key",
            flag="cluster-dir",
            env="MINIMEGA_CLUSTER_DIR",
        ),
    )
    degree: int = field(
        default=0,
        metadata=setting(
            "above 0: say at the start how to be in a mesh, if this host is in none (every node knows all others)",
            flag="degree",
            env="MINIMEGA_DEGREE",
        ),
    )
    context: str = field(
        default="minimega",
        metadata=setting(
            "name of the mesh; meshes of different names never mix", flag="context", env="MINIMEGA_CONTEXT"
        ),
    )
    port: int = field(
        default=9000,
        metadata=setting(
            "port of the mesh, TCP and UDP; the one above it carries streams", flag="port", env="MINIMEGA_PORT"
        ),
    )
    broadcast: str = field(
        default="",
        metadata=setting(
            "multicast group, or a comma list of hosts to begin with, to find others; empty: a group of this mesh",
            flag="broadcast",
            env="MINIMEGA_BROADCAST",
        ),
    )
    msa: float = field(
        default=3.0,
        metadata=setting(
            "time without a sign of life after which a node counts as gone", flag="msa", env="MINIMEGA_MSA", unit="s"
        ),
    )
    accel: str = field(
        default="auto",
        metadata=setting("accelerator of QEMU: auto, kvm or tcg", flag="accel", env="MINIMEGA_ACCEL"),
    )

    mesh_timeout: float = field(
        default=10.0,
        metadata=setting(
            "how long another host may be silent before a command gives it up; 0: for ever",
            flag="mesh-timeout",
            env="MINIMEGA_MESH_TIMEOUT",
            unit="s",
        ),
    )

    cpu_cap: float = field(
        default=0.0,
        metadata=setting(
            "most virtual CPUs this host promises to VMs, per CPU; 0: any number",
            flag="cpu-cap",
            env="MINIMEGA_CPU_CAP",
        ),
    )
    memory_cap: float = field(
        default=0.0,
        metadata=setting(
            "most memory this host promises to VMs, as a share of what it has (1.0: all); 0: any",
            flag="memory-cap",
            env="MINIMEGA_MEMORY_CAP",
        ),
    )

    @property
    def files(self) -> Path:
        """The directory that relative image paths and `file:` names refer to."""
        return self.filepath or self.base / "files"

    def own_address(self) -> str:
        """The address other hosts reach this one at, as it is now; empty when there is none. Raises InvalidInput."""
        if not self.address:
            return routes.own_address()
        try:
            return str(ip_address(self.address))
        except ValueError:
            raise InvalidInput(f'invalid address "{self.address}" of this host', hint="as in 10.0.0.1") from None

    def vlan_range(self) -> tuple[int, int]:
        """The first VLAN handed out and the one after the last. Raises InvalidInput."""
        low, dash, high = self.vlanrange.partition("-")
        if not (dash and low.isdecimal() and high.isdecimal() and 1 <= int(low) < int(high) <= 4096):
            raise InvalidInput(f'invalid VLAN range "{self.vlanrange}"', hint="low-high with 1 <= low < high <= 4096")
        return int(low), int(high)


def from_flags(flags: Flags) -> Loaded[Settings]:
    """The settings of this start. Raises InvalidInput or Unavailable."""
    given: dict[str, object] = {name.replace("-", "_"): value for name, value in flags.given.items()}
    if "v" in given:
        given.setdefault("verbose", given["v"])
    named = flags.text("settings")
    file = Path(named) if named else DEFAULT_FILE if DEFAULT_FILE.is_file() else None
    return load(Settings, flags=given, file=file)
