"""Two ordinary users, a stranger and an admin on one machine, as real uids: each can do what the rules say."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.machine import HOME, TFTPROOT, USERS, Machine, machine
from tests.support.requires import requires

pytestmark = [pytest.mark.root, pytest.mark.timeout(600), requires("unshare", "nsenter", "setpriv")]
KERNEL, INITRD = b"\0" * 0x202 + b"HdrS" + b"k" * 3000, b"\x28\xb5\x2f\xfd" + b"i" * 3000
INVALID, NOT_FOUND, STATE, DENIED = 2, 3, 5, 6


def give_images(here: Machine, user: str) -> list[str]:
    """A kernel and an initrd in a user's home that only the user can read; the words that name them."""
    words: list[str] = []
    for flag, name, body in (("-k", "kernel", KERNEL), ("-i", "initrd", INITRD)):
        source = here.base / f"{user}-{name}"
        source.write_bytes(body)
        target = HOME / user / name
        here.run("root", "install", "-o", str(USERS[user]), "-m", "600", str(source), str(target))
        words += [flag, str(target)]
    return words


@pytest.fixture(scope="module")
def strict() -> Iterator[Machine]:
    """Rules are enforced; the service runs as root."""
    with machine(goodfaith=False) as here:
        here.serve()
        yield here


def test_everybody_reserves_with_their_own_files_and_rights(strict: Machine) -> None:
    alice = give_images(strict, "alice")
    strict.igor("alice", "sub", "-r", "mine", *alice, "-w", "kn[1-4]", "-c", "quiet")
    text = strict.read(TFTPROOT / "pxelinux.cfg" / "0A010001")
    assert text == "default mine\n\nlabel mine\nkernel /igor/mine-kernel\nappend initrd=/igor/mine-initrd quiet\n"
    assert "you cannot read" in strict.refused(DENIED, "bob", "sub", "-r", "his", *alice, "-w", "kn9")
    error = strict.refused(STATE, "bob", "sub", "-r", "his", *give_images(strict, "bob"), "-w", "kn[4-6]")
    assert '"kn4" is held by "mine" (alice) until' in error
    strict.igor("bob", "sub", "-r", "his", *give_images(strict, "bob"), "-w", "kn[5-6]")
    shown = strict.igor("carol", "show").stdout
    assert "alice" in shown
    assert "kn[5-6]" in shown


def test_nobody_changes_what_belongs_to_another(strict: Machine) -> None:
    strict.igor("alice", "sub", "-r", "alone", *give_images(strict, "alice"), "-w", "kn[21-22]")
    forged = {"SUDO_UID": "0", "SUDO_USER": "root", "USER": "alice", "LOGNAME": "alice"}
    for words in (["del", "alone"], ["extend", "-r", "alone", "-t", "1"], ["edit", "-r", "alone", "-c", "evil"]):
        assert "alone" in strict.refused(DENIED, "bob", *words)
        assert "alone" in strict.refused(DENIED, "bob", *words, env=forged)
    strict.refused(DENIED, "bob", "power", "status", "-r", "alone")
    strict.refused(DENIED, "bob", "power", "off", "-w", "kn21")
    strict.refused(DENIED, "alice", "nodes", "block", "kn100", "-m", "mine now")
    strict.refused(DENIED, "alice", "tick")
    strict.refused(DENIED, "alice", "sub", "-r", "upkeep", "-maintenance", "-w", "kn30")
    strict.igor("alice", "extend", "-r", "alone", "-t", "1")
    strict.igor("adam", "edit", "-r", "alone", "-c", "from=admin")
    assert "from=admin" in strict.read(TFTPROOT / "pxelinux.cfg" / "0A010015")
    strict.igor("adam", "del", "alone")
    assert not strict.exists(TFTPROOT / "pxelinux.cfg" / "0A010015")


def test_a_group_shares_a_reservation(strict: Machine) -> None:
    words = give_images(strict, "alice")
    strict.refused(DENIED, "carol", "sub", "-r", "ours", *give_images(strict, "carol"), "-w", "kn31", "-g", "lab")
    strict.igor("alice", "sub", "-r", "ours", *words, "-w", "kn31", "-g", "lab")
    strict.refused(DENIED, "carol", "del", "ours")
    strict.igor("bob", "extend", "-r", "ours", "-t", "1")
    strict.igor("bob", "del", "ours")


def test_an_expired_reservation_is_fair_game(strict: Machine) -> None:
    strict.igor("alice", "sub", "-r", "short", *give_images(strict, "alice"), "-w", "kn[41-42]")
    strict.igor("alice", "sub", "-r", "short2", *give_images(strict, "alice"), "-w", "kn43")
    strict.refused(DENIED, "carol", "del", "short2")
    for name in ("short", "short2"):
        strict.expire(name)
    assert strict.exists(TFTPROOT / "pxelinux.cfg" / "0A010029"), "it keeps its files until somebody needs the nodes"
    strict.igor("bob", "sub", "-r", "taken", *give_images(strict, "bob"), "-w", "kn42")
    assert "short-kernel" not in strict.igor("root", "check").stdout
    assert not strict.exists(TFTPROOT / "pxelinux.cfg" / "0A010029")
    assert "label taken" in strict.read(TFTPROOT / "pxelinux.cfg" / "0A01002A")
    strict.igor("carol", "del", "short2")


