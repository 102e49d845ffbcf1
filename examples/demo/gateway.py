"""The API gateway: passes each request on to the next of the backends that it was told.

gateway.py ADDRESS,ADDRESS ...: of each of two backends or more. A GET may be done twice without
harm. So what a backend did not answer is asked once more after a moment, of another one; the answer
says so, and why.
"""

from __future__ import annotations

import itertools
import sys
import time
from http.client import HTTPConnection

from server import Quiet, serve

Turn = tuple[int, str]  # which backend, and its address

BACKENDS = [given.split(",") for given in sys.argv[1:]]
TURNS = itertools.cycle([turn for at in zip(*BACKENDS, strict=True) for turn in enumerate(at)])
FIRST, SECOND = 1.0, 2.0  # seconds that a backend has for its answer
PAUSE = 0.3  # seconds before the second


class Gateway(Quiet):
    def do_GET(self) -> None:  # noqa: N802, http.server's word
        retried = {}
        first = next(TURNS)
        try:
            try:
                status, body = self._asked(first, FIRST)
            except OSError as error:
                retried["X-Retried"] = str(error)
                time.sleep(PAUSE)
                status, body = self._asked(_other(first), SECOND)
        except OSError as error:
            self.answer(502, str(error).encode(), retried)
        else:
            self.answer(status, body, retried)

    def _asked(self, turn: Turn, patience: float) -> tuple[int, bytes]:
        backend = HTTPConnection(turn[1], 8080, timeout=patience)
        try:
            backend.request("GET", self.path, headers={"X-Forwarded-For": self.client_address[0]})
            answer = backend.getresponse()
            return answer.status, answer.read()
        finally:
            backend.close()


def _other(first: Turn) -> Turn:
    """The next one of another backend. Other requests take turns in between."""
    return next(turn for turn in TURNS if turn[0] != first[0])


if __name__ == "__main__":
    serve(80, Gateway)
