"""A cluster that boots from the network: a bridge with DHCP, TFTP and HTTP in a namespace of its own, and QEMU nodes.

    with boot_lab(root) as lab:                   # root: the TFTP root, with boot loaders and default files in it
        lab.power("kn1", "on")                    # a node's firmware asks the network what to boot
        lab.wait_for("kn1", "marker=alice")       # until its serial line says so

Node i of the cluster `kn` has the address 10.77.0.(20+i). dnsmasq chooses the boot loader by what firmware says it is.
`lab.switch_script` is a program that switches nodes on and off, for igor's command power driver.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import netns

PXELINUX = Path("/usr/lib/PXELINUX/pxelinux.0")
LDLINUX = Path("/usr/lib/syslinux/modules/bios/ldlinux.c32")
OVMF_CODE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
OVMF_VARS = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
GRUB_MODULES = "normal net efinet tftp linux echo configfile regexp test sleep true".split()
HTTP_PORT = 8077
BOOT_S = 240.0


@dataclass(frozen=True)
class Node:
    """One machine: how its firmware boots (bios, uefi or http), and its network card."""

    number: int
    firmware: str = "bios"
    card: str = "virtio-net-pci"

    @property
    def name(self) -> str:
        return f"kn{self.number}"

    @property
    def mac(self) -> str:
        return f"52:54:00:77:00:{self.number:02x}"

    @property
    def address(self) -> str:
        return f"10.77.0.{20 + self.number}"


@dataclass
class BootLab:
    """The running lab."""

    namespace: str
    root: Path
    work: Path
    nodes: dict[str, Node]
    servers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def log(self, name: str) -> str:
        """What a node's serial line has shown since it was last switched on."""
        path = self.work / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def power(self, name: str, action: str) -> str:
        """Switch a node: on, off, cycle or status."""
        done = subprocess.run([self.switch_script, action, name], capture_output=True, timeout=60, check=True)
        return done.stdout.decode().strip()

    @property
    def switch_script(self) -> Path:
        return self.work / "switch"

    def wait_for(self, name: str, *texts: str, timeout_s: float = BOOT_S) -> str:
        """The serial log, once all texts are in it."""
        deadline = time.monotonic() + timeout_s
        while not all(text in (log := self.log(name)) for text in texts):
            assert time.monotonic() < deadline, f"{name} shows no {texts}:\n{log[-3000:]}\n{self.server_log()[-3000:]}"
            time.sleep(0.3)
        return log

    def server_log(self) -> str:
        """What dnsmasq has done."""
        return (self.work / "dnsmasq.log").read_text(errors="replace")


@contextlib.contextmanager
def boot_lab(root: Path, nodes: list[Node]) -> Iterator[BootLab]:
    """A lab around a TFTP root; everything it started is ended."""
    with netns.base_directory() as work, netns.named() as namespace:
        work.chmod(0o755)
        lab = BootLab(namespace, root, work, {node.name: node for node in nodes})
        _network(lab)
        _loaders(root)
        _write_switch(lab)
        try:
            _serve(lab)
            yield lab
        finally:
            for name in lab.nodes:
                lab.power(name, "off")
            for server in lab.servers:
                server.kill()
                server.wait()


def _ip(lab: BootLab, *words: str) -> None:
    subprocess.run(["ip", "-n", lab.namespace, *words], check=True, timeout=30)


def _network(lab: BootLab) -> None:
    _ip(lab, "link", "add", "br0", "type", "bridge", "forward_delay", "0")
    _ip(lab, "address", "add", "10.77.0.1/24", "dev", "br0")
    _ip(lab, "address", "add", "fd00:77::1/64", "dev", "br0", "nodad")
    _ip(lab, "link", "set", "br0", "up")
    for node in lab.nodes.values():
        tap = f"vt{node.number}"
        _ip(lab, "tuntap", "add", tap, "mode", "tap")
        _ip(lab, "link", "set", tap, "master", "br0", "up")


def _loaders(root: Path) -> None:
    """What an administrator puts below the TFTP root: pxelinux and a network GRUB with the prefix /grub."""
    for source in (PXELINUX, LDLINUX):
        shutil.copy(source, root / source.name)
    (root / "grub").mkdir(exist_ok=True)
    words = ["grub-mkimage", "-O", "x86_64-efi", "-o", str(root / "grubx64.efi"), "-p", "(tftp)/grub"]
    subprocess.run([*words, *GRUB_MODULES], check=True, timeout=60)