def test_no_user_can_write_what_nodes_boot(strict: Machine) -> None:
    strict.igor("alice", "sub", "-r", "safe", *give_images(strict, "alice"), "-w", "kn51")
    paths = strict.run("root", "find", str(TFTPROOT)).stdout.split()
    assert len(paths) > 10
    for user in ("alice", "carol"):
        writable = strict.run(user, "find", str(TFTPROOT), "-writable", check=False).stdout
        assert writable == ""
    secret = strict.run("alice", "find", str(TFTPROOT / "igor/state"), "-type", "f", check=False)
    assert secret.stdout == "", "nobody reads the store itself"
    served = strict.run("root", "stat", "-L", "-c", "%a %U", str(TFTPROOT / "igor/safe-kernel")).stdout
    assert served == "644 root\n"


def test_links_and_names_lead_nowhere(strict: Machine) -> None:
    words = give_images(strict, "alice")
    for name in ("../../etc/cron.d/x", "a/b", ".hidden", "", "a\nb", "x" * 65):
        assert strict.igor("alice", "sub", "-r", name, *words, "-w", "kn61", check=False).returncode == INVALID
    strict.run("alice", "ln", "-sf", "/etc/shadow", str(HOME / "alice/shadow"))
    strict.refused(DENIED, "alice", "sub", "-r", "x", "-k", str(HOME / "alice/shadow"), *words[2:], "-w", "kn61")
    strict.run("alice", "mkfifo", str(HOME / "alice/fifo"))
    strict.refused(INVALID, "alice", "sub", "-r", "x", "-k", str(HOME / "alice/fifo"), *words[2:], "-w", "kn61")
    newline = "quiet\nkernel /igor/other-kernel"
    strict.refused(INVALID, "alice", "sub", "-r", "x", *words, "-w", "kn61", "-c", newline)


def test_hooks_run_as_the_owner(strict: Machine) -> None:
    said = HOME / "alice" / "said"
    script = strict.base / "hook"
    script.write_text(f"#!/bin/sh\n(id -un; echo $IGOR_EVENT $IGOR_NODES) >>{said}\n")
    strict.run("root", "install", "-o", str(USERS["alice"]), "-m", "700", str(script), str(HOME / "alice/hook"))
    hooks = ["-hook-start", str(HOME / "alice/hook"), "-hook-end", str(HOME / "alice/hook")]
    strict.igor("alice", "sub", "-r", "hooked", *give_images(strict, "alice"), "-w", "kn[71-72]", *hooks)
    strict.igor("alice", "del", "hooked")
    deadline = time.monotonic() + 30
    while not strict.exists(said) or strict.read(said).count("\n") < 4:
        assert time.monotonic() < deadline, (strict.base / "serve.log").read_text()
        time.sleep(0.1)
    assert strict.read(said) == "alice\nstart kn[71-72]\nalice\nend kn[71-72]\n"


def test_a_setuid_bit_changes_nothing(strict: Machine) -> None:
    copy = Path("/mnt/igor")
    strict.run("root", "install", "-m", "6755", str(Path(__file__).parents[3] / "bin" / "igor"), str(copy))
    strict.igor("alice", "sub", "-r", "hers", *give_images(strict, "alice"), "-w", "kn81")
    home = {"MEGATOOLS_HOME": str(Path(__file__).parents[3])}
    done = strict.run("bob", str(copy), "del", "hers", check=False, env=home)
    assert done.returncode == DENIED, done.stderr
    strict.igor("alice", "del", "hers")


def test_in_good_faith_anybody_may_delete() -> None:
    with machine() as here:
        here.serve()
        here.igor("alice", "sub", "-r", "testing", *give_images(here, "alice"), "-w", "kn[1-10]")
        here.igor("carol", "extend", "-r", "testing", "-t", "1")
        here.igor("bob", "del", "testing")
        assert "testing" not in here.igor("alice", "show").stdout
        assert here.igor("root", "check").stdout == "store and boot files agree\n"


def test_without_a_service_only_root_reserves() -> None:
    with machine() as here:
        words = give_images(here, "alice")
        error = here.refused(DENIED, "alice", "sub", "-r", "testing", *words, "-w", "kn[1-10]")
        assert "igor serve" in error
        here.igor("root", "sub", "-r", "testing", *words, "-w", "kn[1-10]")


def test_a_full_tftp_disk_is_one_clear_error() -> None:
    with machine(goodfaith=False) as here:
        here.run("root", "mount", "-t", "tmpfs", "-o", "size=600k,mode=755", "none", str(TFTPROOT))
        here.igor("root", "setup")
        here.serve()
        words = give_images(here, "alice")
        here.igor("alice", "sub", "-r", "fits", *words, "-w", "kn1")
        here.run("root", "sh", "-c", f"head -c 1M /dev/zero >{TFTPROOT}/filler; true", check=False)
        other = here.base / "other"
        other.write_bytes(KERNEL + b"another" * 2000)
        other.chmod(0o644)
        error = here.refused(7, "alice", "sub", "-r", "more", "-k", str(other), *words[2:], "-w", "kn2")
        assert "no room" in error or "cannot" in error
        here.run("root", "rm", str(TFTPROOT / "filler"))
        here.igor("alice", "sub", "-r", "more", "-k", str(other), *words[2:], "-w", "kn2")
        assert here.igor("root", "check").stdout == "store and boot files agree\n"
