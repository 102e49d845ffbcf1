"""The CA of a cluster: signs the certificates of its hosts. The clock is given, nothing is kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from seaway.errors import Invalid
from seaway.trust.certificates import (
    Identity,
    authority_digest,
    key_bytes,
    key_of_request,
    load_key,
)

LIFETIME = timedelta(days=30)  # of a host's certificate
_OWN_LIFETIME = timedelta(days=3650)
# A certificate holds from before it was made: clocks of hosts may differ (see `joining.SKEW`).
_BEFORE = timedelta(hours=1)
_USAGES = ("digital_signature", "key_cert_sign", "crl_sign")


@dataclass(frozen=True)
class Authority:
    certificate: bytes  # PEM
    key: bytes  # PEM

    @classmethod
    def create(cls, cluster: str, now: float) -> Authority:
        key, at = ec.generate_private_key(ec.SECP256R1()), _moment(now)
        name = _name(f"Seaway cluster {cluster}")
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(at - _BEFORE)
            .not_valid_after(at + _OWN_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
            .add_extension(_identifier(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(made.public_bytes(serialization.Encoding.PEM), key_bytes(key))

    @property
    def digest(self) -> str:
        """By which joining hosts know it."""
        return authority_digest(self.certificate)

    def sign(
        self, request: str, identity: Identity, now: float, lifetime: timedelta = LIFETIME
    ) -> str:
        """A certificate (PEM) for the key of a signing request. Of what the request says of its
        sender nothing is believed: the identity is ours.
        """
        return self._certificate(key_of_request(request), identity, _moment(now), lifetime)

    def _certificate(
        self,
        key: ec.EllipticCurvePublicKey,
        identity: Identity,
        at: datetime,
        lifetime: timedelta,
    ) -> str:
        own = x509.load_pem_x509_certificate(self.certificate)
        made = (
            x509.CertificateBuilder()
            .subject_name(_name(identity.host))
            .issuer_name(own.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(at - _BEFORE)
            .not_valid_after(at + lifetime)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage("digital_signature"), critical=True)
            .add_extension(_both_ways(), critical=False)
            .add_extension(_names(identity), critical=False)
            .add_extension(_identifier(key), critical=False)
            .add_extension(_issuer(own), critical=False)
            .sign(load_key(self.key), hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM).decode()


def load(certificate: bytes, key: bytes) -> Authority:
    """Refused where the two do not belong together."""
    found = x509.load_pem_x509_certificate(certificate)
    if found.public_key() != load_key(key).public_key():
        raise Invalid("the CA's key is not that of its certificate")
    return Authority(certificate, key)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _names(identity: Identity) -> x509.SubjectAlternativeName:
    names: list[x509.GeneralName] = [
        x509.DNSName(identity.host),
        x509.UniformResourceIdentifier(identity.uri),
    ]
    return x509.SubjectAlternativeName([*names, *(x509.IPAddress(a) for a in identity.addresses)])


def _both_ways() -> x509.ExtendedKeyUsage:
    """A host asks others and is asked by them, with one certificate."""
    return x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])


def _usage(*used: str) -> x509.KeyUsage:
    return x509.KeyUsage(
        **{name: name in used for name in _USAGES},
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _identifier(key: ec.EllipticCurvePublicKey) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key)


def _issuer(own: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    found = own.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found.value)
