"""A replica of the shop's backend: says who it is, and keeps a log of who asked."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from server import Quiet, serve

LOG = Path("/tmp/clients.log")


class Backend(Quiet):
    def do_GET(self) -> None:  # noqa: N802, http.server's word
        """Of each request its client's address is noted, as the gateway saw it."""
        with LOG.open("a") as log:
            log.write(self.headers["X-Forwarded-For"].removeprefix("::ffff:") + "\n")
        told = {"backend": sys.argv[1], "client": self.client_address[0]}
        self.answer(200, json.dumps(told).encode())


if __name__ == "__main__":
    serve(8080, Backend)
