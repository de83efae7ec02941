"""A Debian archive for tests: small packages made here, signed with a throw-away key, over HTTP or as files.

The packages of `toy_system` are a whole small system: the real dpkg and bash of this host with their libraries, and
busybox for the rest, so that the real apt, mmdebstrap and dpkg build a tree of it in seconds. A kernel is among them in
name only.

    archive = Archive(tmp_path / "archive")
    archive.publish([*toy_system(), Deb("hello", "1.0", files={"usr/bin/hello": "..."})], "toy")
    with archive.served() as url:          # or archive.url: file://
        vmbetter("--mirror", url, "--branch", "toy", "--keyring", str(archive.keyring), ...)
"""

import contextlib
import functools
import gzip
import hashlib
import http.server
import os
import re
import shutil
import stat
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

_NOW = "1700000000"  # the same bytes whenever a package is made
_APPLETS = (
    "cat chmod chown cp cut date dd df echo expr find grep head id ln ls mkdir mknod mktemp mount mv od printf"
    " ps pwd readlink rm rmdir sed seq sha256sum sleep sort stat sync tail tee test touch tr true false uname"
    " uniq wc xargs which chroot diff gzip gunzip zcat basename dirname ip umount cmp"
).split()
_PROGRAMS = (
    "/usr/bin/dpkg", "/usr/bin/dpkg-deb", "/usr/bin/dpkg-query", "/usr/bin/dpkg-split", "/usr/bin/dpkg-trigger",
    "/usr/bin/update-alternatives", "/bin/bash", "/bin/dash", "/bin/tar", "/usr/bin/env",
    "/sbin/ldconfig", "/sbin/start-stop-daemon",
)  # fmt: skip

_EMPTY = ("dpkg", "base-passwd", "libc6", "perl-base", "mawk", "debconf")  # debootstrap installs them by name


@dataclass(frozen=True)
class Deb:
    """A package: `files` maps paths to text, a file of this host, a `Link`, or `FOLDER`."""

    name: str
    version: str = "1.0"
    depends: str = ""
    architecture: str = "amd64"
    essential: bool = False
    priority: str = "optional"
    files: dict[str, "str | Path | Link"] = field(default_factory=dict)
    postinst: str = ""


@dataclass(frozen=True)
class Link:
    """A symbolic link in a package."""

    target: str


FOLDER = Link("")


