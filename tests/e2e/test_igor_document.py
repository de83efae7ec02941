"""The document's igor session, word for word, on a machine of its own: a root file system that forgets."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import netns
from tests.support.images import REPOSITORY
from tests.support.requires import requires

pytestmark = [pytest.mark.root, pytest.mark.timeout(300), requires("unshare", "chroot")]

_ENTER = """
mount -t tmpfs none "$1" && mkdir "$1/up" "$1/work" "$1/root"
mount -t overlay -o lowerdir=/,upperdir="$1/up",workdir="$1/work" none "$1/root"
for place in /proc /dev /sys; do mount --rbind "$place" "$1/root$place"; done
mkdir -p "$1/root$2" && mount --rbind "$2" "$1/root$2"
chroot "$1/root" /bin/bash -eu /session
"""
_BEFORE = """
for number in $(seq 1 520); do echo "10.0.$((number / 256)).$((number % 256)) kn$number"; done >>/etc/hosts
mkdir -p /path/to
head -c 514 /dev/zero >/path/to/kernel; printf 'HdrS' >>/path/to/kernel; head -c 4000 /dev/zero >>/path/to/kernel
printf '070701' >/path/to/initrd; head -c 4000 /dev/zero >>/path/to/initrd
export MEGATOOLS_HOME=@REPOSITORY@
cd @REPOSITORY@
sudo() { "$@"; }
"""
_CONFIGURATION = """{
        "tftproot" : "/tftpboot/",
        "prefix" : "kn",
        "start" : 1,
        "end" : 520,
        "rackwidth" : 8,
        "rackheight" : 5
}
"""
_RACK = """\
---------------------------------
|281|282|283|284|285|286|287|288|
|289|290|291|292|293|294|295|296|
|297|298|299|300|301|302|303|304|
|305|306|307|308|309|310|311|312|
|313|314|315|316|317|318|319|320|
---------------------------------
"""
_MARK = "=== "


@pytest.fixture
def base() -> Iterator[Path]:
    with netns.base_directory() as place:
        yield place


def _session(base: Path, script: str) -> dict[str, str]:
    """Run a script as root of a machine that forgets; what it wrote after each `=== NAME`, errors included."""
    upper = base / "machine"
    upper.mkdir()
    before = _BEFORE.replace("@REPOSITORY@", str(REPOSITORY))
    enter = _ENTER.replace("chroot", f'cp {base}/session "$1/root/session" && chroot', 1)
    (base / "session").write_text(before + script)
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "bash", "-eu", "-c", enter, "enter", upper, REPOSITORY],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    parts = re.split(rf"^{_MARK}(.*)\n", done.stdout, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_documents_session(base: Path) -> None:
    said = _session(
        base,
        f"""
cp bin/igor /usr/local/bin/igor
chmod +s /usr/local/bin/igor
echo "{_MARK}setup"; sudo src/igor/setup.sh
chmod -s /usr/local/bin/igor
echo "{_MARK}again"; sudo src/igor/setup.sh
echo "{_MARK}written"; cat /etc/igor.conf
cat >/etc/igor.conf <<'END'
{_CONFIGURATION}
END
echo "{_MARK}empty"; igor show
echo "{_MARK}sub"; igor sub -r testing -k /path/to/kernel -i /path/to/initrd -w kn[1-10]
echo "{_MARK}show"; igor show
echo "{_MARK}files"; cd /tftpboot; find . -path ./igor/state -prune -o -type f -print | sort; cat pxelinux.cfg/0A000005
echo "{_MARK}twice"; igor sub -r other -k /path/to/kernel -i /path/to/initrd -w kn[10-12] || echo "status $?"
echo "{_MARK}del"; igor del testing
echo "{_MARK}after"; igor show; find pxelinux.cfg -type f
echo "{_MARK}check"; igor check
""",
    )
    assert 'wrote "/etc/igor.conf"' in said["setup"]
    assert '"/etc/igor.conf" is there already' in said["again"]
    assert '"rackheight" : 5\n}' in said["written"]
    assert _RACK in said["empty"]
    assert said["empty"].splitlines()[-3:] == [
        "NAME  OWNER  TIME LEFT  NODES",
        "-" * 80,
        said["empty"].splitlines()[-1],
    ]
    assert said["sub"].startswith('reservation "testing" has kn[1-10] until ')
    assert re.search(r"^testing +root +12\.0 +kn\[1-10\]$", said["show"], re.MULTILINE)
    assert _RACK in said["show"]
    assert "\x1b" not in said["show"], "colours are for terminals"
    assert _the_files(said["files"]) == sorted(
        [*(f"pxelinux.cfg/0A0000{number:02X}" for number in range(1, 11)), "pxelinux.cfg/igor/testing",
         "igor/testing-initrd", "igor/testing-kernel", "igor/images/*", "igor/images/*"]
    )  # fmt: skip
    assert said["files"].endswith(
        "default testing\n\nlabel testing\nkernel /igor/testing-kernel\nappend initrd=/igor/testing-initrd\n"
    )
    assert '"kn10" is held by "testing" (root) until' in said["twice"]
    assert said["twice"].endswith("status 5\n")
    assert "testing" not in said["after"]
    assert "0A0000" not in said["after"]
    assert said["check"] == "store and boot files agree\n"


def _the_files(listing: str) -> list[str]:
    """What nodes of the document's time are served; images by any name."""
    found = [
        line.removeprefix("./") for line in listing.splitlines() if line.startswith(("./igor/", "./pxelinux.cfg/"))
    ]
    return sorted(re.sub(r"^igor/images/.*", "igor/images/*", path) for path in found if ".ipxe" not in path)


def test_help_and_usage(base: Path) -> None:
    said = _session(
        base,
        f"""
igor() {{ bin/igor "$@" && echo "status 0" || echo "status $?"; }}
echo "{_MARK}help"; igor help
echo "{_MARK}help sub"; igor help sub
echo "{_MARK}sub"; igor sub
echo "{_MARK}del"; igor del
echo "{_MARK}nothing"; igor
echo "{_MARK}unknown"; igor shwo
echo "{_MARK}half"; igor sub -r x -w kn1
echo "{_MARK}unset"; igor show
cp bin/igor /usr/local/bin/igor; chmod +s /usr/local/bin/igor; export MEGATOOLS_HOME={REPOSITORY}
echo "{_MARK}setuid"; /usr/local/bin/igor help del
""",
    )
    assert "sub " in said["help"]
    assert said["help"].endswith("status 0\n")
    for part in ("help sub", "sub"):
        assert "-k, --kernel FILE" in said[part]
    assert said["sub"].endswith("status 2\n")
    assert "igor del testing" in said["del"]
    assert said["del"].endswith("status 2\n")
    assert "Commands:" in said["nothing"]
    assert (
        said["unknown"]
        == 'igor: unknown command "shwo"; did you mean show?\nhint: igor -h shows what it takes\nstatus 2\n'
    )
    assert said["half"].startswith("igor: missing required argument -k\n")
    assert (
        said["unset"]
        == 'igor: there is no "/etc/igor.conf": no such file or directory\nhint: sudo igor setup writes one\nstatus 3\n'
    )
    assert 'the setuid bit of "/usr/local/bin/igor" has no effect' in said["setuid"]
    assert "Usage: igor del" in said["setuid"]
