"""A client that asks the gateway at a steady pace, and counts.

client.py ADDRESS PORT [SECONDS [PATIENCE]]: so long in all, and for one answer. It waits for none
before it asks again, unless for too many. SIGUSR1 has it print what it counted, and count anew;
SIGTERM ends it early, or at all. In the end it prints what it counted last.
"""

from __future__ import annotations

import json
import math
import signal
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from threading import BoundedSemaphore, Lock

PACE = 0.02  # seconds between the starts of two requests
PATIENCE = 5.0  # longer than the gateway's
AT_ONCE = 64  # requests that wait for an answer, at most


class Tally:
    """Times are in seconds."""

    def __init__(self, address: str, port: int, patience: float) -> None:
        self._whom = address, port, patience
        self._lock = Lock()
        self._answer = time.monotonic()  # the last one
        self._begin()

    def _begin(self) -> None:
        self._answered: Counter[str] = Counter()  # by backend
        self._failed: Counter[str] = Counter()  # by reason
        self._retried: Counter[str] = Counter()  # by what the gateway saw fail first
        self._slowest = self._silence = 0.0

    def ask(self) -> None:
        began = time.monotonic()
        try:
            backend, retried = _asked(*self._whom)
        except (OSError, HTTPException) as error:
            with self._lock:
                self._failed[str(error) or type(error).__name__] += 1
            return
        with self._lock:
            now = time.monotonic()
            self._answered[backend] += 1
            if retried:
                self._retried[retried] += 1
            self._slowest = max(self._slowest, now - began)
            self._silence = max(self._silence, now - self._answer)
            self._answer = now

    def tell(self) -> None:
        """And count anew."""
        with self._lock:
            counted = {
                "answered": self._answered,
                "failed": self._failed,
                "retried": self._retried,
                "slowest": self._slowest,
                "silence": max(self._silence, time.monotonic() - self._answer),
            }
            self._begin()
        print(json.dumps(counted), flush=True)


def _asked(address: str, port: int, patience: float) -> tuple[str, str]:
    """The backend that answered, and why the gateway had to ask twice, if it had."""
    gateway = HTTPConnection(address, port, timeout=patience)
    try:
        gateway.request("GET", "/")
        answer = gateway.getresponse()
        body = answer.read()
    finally:
        gateway.close()
    if answer.status != 200:
        raise OSError(f"status {answer.status}: {body.decode()}")
    return json.loads(body)["backend"], answer.getheader("X-Retried", "")


def main(tally: Tally, seconds: float) -> None:
    told: list[int] = []
    ended: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, _: told.append(number))
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    free = BoundedSemaphore(AT_ONCE)
    until = time.monotonic() + seconds
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while not ended and time.monotonic() < until:
            free.acquire()
            pool.submit(tally.ask).add_done_callback(lambda _: free.release())
            time.sleep(PACE)
            while told:
                told.pop()
                tally.tell()
    tally.tell()


if __name__ == "__main__":
    address, port, *times = sys.argv[1:]
    seconds, patience, *_ = [*map(float, times), *(math.inf, PATIENCE)[len(times) :]]
    main(Tally(address, int(port), patience), seconds)
