"""Certificates and the keys behind them: made, issued, read, compared; and bytes signed with such a key.

A thin driver on the `cryptography` library, pure but for the random keys it makes; anyone may call it. All keys are
ECDSA on P-256 (what every TLS library takes), all digests SHA-256. Whoever is quick to start imports this late: the
library takes 50 ms.

Source: RFC 5280; rustls (the mesh engine's TLS) wants version 3, key usages, and names in the alternative names.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from datetime import datetime

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from megatools.hostkit.errors import Corrupt, InvalidInput

_DIGEST = ec.ECDSA(hashes.SHA256())
_COMMON_NAME_LENGTH = 64  # RFC 5280, ub-common-name


class Names(msgspec.Struct, frozen=True):
    """Whom a certificate is for: the common name (at most 64 characters), and the alternative names."""

    common: str
    dns: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()


class Validity(msgspec.Struct, frozen=True):
    """From when until when a certificate holds; aware times, whole seconds count."""

    start: datetime
    end: datetime


class Key:
    """A private key."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    @classmethod
    def make(cls) -> Key:
        """A new one."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def read(cls, pem: bytes) -> Key:
        """The key in a PEM text. Raises Corrupt."""
        try:
            key = serialization.load_pem_private_key(pem, None)
        except (ValueError, TypeError) as error:
            raise Corrupt("the private key is unreadable") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise Corrupt("the private key is not one on the curve P-256")
        return cls(key)

    @property
    def pem(self) -> bytes:
        """The key as PEM (PKCS 8, not encrypted)."""
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def private(self) -> ec.EllipticCurvePrivateKey:
        """The library's own object, for this module."""
        return self._key

    def sign(self, data: bytes) -> bytes:
        """A signature over bytes (ECDSA, DER)."""
        return self._key.sign(data, _DIGEST)

    def agree(self, other: Certificate) -> bytes:
        """What this key and that of a certificate have in common, and nobody else knows (ECDH, SP 800-56A); 32 bytes.

        The two ends get the same; to be hashed before use.
        """
        return self._key.exchange(ec.ECDH(), other.public)

    def request(self) -> bytes:
        """A certificate signing request (DER) for the public half; it names nobody."""
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


class Certificate:
    """A certificate, read."""

    def __init__(self, certificate: x509.Certificate) -> None:
        self._certificate = certificate
        key = certificate.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise Corrupt("the certificate's key is not one on an elliptic curve")
        self._public = key
        self.der = certificate.public_bytes(serialization.Encoding.DER)
        self.fingerprint = hashlib.sha256(self.der).digest()
        self.serial = f"{certificate.serial_number:x}"
        self.names = _names_of(certificate)
        self.validity = Validity(certificate.not_valid_before_utc, certificate.not_valid_after_utc)

    @classmethod
    def read(cls, der: bytes) -> Certificate:
        """The certificate in DER bytes. Raises Corrupt."""
        try:
            return cls(x509.load_der_x509_certificate(der))
        except ValueError as error:
            raise Corrupt("the certificate is unreadable") from error

    @classmethod
    def read_all(cls, pem: bytes) -> list[Certificate]:
        """The certificates in a PEM text, in its order; other things in it are passed over. Raises Corrupt."""
        try:
            return [cls(found) for found in x509.load_pem_x509_certificates(pem)]
        except ValueError as error:
            raise Corrupt("the certificates are unreadable") from error

    @property
    def pem(self) -> bytes:
        """The certificate as PEM."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def public(self) -> ec.EllipticCurvePublicKey:
        """The library's own object of its key, for this module."""
        return self._public

    @property
    def library(self) -> x509.Certificate:
        """The library's own object, for this module."""
        return self._certificate

    def belongs_to(self, key: Key) -> bool:
        """Whether this is the certificate of a key."""
        return self._public == key.private.public_key()

    def issued_by(self, authority: Certificate) -> bool:
        """Whether an authority's key signed this; says nothing about dates."""
        try:
            self._certificate.verify_directly_issued_by(authority.library)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True

    def holds_at(self, now: datetime) -> bool:
        """Whether a moment lies within its dates."""
        return self.validity.start <= now <= self.validity.end

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Whether its key made a signature over bytes."""
        try:
            self._public.verify(signature, data, _DIGEST)
        except InvalidSignature:
            return False
        return True


def make_authority(key: Key, common_name: str, validity: Validity) -> Certificate:
    """A certificate that may issue others, signed with its own key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:_COMMON_NAME_LENGTH])])
    public = key.private.public_key()
    builder = (
        _builder(name, name, public, validity)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
    return Certificate(builder.sign(key.private, hashes.SHA256()))


def issue(
    authority: Certificate, key: Key, request: bytes, names: Names, validity: Validity, serial: int = 0
) -> Certificate:
    """A certificate for TLS in both directions, for the key in a signing request (DER); its names are ours, not its.

    Raises InvalidInput when the request is no such request, or not signed with its own key. Without a serial number
    it gets a random one.
    """
    public = _requested_key(request)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names.common)])
    issuer = authority.library
    builder = (
        _builder(name, issuer.subject, public, validity, serial)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName(_alternatives(names)), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.private.public_key()), critical=False)
    )
    return Certificate(builder.sign(key.private, hashes.SHA256()))


def random_serial() -> int:
    """A serial number nobody else has."""
    return x509.random_serial_number()


def _requested_key(request: bytes) -> ec.EllipticCurvePublicKey:
    try:
        read = x509.load_der_x509_csr(request)
        public = read.public_key()
        valid = read.is_signature_valid
    except ValueError as error:
        raise InvalidInput("the certificate signing request is unreadable") from error
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise InvalidInput("the key of the certificate signing request is not one on the curve P-256")
    if not valid:
        raise InvalidInput("the certificate signing request is not signed with its own key")
    return public


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, validity: Validity, serial: int = 0
) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(
        subject_name=subject,
        issuer_name=issuer,
        public_key=public,
        serial_number=serial or random_serial(),
        not_valid_before=validity.start,
        not_valid_after=validity.end,
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _alternatives(names: Names) -> Sequence[x509.GeneralName]:
    return [
        *map(x509.DNSName, names.dns),
        *(x509.IPAddress(ipaddress.ip_address(address)) for address in names.addresses),
        *map(x509.UniformResourceIdentifier, names.uris),
    ]


def _names_of(certificate: x509.Certificate) -> Names:
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        found = x509.SubjectAlternativeName([])
    return Names(
        common=str(common[0].value) if common else "",
        dns=tuple(found.get_values_for_type(x509.DNSName)),
        addresses=tuple(map(str, found.get_values_for_type(x509.IPAddress))),
        uris=tuple(found.get_values_for_type(x509.UniformResourceIdentifier)),
    )
