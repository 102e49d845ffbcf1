"""The API gateway: passes each request on to the next of the backends that it was told.

A GET may be done twice without harm. So what a backend did not answer is asked once more after a
moment, of the next one; the answer says so, and why.
"""

from __future__ import annotations

import itertools
import sys
import time
from http.client import HTTPConnection

from server import Quiet, serve

BACKENDS = itertools.cycle(sys.argv[1:])
FIRST, SECOND = 1.0, 2.0  # seconds that a backend has for its answer
PAUSE = 0.3  # seconds before the second


class Gateway(Quiet):
    def do_GET(self) -> None:  # noqa: N802, http.server's word
        retried = {}
        try:
            try:
                body = self._asked(FIRST)
            except OSError as error:
                retried["X-Retried"] = str(error)
                time.sleep(PAUSE)
                body = self._asked(SECOND)
        except OSError as error:
            self.answer(502, str(error).encode(), retried)
        else:
            self.answer(200, body, retried)

    def _asked(self, patience: float) -> bytes:
        backend = HTTPConnection(next(BACKENDS), 8080, timeout=patience)
        try:
            backend.request("GET", self.path, headers={"X-Forwarded-For": self.client_address[0]})
            return backend.getresponse().read()
        finally:
            backend.close()


if __name__ == "__main__":
    serve(80, Gateway)
