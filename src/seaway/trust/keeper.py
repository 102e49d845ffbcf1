"""This host's own trust: begun, read, shown, renewed. Its files are those of `folder.py`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from seaway.errors import Forbidden, Invalid, StoreDamaged, Unavailable
from seaway.model.durations import in_words
from seaway.trust.contexts import Contexts
from seaway.trust.folder import Folder
from seaway.trust.refusals import Refusals

if TYPE_CHECKING:
    from seaway.trust.authority import Authority
    from seaway.trust.certificates import Certificate, Identity


@dataclass
class Keeper:
    """Of one process: what it shows is renewed in place."""

    folder: Folder = field(default_factory=Folder)
    clock: Callable[[], float] = time.time
    refusals: Refusals = field(default_factory=lambda: Refusals(time.monotonic))
    begun: asyncio.Event = field(default_factory=asyncio.Event)  # there is a certificate
    open: asyncio.Event = field(default_factory=asyncio.Event)  # other hosts may ask
    _contexts: Contexts | None = None
    _certificate: Certificate | None = None

    def __post_init__(self) -> None:
        if self.whole:
            self.begun.set()

    @property
    def whole(self) -> bool:
        """Whether this host can prove who it is: it may ask others, and be asked."""
        return self.folder.whole

    @property
    def signs(self) -> bool:
        return self.folder.signs

    @property
    def contexts(self) -> Contexts:
        if self._contexts is None:
            self._contexts = Contexts.of(self.folder)
        return self._contexts

    def begin(self, identity: Identity) -> str:
        """Make the CA of a cluster, unless there is one, and a certificate for this host; the
        digest of its key.
        """
        from seaway.trust import authority, certificates  # noqa: PLC0415, see trust/__init__.py

        folder = self.folder
        if not folder.signs:
            folder.host.unlink(missing_ok=True)  # it was signed by another one
            made = authority.Authority.create(identity.cluster, self.clock())
            folder.put(folder.authority_key, made.key)
            folder.put(folder.authority, made.certificate)
        if not folder.host.exists():
            self.certify(certificates.new_key(), identity)
        self.begun.set()
        return self.certificate().key

    def certify(self, key: bytes, identity: Identity) -> None:
        """A certificate for this host itself, on a control host."""
        from seaway.trust import certificates  # noqa: PLC0415, see trust/__init__.py

        request = certificates.request(key, identity.host)
        self.folder.put_host(key, self.sign(request, identity))
        self._certificate = None

    def authority(self) -> Authority:
        from seaway.trust import authority  # noqa: PLC0415, see trust/__init__.py

        if not self.signs:
            raise Unavailable("this host does not sign", "ask a control host: seaway host ls")
        return authority.load(
            self.folder.authority.read_bytes(), self.folder.authority_key.read_bytes()
        )

    def authority_text(self) -> str:
        return self.folder.authority.read_text()

    def authority_digest(self) -> str:
        """The hash of the CA's certificate, as tokens carry it."""
        from seaway.trust import certificates  # noqa: PLC0415, see trust/__init__.py

        return certificates.authority_digest(self.folder.authority.read_bytes())

    def certificate(self) -> Certificate:
        """What this host's own certificate says."""
        if self._certificate is None:
            self._certificate = self._read()
        return self._certificate

    def must_hold(self) -> None:
        """Raise where the own certificate has expired: nobody would listen."""
        late = self.clock() - self.certificate().ends
        if late > 0:
            raise Forbidden(
                f"the certificate of this host expired {in_words(late)} ago",
                "is its clock right? else get another one: seaway join TOKEN HOST",
            )

    def _read(self) -> Certificate:
        from seaway.trust import certificates  # noqa: PLC0415, see trust/__init__.py

        try:
            return certificates.read(self.folder.host_certificate())
        except (ValueError, Invalid) as error:
            raise StoreDamaged(
                f"{self.folder.host} is damaged", "restore a backup, or join again"
            ) from error

    def sign(self, request: str, identity: Identity) -> str:
        """A certificate for another host. Only on a control host."""
        return self.authority().sign(request, identity, self.clock())

    def renewal(self) -> str:
        """The request (PEM) for this host's next certificate; its key stays the same."""
        from seaway.trust import certificates  # noqa: PLC0415, see trust/__init__.py

        return certificates.request(self.folder.host_key(), self.certificate().host)

    def take(self, certificate: str) -> None:
        """Show this one from now on; what does not fit our key is refused."""
        from seaway.trust import certificates  # noqa: PLC0415, see trust/__init__.py

        new = certificates.read(certificate.encode())
        if new.key != self.certificate().key:
            raise StoreDamaged("the new certificate is not of this host's key", "ask for another")
        self.folder.put_host(self.folder.host_key(), certificate)
        self._certificate = new
        if self._contexts:
            self._contexts.renew(self.folder)
