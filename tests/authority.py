"""A CA of a test's own, and certificates of hosts by it: as `trust` makes them."""

from __future__ import annotations

import datetime as dt

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from seaway.trust.certificates import load_key

DAY = dt.timedelta(days=1)
_SIGNS = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Authority:
    """What it signs is true from yesterday until tomorrow, unless it is to have run out."""

    def __init__(self, cluster: str = "test") -> None:
        self._cluster = cluster
        self._key = ec.generate_private_key(ec.SECP256R1())
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        builder = self._builder(f"ca {cluster}", self._key.public_key())
        builder = builder.add_extension(constraints, critical=True)
        signs = builder.add_extension(_SIGNS, critical=True)
        self._certificate = signs.sign(self._key, hashes.SHA256())

    @property
    def pem(self) -> bytes:
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def _builder(self, subject: str, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        identifier = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(_name(subject))
            .issuer_name(_name(f"ca {self._cluster}"))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 3 * DAY)
            .not_valid_after(now + DAY)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
                critical=False,
            )
        )

    def host(self, name: str, *, expired: bool = False, like: bytes = b"") -> bytes:
        """Key and certificate, PEM. `like`: of the key that is in this."""
        key = ec.generate_private_key(ec.SECP256R1()) if not like else load_key(like)
        uri = x509.UniformResourceIdentifier(f"seaway://{self._cluster}/hosts/{name}")
        builder = self._builder(name, key.public_key()).add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name), uri]), critical=False
        )
        if expired:
            builder._not_valid_after = builder._not_valid_before + DAY
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        signed = builder.sign(self._key, hashes.SHA256())
        return pem + signed.public_bytes(serialization.Encoding.PEM)
