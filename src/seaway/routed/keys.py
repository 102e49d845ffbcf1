"""Who signs an announcement: the key of the host's certificate, by which it speaks TLS too.

Nobody but this reads certificates here. They may have run out: what is passed on was signed while
they had not, and who is a member still is not asked of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from hashlib import blake2b

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import (
    Certificate,
    DNSName,
    ExtensionNotFound,
    InvalidVersion,
    SubjectAlternativeName,
    load_der_x509_certificate,
    load_pem_x509_certificate,
)

from seaway.errors import Invalid
from seaway.trust.certificates import key_digest

CONTEXT = b"seaway link state 1\0"  # nothing else that a host signs begins so
LONGEST = 4096  # bytes of a certificate that is looked at
_ECDSA = ec.ECDSA(hashes.SHA256())
# What the library says of certificates that are none, or of a kind that it does not know.
_NO_CREDENTIAL = (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, InvalidVersion)


class HostKeys:
    """Of one host. `host` is its key and certificate, `authority` the CA's certificate; PEM."""

    def __init__(self, host: bytes, authority: bytes) -> None:
        try:
            self._authority = load_pem_x509_certificate(authority)
        except ValueError as error:
            raise Invalid(f"the certificate of the CA cannot be read: {error}") from None
        self._holders: dict[tuple[str, bytes], ec.EllipticCurvePublicKey] = {}
        self._digests: Mapping[str, str] = {}
        self._numbers: dict[str, int] = {}
        self.renew(host)

    def renew(self, host: bytes) -> None:
        """This host has another certificate, and perhaps another key."""
        try:
            key = serialization.load_pem_private_key(host, None)
            certificate = load_pem_x509_certificate(host)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise Invalid(f"the key or certificate of this host cannot be read: {error}") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise Invalid("the key of this host is of another kind", "expected ECDSA")
        self._key = key
        self._certificate = certificate
        self._numbers.clear()

    def know(self, digests: Mapping[str, str]) -> None:
        """SHA-256 (hex) of the hosts' public keys, as their records say; where it is empty or
        missing, any key will do for which there is a certificate. Whose is the same as before
        stays known: the links to all others go on when a host joins or leaves.
        """
        others = {*digests.items()} ^ {*self._digests.items()}
        if others:
            self._digests = dict(digests)
            changed = {host for host, _ in others}
            self._holders = {k: key for k, key in self._holders.items() if k[0] not in changed}
            self._numbers = {h: number for h, number in self._numbers.items() if h not in changed}

    @property
    def credential(self) -> bytes:
        """The certificate, DER."""
        return self._certificate.public_bytes(serialization.Encoding.DER)

    def sign(self, body: bytes) -> bytes:
        return self._key.sign(CONTEXT + body, _ECDSA)

    def holds(self, host: str, credential: bytes, body: bytes, signature: bytes) -> bool:
        """Whether that is a certificate of our CA's for this host, and its key signed the body."""
        key = self._holders.get((host, credential))
        if key is None:
            key = self._holder(host, credential)
            if key is None:
                return False
            self._holders[host, credential] = key
        try:
            key.verify(signature, CONTEXT + body, _ECDSA)
        except InvalidSignature:
            return False
        return True

    def learn(self, host: str, credential: bytes) -> bool:
        """It was shown to begin a session, and TLS has proven it; whether it is of this host's key,
        as its record says.
        """
        if (host, credential) in self._holders:
            return True
        key = self._holder(host, credential)
        if key:
            self._holders[host, credential] = key
        return key is not None

    def number(self, host: str) -> int | None:
        """Of the link to that host: the same for both ends, and known to nobody else. None: its
        key is not known yet.
        """
        if host not in self._numbers:
            keys = [key for (known, _), key in self._holders.items() if known == host]
            if not keys:
                return None
            secret = self._key.exchange(ec.ECDH(), keys[0])
            digest = blake2b(secret, digest_size=8, person=b"seaway probe").digest()
            self._numbers[host] = int.from_bytes(digest)
        return self._numbers[host]

    def _holder(self, host: str, credential: bytes) -> ec.EllipticCurvePublicKey | None:
        if len(credential) > LONGEST:
            return None
        try:
            certificate = load_der_x509_certificate(credential)
            certificate.verify_directly_issued_by(self._authority)
            key = certificate.public_key()
        except _NO_CREDENTIAL:
            return None
        if not isinstance(key, ec.EllipticCurvePublicKey) or names(certificate) != [host]:
            return None
        if self._digests.get(host) and self._digests[host] != key_digest(key):
            return None
        for known in [known for known in self._holders if known[0] == host]:
            del self._holders[known]  # it has another one now
        self._numbers.pop(host, None)
        return key


def names(certificate: Certificate) -> list[str]:
    """For which hosts it is: its DNS names."""
    with suppress(ExtensionNotFound, ValueError):
        found = certificate.extensions.get_extension_for_class(SubjectAlternativeName)
        return found.value.get_values_for_type(DNSName)
    return []