def write_deb(deb: Deb, folder: Path) -> Path:
    """Make a package's file in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / f"{deb.name}_{deb.version.replace(':', '%3a')}_{deb.architecture}.deb"
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name) / "tree"
        (tree / "DEBIAN").mkdir(parents=True)
        lines = [f"Package: {deb.name}", f"Version: {deb.version}", f"Architecture: {deb.architecture}"]
        lines += ["Maintainer: Nobody <nobody@example.org>", f"Priority: {deb.priority}", "Section: misc"]
        lines += [f"Depends: {deb.depends}"] if deb.depends else []
        lines += ["Essential: yes"] if deb.essential else []
        lines += ["Installed-Size: 100", f"Description: {deb.name} of a test", ""]
        (tree / "DEBIAN/control").write_text("\n".join(lines))
        if deb.postinst:
            (tree / "DEBIAN/postinst").write_text(f"#!/bin/sh\n{deb.postinst}\n")
            (tree / "DEBIAN/postinst").chmod(0o755)
        for path, content in deb.files.items():
            _place(tree / path, content)
        tree.chmod(0o755)
        words = ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", str(tree), str(made)]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": _NOW}
        subprocess.run(words, check=True, capture_output=True, env=environment)
    return made


def _place(path: Path, content: "str | Path | Link") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is FOLDER:
        path.mkdir()
    elif isinstance(content, Link):
        path.symlink_to(content.target)
    elif isinstance(content, Path):
        shutil.copyfile(content, path)
        path.chmod(stat.S_IMODE(content.stat().st_mode))
    else:
        path.write_text(content)
        path.chmod(0o755 if content.startswith("#!") else 0o644)


@functools.cache
def toy_system(architecture: str = "amd64") -> tuple[Deb, ...]:
    """The packages every toy tree has, and `linux-image-toy`."""
    files: dict[str, str | Path | Link] = {
        "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
        "etc/group": "root:x:0:\nnogroup:x:65534:\n",
        "etc/debian_version": "toy\n",
        "usr/sbin/init": "#!/bin/sh\nexec /bin/sh\n",
    }
    for name in ("dev", "proc", "sys", "tmp", "run", "root", "var/lib/dpkg/info", "var/log", "etc/apt"):
        files[name] = FOLDER
    for name in ("bin", "sbin", "lib", "lib64"):
        files[name] = Link(f"usr/{name}")
    files["usr/bin/busybox"] = Path("/bin/busybox").resolve()
    files["usr/bin/sh"] = Link("dash")  # busybox's own would take its own dpkg for the real one
    for name in _APPLETS:
        files[f"usr/bin/{name}"] = Link("busybox")
    for program in _PROGRAMS:
        path = Path(program)
        files["usr/" + program.strip("/").removeprefix("usr/")] = path.resolve()
        for library in _libraries(path.resolve()):
            files["usr/" + library.strip("/").removeprefix("usr/")] = Path(library).resolve()
    return (
        Deb("base-files", "12", architecture=architecture, essential=True, priority="required", files=files),
        *(Deb(name, "1.21", architecture=architecture, essential=True, priority="required") for name in _EMPTY),
        Deb("apt", "2.6", architecture=architecture, priority="required"),
        Deb("linux-image-toy", "6.1-1", architecture=architecture, files={"boot/vmlinuz-6.1-toy": "no kernel\n"}),
    )


def _libraries(program: Path) -> list[str]:
    done = subprocess.run(["ldd", str(program)], capture_output=True, check=False)
    return re.findall(r"(/\S+) \(0x", done.stdout.decode()) if done.returncode == 0 else []


class Archive:
    """An archive in a folder, with a key of its own; suites may be published again with other packages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keyring = folder / "keys.gpg"
        if self.keyring.is_file():  # a copy of one
            return
        folder.mkdir(parents=True)
        with self._keys() as home:
            self._gpg(home, "--quick-generate-key", "Toy archive <toy@example.org>", "ed25519", "sign", "never")
            self.keyring.write_bytes(self._gpg(home, "--export"))
            (folder / "secret").write_bytes(self._gpg(home, "--export-secret-keys"))

    @property
    def url(self) -> str:
        """The archive as files of this host."""
        return f"file://{self.folder}"

    def publish(
        self,
        debs: Iterable[Deb],
        suite: str,
        *,
        component: str = "main",
        architecture: str = "amd64",
        sign: bool = True,
    ) -> None:  # fmt: skip
        """Make, or replace, a component of a suite; packages of no suite are removed by hand."""
        stanzas = [self._stanza(deb) for deb in debs]
        top = self.folder / "dists" / suite
        index = top / component / f"binary-{architecture}"
        index.mkdir(parents=True, exist_ok=True)
        (index / "Packages").write_text("\n".join(stanzas))
        (index / "Packages.gz").write_bytes(gzip.compress((index / "Packages").read_bytes(), mtime=0))
        self._release(top, suite, architecture, sign)

    def _stanza(self, deb: Deb) -> str:
        made = write_deb(deb, self.folder / "pool")
        data = made.read_bytes()
        control = subprocess.run(["dpkg-deb", "--field", str(made)], capture_output=True, check=True).stdout.decode()
        where = f"Filename: pool/{made.name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
        return control + where

    def _release(self, top: Path, suite: str, architecture: str, sign: bool) -> None:
        listed = []
        for path in sorted(top.rglob("Packages*")):
            data = path.read_bytes()
            listed.append(f" {hashlib.sha256(data).hexdigest()} {len(data)} {path.relative_to(top)}")
        components = " ".join(sorted(path.name for path in top.iterdir() if path.is_dir()))
        lines = [f"Origin: toy\nSuite: {suite}\nCodename: {suite}\nArchitectures: {architecture}"]
        lines += [f"Components: {components}\nDate: Tue, 14 Nov 2023 22:13:20 UTC\nSHA256:", *listed, ""]
        (top / "Release").write_text("\n".join(lines))
        if not sign:
            (top / "InRelease").unlink(missing_ok=True)
            return
        with self._keys() as home:
            self._gpg(home, "--import", str(self.folder / "secret"))
            (top / "InRelease").unlink(missing_ok=True)
            self._gpg(home, "--clearsign", "--output", str(top / "InRelease"), str(top / "Release"))

    @contextlib.contextmanager
    def _keys(self) -> Iterator[str]:
        """A short folder for gpg, whose agent ends with it."""
        home = tempfile.mkdtemp(prefix="mt-gpg-", dir="/tmp")
        try:
            yield home
        finally:
            subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False, capture_output=True)
            shutil.rmtree(home)

    def _gpg(self, home: str, *words: str) -> bytes:
        command = ["gpg", "--homedir", home, "--batch", "--yes", "--quiet", "--pinentry-mode", "loopback"]
        return subprocess.run([*command, "--passphrase", "", *words], check=True, capture_output=True).stdout

    @contextlib.contextmanager
    def served(self) -> Iterator[str]:
        """The archive over HTTP, on loopback of this thread's network namespace."""
        handler = functools.partial(_Quiet, directory=str(self.folder))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_port}"
            finally:
                server.shutdown()
                thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def newer(deb: Deb, version: str, **files: str) -> Deb:
    """The same package in another version."""
    return replace(deb, version=version, files={**deb.files, **files})
