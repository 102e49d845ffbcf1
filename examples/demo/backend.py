"""A replica of the shop's backend: says who it is, and keeps a log of who asked.

backend.py NAME [SECONDS]: so long it works on each answer.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from server import Quiet, serve

LOG = Path("/tmp/clients.log")
READY = "/ready"  # who asks this wants to know whether there is an answer, and nothing else
NAME, WORK = sys.argv[1], float(sys.argv[2] if sys.argv[2:] else 0)


class Backend(Quiet):
    def do_GET(self) -> None:  # noqa: N802, http.server's word
        """Of each request its client's address is noted: as the gateway saw it, or as we do."""
        client = self.client_address[0]
        if self.path != READY:
            with LOG.open("a") as log:
                asker = self.headers.get("X-Forwarded-For", client)
                log.write(asker.removeprefix("::ffff:") + "\n")
            time.sleep(WORK)
        self.answer(200, json.dumps({"backend": NAME, "client": client}).encode())


if __name__ == "__main__":
    serve(8080, Backend)
