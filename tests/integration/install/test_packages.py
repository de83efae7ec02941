"""scripts/install and Debian's packages: nothing starts by itself, and what was there before is there again.

The real script runs in a mount namespace of its own, with an apt-get and a dpkg-query that play a machine on which
everything is missing; nothing is installed.
"""

import os
import subprocess
from pathlib import Path

import pytest

from tests.architecture.source import ROOT
from tests.support.requires import requires

pytestmark = [pytest.mark.root, requires("unshare", "mount")]

_POLICY = "/usr/sbin/policy-rc.d"
_APT = f"""#!/bin/sh
echo "$@" >>"$RECORD/calls"
case "$*" in *" install "*) ;; *) exit 0 ;; esac
{_POLICY} openvswitch-switch start
echo $? >"$RECORD/during"
echo "E: the mirror is on fire"
exit "$APT_STATUS"
"""
_SCENE = f"""
set -e
mkdir "$RECORD/upper" "$RECORD/work"
mount -t tmpfs none "$RECORD/upper"
mkdir "$RECORD/upper/up" "$RECORD/upper/work"
mount -t overlay none -o "lowerdir=/usr/sbin,upperdir=$RECORD/upper/up,workdir=$RECORD/upper/work" /usr/sbin
rm -f {_POLICY}
if [ -n "$BEFORE" ]; then printf '%s' "$BEFORE" >{_POLICY}; chmod 755 {_POLICY}; fi
status=0
PATH="$RECORD/bin:$PATH" "{ROOT}/scripts/install" --dev --no-services --unrecorded || status=$?
cat {_POLICY} >"$RECORD/after" 2>/dev/null || true
ls /usr/sbin/policy-rc.d* >"$RECORD/left" 2>/dev/null || true
exit $status
"""


def _install(record: Path, *, before: str = "", apt_status: int = 0) -> subprocess.CompletedProcess[str]:
    (record / "bin").mkdir()
    for name, text in {"apt-get": _APT, "dpkg-query": "#!/bin/sh\nexit 1\n"}.items():
        (record / "bin" / name).write_text(text)
        (record / "bin" / name).chmod(0o755)
    environment = {**os.environ, "RECORD": str(record), "BEFORE": before, "APT_STATUS": str(apt_status)}
    return subprocess.run(
        ["unshare", "--mount", "bash", "-c", _SCENE],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize(
    "before", ["", "#!/bin/sh\nexit 0\n", "#!/bin/sh\nexit 101\n"], ids=["none", "allows", "refuses"]
)
def test_no_service_starts_and_the_policy_is_put_back(tmp_path: Path, before: str) -> None:
    done = _install(tmp_path, before=before)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "during").read_text() == "101\n"
    assert (tmp_path / "after").read_text() == before
    assert (tmp_path / "left").read_text() == (f"{_POLICY}\n" if before else "")
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == 2
    assert "update" in calls[0]
    assert "--no-install-recommends" in calls[1]
    assert "openvswitch-switch" in calls[1]


def test_a_failing_apt_is_reported_and_the_policy_is_put_back(tmp_path: Path) -> None:
    done = _install(tmp_path, before="#!/bin/sh\nexit 0\n", apt_status=100)
    assert done.returncode == 1
    assert "failed while installing packages" in done.stderr
    assert "the mirror is on fire" in done.stderr
    assert (tmp_path / "after").read_text() == "#!/bin/sh\nexit 0\n"


def test_nothing_is_asked_of_apt_when_nothing_is_missing() -> None:
    done = subprocess.run(
        [str(ROOT / "scripts" / "install"), "--dev", "--no-services", "--unrecorded"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Debian packages" not in done.stdout
