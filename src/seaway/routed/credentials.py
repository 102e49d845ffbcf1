"""How a host proves who it is: its key and certificate, for TLS and for what it signs."""

from __future__ import annotations

from seaway.errors import HostUnfit
from seaway.routed.keys import HostKeys
from seaway.trust import contexts
from seaway.trust.folder import Folder


class Credentials:
    """Of one host; renewed in place when the files are others."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._seen = self._stamp()
        self.keys = HostKeys(folder.host.read_bytes(), folder.authority.read_bytes())
        self.serving = contexts.serving(folder, members=True)
        self.asking = contexts.asking(folder)

    def _stamp(self) -> int:
        host = self._folder.host
        try:
            return host.stat().st_mtime_ns
        except FileNotFoundError:
            raise HostUnfit(f"{host} is not there", "this host has not joined") from None

    def renew(self) -> bool:
        """Whether there is another certificate now: sessions that are there go on."""
        seen = self._stamp()
        if seen == self._seen:
            return False
        self._seen = seen
        self.keys.renew(self._folder.host.read_bytes())
        for context in (self.serving, self.asking):
            context.load_cert_chain(self._folder.host)
        return True
