"""The certificate of the pages: the one igor.conf names, or one that igor signs itself; used by `server`."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from megatools.hostkit import proc
from megatools.hostkit.errors import InvalidInput, PermissionDenied, Unavailable
from megatools.igor.model.config import Config

_DAYS = 3650
_OPENSSL_S = 60


def certificate(config: Config) -> tuple[Path, Path]:
    """The files of the certificate and its key.

    Without one in igor.conf, one for this machine's name is made once and kept beside the store (openssl req -x509).
    Raises InvalidInput, PermissionDenied, Unavailable, CommandFailed.
    """
    if bool(config.certificate) != bool(config.key):
        raise InvalidInput('"certificate" and "key" of igor.conf belong together: one of them is missing')
    if config.certificate:
        found = Path(config.certificate), Path(config.key)
        for one in found:
            _check(one)
        return found
    folder = config.state / "web"
    made = folder / "certificate.pem", folder / "key.pem"
    if not all(one.exists() for one in made):
        _make(folder, *made)
    return made


def _check(path: Path) -> None:
    try:
        with path.open("rb"):
            return
    except PermissionError as error:
        raise PermissionDenied(f'cannot read "{path}"') from error
    except OSError as error:
        raise InvalidInput(f'cannot read "{path}"', hint='"certificate" and "key" of igor.conf are files') from error


def _make(folder: Path, certificate: Path, key: Path) -> None:
    name = socket.gethostname()
    new = folder / f".certificate.{os.getpid()}", folder / f".key.{os.getpid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        new[1].touch(mode=0o600)
        proc.run_sync(
            [
                "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-days", str(_DAYS), "-subj", f"/CN={name[:64]}",
                "-addext", f"subjectAltName=DNS:{name},DNS:localhost,IP:127.0.0.1",
                "-out", str(new[0]), "-keyout", str(new[1]),
            ],
            timeout_s=_OPENSSL_S,
        )  # fmt: skip
        new[1].rename(key)
        new[0].rename(certificate)
    except OSError as error:
        raise Unavailable(f'cannot keep a certificate in "{folder}"') from error
    finally:
        for one in new:
            one.unlink(missing_ok=True)
