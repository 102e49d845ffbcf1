"""Keys, signing requests, and what a host's certificate says. Pure: bytes in, values out.

A certificate names its host twice: as a DNS name, which TLS compares, and as the URI
`seaway://CLUSTER/hosts/NAME`, which no other CA's certificates of the same name have.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from seaway.errors import Invalid
from seaway.model.addresses import Address

_MOST_BYTES = 16384  # of a request or certificate that is looked at
_CURVE = ec.SECP256R1
_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion)  # by the library


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a certificate is for."""

    cluster: str
    host: str
    addresses: tuple[Address, ...] = ()  # at which others reach it

    @property
    def uri(self) -> str:
        return f"seaway://{self.cluster}/hosts/{self.host}"


@dataclass(frozen=True, slots=True)
class Certificate:
    """What one says; whether it is to be believed, TLS has decided."""

    cluster: str
    host: str
    key: str  # SHA-256 of the public key, hex: as in the host's record
    serial: int
    addresses: frozenset[Address]
    begins: float  # seconds since the epoch
    ends: float

    @property
    def renewal(self) -> float:
        """When two thirds of its time are over."""
        return self.begins + (self.ends - self.begins) * 2 / 3


def new_key() -> bytes:
    """PEM, PKCS 8."""
    return key_bytes(ec.generate_private_key(_CURVE()))


def key_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, None)
    except _UNREADABLE as error:
        raise Invalid(f"that is no private key: {error}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, _CURVE):
        raise Invalid("that key is not of the kind that Seaway makes", "expected ECDSA on P-256")
    return key


def request(key: bytes, host: str) -> str:
    """A signing request (PEM): it proves that who sends it has the key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    made = x509.CertificateSigningRequestBuilder().subject_name(name)
    signed = made.sign(load_key(key), hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


def key_of_request(pem: str) -> ec.EllipticCurvePublicKey:
    """Of a signing request the key alone is believed, and that its sender has it."""
    try:
        found = x509.load_pem_x509_csr(_bounded(pem))
        signed, key = found.is_signature_valid, found.public_key()
    except _UNREADABLE as error:
        raise Invalid(f"that is no signing request: {error}") from None
    if not signed:
        raise Invalid("that signing request is not signed by its own key")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, _CURVE):
        raise Invalid("that signing request is of another kind of key", "expected ECDSA on P-256")
    return key


def key_digest(key: Any) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return sha256(key.public_bytes(serialization.Encoding.DER, form)).hexdigest()


def authority_digest(pem: bytes) -> str:
    """The hash of a CA's certificate, as tokens carry it."""
    return sha256(_load(pem).public_bytes(serialization.Encoding.DER)).hexdigest()


def read(data: bytes) -> Certificate:
    """Of a host's certificate, PEM (the first, whatever stands around it) or DER."""
    found = _load(data)
    try:
        return _read(found)
    except (x509.ExtensionNotFound, *_UNREADABLE):  # its parts are read by need
        raise Invalid("that certificate is of no host of Seaway's") from None


def _read(found: x509.Certificate) -> Certificate:
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
    addresses: list[Any] = names.get_values_for_type(x509.IPAddress)
    cluster, slash, host = uri.removeprefix("seaway://").partition("/hosts/")
    if not (uri.startswith("seaway://") and cluster and slash and host):
        raise ValueError
    return Certificate(
        cluster=cluster,
        host=host,
        key=key_digest(found.public_key()),
        serial=found.serial_number,
        addresses=frozenset(addresses),
        begins=found.not_valid_before_utc.timestamp(),
        ends=found.not_valid_after_utc.timestamp(),
    )


def _load(data: bytes) -> x509.Certificate:
    try:
        if b"-----BEGIN" in data:
            return x509.load_pem_x509_certificate(_bounded(data))
        return x509.load_der_x509_certificate(_bounded(data))
    except _UNREADABLE as error:
        raise Invalid(f"that is no certificate: {error}") from None


def _bounded(data: str | bytes) -> bytes:
    octets = data.encode(errors="replace") if isinstance(data, str) else data
    if len(octets) > _MOST_BYTES:
        raise Invalid(f"that is too long: {len(octets)} bytes", f"at most {_MOST_BYTES} are read")
    return octets
