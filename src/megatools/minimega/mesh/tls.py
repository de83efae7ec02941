"""TLS between nodes of a cluster: both ends show the cluster's certificates, version 1.3 only.

Older versions show the certificates, and with them the nodes' names, to anyone who listens. `channel` and `enrolment`
make their connections with it; the mesh engine has its own TLS.
"""

from __future__ import annotations

import os
import ssl

from megatools.hostkit.errors import PermissionDenied
from megatools.minimega.mesh.credentials import Credentials, CredentialStore
from megatools.minimega.mesh.identity import Identity
from megatools.minimega.mesh.signing import Believed


class Secured:
    """What a node needs for its connections: contexts for both ends, and whom to believe."""

    def __init__(self, credentials: Credentials, store: CredentialStore) -> None:
        self.own = credentials.identity
        self._believed = Believed(credentials, store)
        authority = credentials.authority.pem.decode()
        self.server = server_context(credentials)
        self.server.verify_mode = ssl.CERT_REQUIRED
        self.server.load_verify_locations(cadata=authority)
        self.client = _context(server=False)
        self.client.check_hostname = False  # who the other end is, `peer` says: addresses change, names do not
        self.client.load_verify_locations(cadata=authority)
        _load(self.client, credentials)

    def peer(self, der: bytes | None) -> Identity:
        """Who the other end of a connection is, by its certificate. Raises PermissionDenied, also for a revoked one."""
        if der is None:
            raise PermissionDenied("the other end showed no certificate")
        return self._believed.identity(der)

    def takes(self, der: bytes | None) -> bool:
        """Whether a connection on which this certificate was shown may go on; one that shows none yet may."""
        if der is None:
            return True
        try:
            self.peer(der)
        except PermissionDenied:
            return False
        return True


def server_context(credentials: Credentials) -> ssl.SSLContext:
    """The listening end, which asks for no certificate."""
    context = _context(server=True)
    context.num_tickets = 0  # a resumed session would have seen no certificate
    _load(context, credentials)
    return context


def unverified_context() -> ssl.SSLContext:
    """The end of a node that has nothing yet to verify with: it must check the certificate it is shown by itself."""
    context = _context(server=False)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _context(*, server: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def _load(context: ssl.SSLContext, credentials: Credentials) -> None:
    """The library reads keys from files only; this one is in memory, and is what was checked."""
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as stream:
            stream.write(credentials.key.pem + credentials.certificate.pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
