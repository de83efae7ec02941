"""Folders in which something is mounted are found, whatever their names are."""

from megatools.hostkit.bootstrap import sandbox

MOUNTINFO = """22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
25 22 0:5 / /dev rw,nosuid shared:2 - devtmpfs udev rw
31 22 0:5 / /srv/x_rootfs/dev rw,nosuid shared:2 - devtmpfs udev rw
32 31 0:24 / /srv/x_rootfs/dev/pts rw - devpts devpts rw
33 22 254:0 /home /srv/a\\040b\\134/in rw - ext4 /dev/vda rw
34 22 254:0 /home /srv/x_rootfs2 rw - ext4 /dev/vda rw
"""


def test_mounts_below_a_folder() -> None:
    assert sandbox.points_below(MOUNTINFO, "/srv/x_rootfs") == ["/srv/x_rootfs/dev", "/srv/x_rootfs/dev/pts"]
    assert sandbox.points_below(MOUNTINFO, "/srv/a b\\") == ["/srv/a b\\/in"]
    assert sandbox.points_below(MOUNTINFO, "/srv/x_rootfs2") == []
    assert "/dev" in sandbox.points_below(MOUNTINFO, "/")
