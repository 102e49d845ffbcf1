"""The API gateway: passes each request on to a backend.

gateway.py ADDRESS,ADDRESS ...: of each of two backends or more, which have their turns.
gateway.py NAME: that of a service. It is looked up for each request, and any of its addresses is
asked, once: which backend that is, is not known here.

A GET may be done twice without harm. So what was not answered is asked once more after a moment: of
another backend, or again of the service. The answer says so, and why.
"""

from __future__ import annotations

import itertools
import random
import socket
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.client import HTTPConnection, HTTPException

from server import Quiet, serve

Where = tuple[str, int]  # address and port

BACKEND_PORT, SERVICE_PORT = 8080, 80
PATIENCE = 1.0, 2.0  # seconds that there are for the first answer, and for the second
PAUSE = 0.3  # seconds between them
FAILED = (OSError, HTTPException)


class Gateway(Quiet):
    def __init__(self, whom: Callable[[], Iterator[Where]], *given: object) -> None:
        self._whom = whom
        super().__init__(*given)  # type: ignore[arg-type]

    def do_GET(self) -> None:  # noqa: N802, http.server's word
        retried, whom = {}, self._whom()
        first, second = PATIENCE
        try:
            try:
                status, body = self._asked(whom, first)
            except FAILED as error:
                retried["X-Retried"] = str(error)
                time.sleep(PAUSE)
                status, body = self._asked(whom, second)
        except FAILED as error:
            self.answer(502, str(error).encode(), retried)
        else:
            self.answer(status, body, retried)

    def _asked(self, whom: Iterator[Where], patience: float) -> tuple[int, bytes]:
        backend = HTTPConnection(*next(whom), timeout=patience)
        try:
            backend.request("GET", self.path, headers={"X-Forwarded-For": self.client_address[0]})
            answer = backend.getresponse()
            return answer.status, answer.read()
        finally:
            backend.close()


def in_turn(backends: list[list[str]]) -> Callable[[], Iterator[Where]]:
    """The next one, and then one of another backend. Other requests take turns in between."""
    turns = itertools.cycle([turn for at in zip(*backends, strict=True) for turn in enumerate(at)])

    def whom() -> Iterator[Where]:
        number, address = next(turns)
        yield address, BACKEND_PORT
        yield next(other for n, other in turns if n != number), BACKEND_PORT

    return whom


def by_name(name: str) -> Iterator[Where]:
    """Looked up for each, also after a failure to."""

    def one() -> Where:
        found = socket.getaddrinfo(name, SERVICE_PORT, type=socket.SOCK_STREAM)
        return random.choice(found)[4][:2]

    return iter(one, None)  # type: ignore[arg-type]


if __name__ == "__main__":
    first, *others = sys.argv[1:]
    backends = [given.split(",") for given in (first, *others)]
    whom = in_turn(backends) if others else partial(by_name, first)
    serve(80, partial(Gateway, whom))