def _serve(lab: BootLab) -> None:
    config = [
        "port=0", "interface=br0", "bind-interfaces", "except-interface=lo", "no-ping", "user=root", "log-dhcp",
        "dhcp-range=10.77.0.100,10.77.0.200,1h", "enable-ra", "dhcp-range=fd00:77::,ra-only",
        f"dhcp-leasefile={lab.work}/leases", f"pid-file={lab.work}/dnsmasq.pid",
        "enable-tftp", f"tftp-root={lab.root}",
        "dhcp-match=set:bios,option:client-arch,0",
        "dhcp-match=set:efi64,option:client-arch,7", "dhcp-match=set:efi64,option:client-arch,9",
        "dhcp-boot=tag:bios,tag:!http,pxelinux.0", "dhcp-boot=tag:efi64,tag:!http,grubx64.efi",
        f"dhcp-boot=tag:http,http://10.77.0.1:{HTTP_PORT}/ipxe/boot.ipxe",
    ]  # fmt: skip
    for node in lab.nodes.values():
        tag = "set:http," if node.firmware == "http" else ""
        config.append(f"dhcp-host={node.mac},{tag}{node.address},{node.name}")
    path = lab.work / "dnsmasq.conf"
    path.write_text("\n".join(config) + "\n")
    inside = netns.exec_words(lab.namespace)
    with (lab.work / "dnsmasq.log").open("wb") as log:
        words = [*inside, "dnsmasq", "--keep-in-foreground", "--log-facility=-", f"--conf-file={path}"]
        lab.servers.append(subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
    if any(node.firmware == "http" for node in lab.nodes.values()):
        words = [*inside, sys.executable, "-m", "http.server", str(HTTP_PORT), "--bind", "10.77.0.1"]
        with (lab.work / "http.log").open("wb") as log:
            server = subprocess.Popen(
                [*words, "--directory", str(lab.root)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
            lab.servers.append(server)
    deadline = time.monotonic() + 20
    while "TFTP root is" not in lab.server_log():
        assert lab.servers[0].poll() is None, lab.server_log()
        assert time.monotonic() < deadline, lab.server_log()
        time.sleep(0.05)


def _qemu(lab: BootLab, node: Node) -> str:
    memory, extra = "400", ""
    if node.firmware == "uefi":
        memory = "640"
        extra = (
            f" -drive if=pflash,format=raw,unit=0,readonly=on,file={OVMF_CODE}"
            f" -drive if=pflash,format=raw,unit=1,snapshot=on,file={OVMF_VARS}"
        )
    return (
        f"qemu-system-x86_64 -accel tcg -M pc -m {memory} -nodefaults -display none -vga none -boot n{extra}"
        f" -netdev tap,id=n0,ifname=vt{node.number},script=no,downscript=no"
        f" -device {node.card},netdev=n0,mac={node.mac}"
        f" -serial file:{lab.work}/{node.name}.log -pidfile {lab.work}/{node.name}.pid"
    )


def _write_switch(lab: BootLab) -> None:
    """A stand-in for a power controller; what a node shows is kept from the last time it was switched on."""
    cases = "\n".join(f"{node.name}) qemu='{_qemu(lab, node)}' ;;" for node in lab.nodes.values())
    lab.switch_script.write_text(f"""#!/bin/sh
# switch on|off|cycle|status NODE
set -eu
case $2 in
{cases}
*) echo "no node $2" >&2; exit 1 ;;
esac
pidfile={lab.work}/$2.pid
running() {{ [ -s "$pidfile" ] && grep -qs "$pidfile" "/proc/$(cat "$pidfile")/cmdline"; }}
off() {{
    if running; then
        pid=$(cat "$pidfile")
        kill -9 "$pid"
        while running; do sleep 0.05; done
    fi
    rm -f "$pidfile"
}}
on() {{
    running && return
    rm -f "{lab.work}/$2.log"
    ip netns exec {lab.namespace} setsid $qemu >"{lab.work}/$2.qemu" 2>&1 </dev/null &
    while ! running; do
        kill -0 $! 2>/dev/null || {{ cat "{lab.work}/$2.qemu" >&2; exit 1; }}
        sleep 0.05
    done
}}
case $1 in
on) on "$@" ;;
off) off ;;
cycle) off; on "$@" ;;
status) if running; then echo on; else echo off; fi ;;
*) exit 2 ;;
esac
""")
    lab.switch_script.chmod(0o755)


def default_files(root: Path, kernel: Path, initrd: Path) -> None:
    """What nodes boot that nobody has reserved: the same image, with `marker=default`."""
    shutil.copy(kernel, root / "default-kernel")
    shutil.copy(initrd, root / "default-initrd")
    append = "console=ttyS0 marker=default"
    (root / "pxelinux.cfg").mkdir(exist_ok=True)
    (root / "pxelinux.cfg" / "default").write_text(
        f"default d\nlabel d\nkernel /default-kernel\nappend initrd=/default-initrd {append}\n"
    )
    with (root / "grub" / "grub.cfg").open("a") as stream:
        stream.write(
            "set timeout=0\nset default=default\nmenuentry default --id default {\n"
            f"    linux /default-kernel {append}\n    initrd /default-initrd\n}}\n"
        )
    (root / "ipxe" / "default.ipxe").write_text(
        f"#!ipxe\nkernel /default-kernel initrd=initrd {append}\ninitrd --name initrd /default-initrd\nboot\n"
    )


def end_nodes(lab: BootLab) -> None:
    """Switch every node off."""
    for name in lab.nodes:
        lab.power(name, "off")
