"""What postbuild scripts have around them, and who is blamed when they cannot even begin."""

from pathlib import Path

import pytest

from tests.integration.vmbetter.conftest import CONFIG, Workshop
from tests.support.requires import requires

pytestmark = [requires("mmdebstrap", "zstd", "unshare", "gpg", "dpkg-deb"), pytest.mark.root, pytest.mark.timeout(300)]

SAMPLES_LINK = Path(__file__).resolve().parents[3] / "misc/vmbetter_configs/default_amd64_overlay/etc/resolv.conf"
OWN = "nameserver 192.0.2.1\n"


@pytest.mark.parametrize("leads_to", [str(SAMPLES_LINK.readlink()), "../run/x/resolv.conf", "/usr/share/stub.conf"])
def test_scripts_have_the_hosts_resolver_through_links_too(workshop: Workshop, leads_to: str) -> None:
    etc, share = workshop.directory / "over/etc", workshop.directory / "over/usr/share"
    etc.mkdir(parents=True)
    share.mkdir(parents=True)
    (etc / "resolv.conf").symlink_to(leads_to)
    (share / "stub.conf").write_text("nameserver 127.0.0.53\n")
    seen = "postbuild = `cat /etc/resolv.conf > /seen-NUMBER`\n"  # in each script: /run is new for each
    scripts = seen.replace("NUMBER", "1") + seen.replace("NUMBER", "2")
    workshop.config(CONFIG + 'overlay = "over"\n' + scripts)
    workshop.build("--rootfs-tar", "x.conf")
    hosts = Path("/etc/resolv.conf").read_text()
    assert (workshop.file("seen-1"), workshop.file("seen-2")) == (hosts, hosts)
    assert workshop.file("usr/share/stub.conf") == "nameserver 127.0.0.53\n"
    assert workshop.link("etc/resolv.conf") == leads_to


def test_a_resolver_of_the_images_own_stays(workshop: Workshop) -> None:
    etc = workshop.directory / "over/etc"
    etc.mkdir(parents=True)
    (etc / "resolv.conf").write_text(OWN)
    workshop.config(CONFIG + 'overlay = "over"\npostbuild = `cat /etc/resolv.conf > /seen`')
    workshop.build("--rootfs-tar", "x.conf")
    assert (workshop.file("seen"), workshop.file("etc/resolv.conf")) == (OWN, OWN)


def test_what_cannot_begin_is_not_told_as_the_scripts_failure(workshop: Workshop) -> None:
    workshop.config(CONFIG + "postbuild = `rm /bin/bash`\npostbuild = `echo never`")
    done = workshop.build("--rootfs-tar", "x.conf", check=False)
    said = done.stderr.decode()
    assert done.status == 7, said
    assert 'stage "postbuild" failed: postbuild at "x.conf:3:14" could not be begun in the tree, after saying:' in said
    assert 'cannot start "/bin/bash" in the tree: no such file or directory' in said
    assert "Traceback" not in said
    assert "ended with status" not in said
