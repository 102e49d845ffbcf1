"""How a host proves who it is: its key and certificate, for TLS and for what it signs.

They are files of the folder that `trust` keeps: `ca.pem`, and `host.pem` with key and certificate.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from seaway.errors import HostUnfit
from seaway.routed.keys import HostKeys


class Credentials:
    """Of one host; renewed in place when the files are others."""

    def __init__(self, folder: Path) -> None:
        self._authority, self._host = folder / "ca.pem", folder / "host.pem"
        self._seen = self._stamp()
        self.keys = HostKeys(self._host.read_bytes(), self._authority.read_bytes())
        self.serving = self._context(ssl.PROTOCOL_TLS_SERVER)
        self.serving.num_tickets = 0  # who comes again is judged by his certificate again
        self.asking = self._context(ssl.PROTOCOL_TLS_CLIENT)

    def _stamp(self) -> int:
        try:
            return self._host.stat().st_mtime_ns
        except FileNotFoundError:
            raise HostUnfit(f"{self._host} is not there", "this host has not joined") from None

    def _context(self, purpose: int) -> ssl.SSLContext:
        """TLS 1.3, both ends by certificates of our CA's; who asks also checks the name."""
        context = ssl.SSLContext(purpose)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=self._authority.read_text())
        context.load_cert_chain(self._host)
        return context

    def renew(self) -> bool:
        """Whether there is another certificate now: sessions that are there go on."""
        seen = self._stamp()
        if seen == self._seen:
            return False
        self._seen = seen
        self.keys.renew(self._host.read_bytes())
        for context in (self.serving, self.asking):
            context.load_cert_chain(self._host)
        return True
