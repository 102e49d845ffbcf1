"""The API gateway: passes each request on to the next of the backends that it was told."""

from __future__ import annotations

import itertools
import sys
from http.client import HTTPConnection

from server import Quiet, serve

BACKENDS = itertools.cycle(sys.argv[1:])
PATIENCE = 2.0  # seconds


class Gateway(Quiet):
    def do_GET(self) -> None:  # noqa: N802, http.server's word
        backend = HTTPConnection(next(BACKENDS), 8080, timeout=PATIENCE)
        try:
            backend.request("GET", self.path, headers={"X-Forwarded-For": self.client_address[0]})
            status, body = 200, backend.getresponse().read()
        except OSError as error:
            status, body = 502, str(error).encode()
        finally:
            backend.close()
        self.answer(status, body)


if __name__ == "__main__":
    serve(80, Gateway)
