"""How TLS is spoken between hosts: version 1.3, both ends by certificates of the cluster's CA.

A context is renewed in place: connections that are there go on, new ones take the new certificate.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from seaway.trust.folder import Folder


def _base(purpose: int, authority: str) -> ssl.SSLContext:
    context = ssl.SSLContext(purpose)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    context.load_verify_locations(cadata=authority)
    return context


def serving(folder: Folder, *, members: bool = False) -> ssl.SSLContext:
    """For who is asked. A certificate that is shown must be right; that one is shown is asked for
    by each route: a host that joins has none yet. `members`: who shows none is refused at once.
    """
    context = _base(ssl.PROTOCOL_TLS_SERVER, folder.authority.read_text())
    context.verify_mode = ssl.CERT_REQUIRED if members else ssl.CERT_OPTIONAL
    context.num_tickets = 0  # a resumed connection would not be judged by its certificate again
    context.load_cert_chain(folder.host)
    return context


def asking(folder: Folder, *, any_host: bool = False) -> ssl.SSLContext:
    """For who asks a host that he knows: give its name as the server's; or any of the cluster."""
    context = _base(ssl.PROTOCOL_TLS_CLIENT, folder.authority.read_text())
    context.check_hostname = not any_host
    context.load_cert_chain(folder.host)
    return context


def joining(authority: str) -> ssl.SSLContext:
    """For who knows the CA and no host yet: any host of that CA's will do."""
    context = _base(ssl.PROTOCOL_TLS_CLIENT, authority)
    context.check_hostname = False
    return context


def blind() -> ssl.SSLContext:
    """For who knows nothing, and believes nothing of what he hears but what he can check."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@dataclass(frozen=True)
class Contexts:
    """Of one host, for as long as its process lives."""

    serving: ssl.SSLContext
    asking: ssl.SSLContext
    asking_any: ssl.SSLContext

    @classmethod
    def of(cls, folder: Folder) -> Contexts:
        return cls(serving(folder), asking(folder), asking(folder, any_host=True))

    def renew(self, folder: Folder) -> None:
        for context in (self.serving, self.asking, self.asking_any):
            context.load_cert_chain(folder.host)
