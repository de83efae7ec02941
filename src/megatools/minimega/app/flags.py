"""The flags of the program `minimega`: one table, parsed the way Go programs do; called by `app/main.py` first of all.

Standard library only, and little of it: the thin client passes here on every `minimega -e`. A flag takes one or two
dashes, `-flag=value` or `-flag value`; a yes-or-no flag takes its value only with `=`. Parsing ends at the first word
that is no flag, or after `--`; the words from there on are script files, or the command after `-e`.

Source of names and defaults: spec B.9 and A.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))


class FlagError(Exception):
    """A flag that does not exist or a value it does not take; the text says which."""


class Flag:
    """One row of the table; `later` marks a flag that is accepted for compatibility and has no effect yet."""

    __slots__ = ("default", "help", "later", "name")

    def __init__(self, name: str, default: str | bool, help_text: str, *, later: bool = False) -> None:
        self.name = name
        self.default = default
        self.help = help_text
        self.later = later


FLAGS: tuple[Flag, ...] = (
    Flag("base", "/tmp/minimega", "runtime directory: socket, journal, instances"),
    Flag("filepath", "", "directory of images and other files (default: <base>/files)"),
    Flag("namespace", "", "namespace of the commands of -e and -attach"),
    Flag("e", False, "run the words that follow as a command on the running daemon"),
    Flag("attach", False, "open a prompt on the running daemon"),
    Flag("nostdin", False, "daemon without a prompt: wait for a signal"),
    Flag("force", False, "start although a stale socket is there; never displaces a live daemon"),
    Flag("recover", False, "accepted; what runs is always adopted"),
    Flag("level", "", "log level: debug, info, warn, error or fatal"),
    Flag("v", True, "log to standard error"),
    Flag("verbose", True, "log to standard error"),
    Flag("logfile", "", "append the log to this file"),
    Flag("vlanrange", "", "VLANs handed out to names, as low-high (default: 101-4096, half open)"),
    Flag("ovs-run-dir", "", "run directory of the Open vSwitch to use (default: the system's)"),
    Flag("address", "", "address of this host on the network between hosts (default: that of the default route)"),
    Flag("accel", "", "accelerator of QEMU: kvm or tcg (default: what this machine can do)"),
    Flag("cpu-cap", "", "most virtual CPUs promised to VMs, per CPU (default: any number)"),
    Flag("memory-cap", "", "most memory promised to VMs, as a share of what there is (default: any)"),
    Flag("mesh-timeout", "", "seconds another host may be silent before a command gives it up (default: 10; 0: none)"),
    Flag("mesh-open", False, "be in a mesh without certificates: anyone on this network can command this host"),
    Flag("mesh-hubs", "", "comma list of nodes that all others are connected to, for hundreds of hosts"),
    Flag("cluster-dir", "", "directory of this host's membership of a cluster (default: /var/lib/megatools/cluster)"),
    Flag("degree", "0", "with a number above 0: say at the start how to be in a mesh, if this host is in none"),
    Flag("context", "minimega", "name of the mesh; meshes of different names never mix"),
    Flag("port", "9000", "port of the mesh (TCP, and UDP to find each other); the one above it carries streams"),
    Flag("broadcast", "", "multicast group, or hosts to begin with, to find others (default: a group of this mesh)"),
    Flag("msa", "3", "seconds without a sign of life after which a node counts as gone"),
    Flag("settings", "", "settings file (JSON)"),
    Flag("show-settings", False, "print every setting with its source and exit"),
    Flag("version", False, "print the version and exit"),
    Flag("cli", False, "print the commands as JSON and exit"),
    Flag("doc", False, "print the commands as markdown and exit"),
    Flag("help", False, "print this text and exit"),
    Flag("h", False, "print this text and exit"),
    Flag("headnode", "", "host that takes all logs and serves all files", later=True),
    Flag("hashfiles", False, "hash files for transfers", later=True),
    Flag("abssnapshot", False, "absolute backing paths in snapshots", later=True),
    Flag("pipe", "", "bridge standard input and output to a named pipe", later=True),
    Flag("cgroup", "/sys/fs/cgroup", "cgroup root for containers", later=True),
    Flag("panic", False, "dump stacks on a fatal error", later=True),
)
_BY_NAME: Mapping[str, Flag] = MappingProxyType({flag.name: flag for flag in FLAGS})


class Flags:
    """What the command line said: `given` holds only the flags that were there, `words` what followed them."""

    __slots__ = ("given", "words")

    def __init__(self, given: Mapping[str, str | bool], words: Sequence[str]) -> None:
        self.given: Mapping[str, str | bool] = MappingProxyType(dict(given))
        self.words: tuple[str, ...] = tuple(words)

    def text(self, name: str) -> str:
        """The value of a flag that takes a text, or its default."""
        return str(self.given.get(name, _BY_NAME[name].default))

    def on(self, name: str) -> bool:
        """Whether a yes-or-no flag is set, or its default."""
        return self.given.get(name, _BY_NAME[name].default) is True

    @property
    def ignored(self) -> tuple[str, ...]:
        """The flags that were given and have no effect in this version."""
        return tuple(name for name in self.given if _BY_NAME[name].later)


def parse(argv: Sequence[str]) -> Flags:
    """The flags and the words after them; `argv` without the program's name. Raises `FlagError`."""
    given: dict[str, str | bool] = {}
    at = 0
    while at < len(argv):
        word = argv[at]
        if word == "--":
            at += 1
            break
        if len(word) < 2 or not word.startswith("-"):
            break
        name, equals, value = word.removeprefix("-").removeprefix("-").partition("=")
        flag = _BY_NAME.get(name)
        if flag is None:
            raise FlagError(f'flag provided but not defined: "{word.partition("=")[0]}"')
        at += 1
        if isinstance(flag.default, bool):
            given[name] = _boolean(name, value) if equals else True
            continue
        if not equals:
            if at == len(argv):
                raise FlagError(f'flag needs an argument: "-{name}"')
            value = argv[at]
            at += 1
        given[name] = value
    return Flags(given, argv[at:])


def _boolean(name: str, value: str) -> bool:
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise FlagError(f'invalid value "{value}" for flag "-{name}": use true or false')


def ignored_text(flags: Flags) -> str:
    """The sentence for standard error about flags without effect, or an empty string."""
    if not flags.ignored:
        return ""
    return "accepted; has no effect in this version: " + ", ".join(f"-{name}" for name in flags.ignored)


def usage() -> str:
    """How to call the program: one line per flag."""
    lines = [
        "usage: minimega [flags] [script]...          start the daemon, run the scripts, then prompt",
        "       minimega [flags] -e <command>...      run one command on the running daemon",
        "       minimega [flags] -attach              open a prompt on the running daemon",
        "       minimega [flags] cluster init|join... found or join a cluster, with a running daemon or without",
        "",
        "flags (one dash or two):",
    ]
    for flag in FLAGS:
        value = "" if isinstance(flag.default, bool) else " <value>"
        note = "" if flag.default in (False, "", True) else f" (default {flag.default})"
        later = " [no effect in this version]" if flag.later else ""
        lines.append(f"  -{flag.name + value:<20} {flag.help}{note}{later}")
    return "\n".join(lines)
