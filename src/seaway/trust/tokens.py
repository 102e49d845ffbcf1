"""Join tokens: `<id>.<secret>.<hash>`, printed once, and of the secret only a digest is stored.

The hash is the SHA-256 of the CA's certificate: by it the host that joins knows whom it speaks
with before it says the secret. A secret has 128 random bits, so its digest needs no salt.
"""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass
from hashlib import sha256

from seaway.errors import Forbidden, Invalid
from seaway.model.durations import in_words
from seaway.model.facts import Token

_FORM = re.compile(r"([0-9a-f]{8})\.([0-9a-f]{32})\.([0-9a-f]{64})", re.ASCII)
_ID_BYTES, _SECRET_BYTES = 4, 16


@dataclass(frozen=True, slots=True)
class JoinToken:
    """What a person carries from a control host to the host that joins."""

    id: str
    secret: str
    authority: str  # SHA-256 of the CA's certificate (DER), hex

    def __str__(self) -> str:
        return f"{self.id}.{self.secret}.{self.authority}"


def parse(text: str) -> JoinToken:
    found = _FORM.fullmatch(text.strip())
    if not found:
        raise Invalid("that is no join token", "expected one of: seaway token create")
    return JoinToken(*found.groups())


def make(authority: str) -> JoinToken:
    return JoinToken(secrets.token_hex(_ID_BYTES), secrets.token_hex(_SECRET_BYTES), authority)


def digest(token: str, secret: str) -> str:
    return sha256(f"seaway join token {token} {secret}".encode()).hexdigest()


def check(record: Token | None, token: str, secret: str, now: float) -> Token:
    """The record, if the secret is its own and it still holds. In time that tells nothing.

    Whoever does not know the secret is not told whether there is such a token.
    """
    known = record.digest if record else "0" * 64
    fits = hmac.compare_digest(known, digest(token, secret))
    if record is None or not fits:
        raise Forbidden(
            "this join token is wrong, or was revoked", "make another: seaway token create"
        )
    if now >= record.expires:
        ago = in_words(now - record.expires)
        raise Forbidden(f"this join token expired {ago} ago", "make another: seaway token create")
    return record


def check_uses(record: Token) -> None:
    if record.uses and record.used >= record.uses:
        raise Forbidden(
            f"this join token was used {record.used} times, as often as it may be",
            "make another: seaway token create",
        )
