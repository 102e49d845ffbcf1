"""A client that asks the gateway at a steady pace, and counts: client.py ADDRESS PORT [SECONDS].

SIGTERM ends it early, or at all; it prints the answers, and how many got each, in the end.
"""

from __future__ import annotations

import itertools
import json
import math
import signal
import sys
import time
from collections import Counter
from http.client import HTTPConnection

PACE = 0.01  # seconds between the starts of two requests
PATIENCE = 3.0


def ask(address: str, port: int) -> str:
    """The backend that answered, or why none did."""
    gateway = HTTPConnection(address, port, timeout=PATIENCE)
    try:
        gateway.request("GET", "/")
        answer = gateway.getresponse()
        body = answer.read()
        return json.loads(body)["backend"] if answer.status == 200 else f"status {answer.status}"
    except OSError as error:
        return str(error)
    finally:
        gateway.close()


def main(address: str, port: int, seconds: float) -> None:
    answers: Counter[str] = Counter()
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    started = time.monotonic()
    for number in itertools.count():
        if ended or number * PACE >= seconds:
            break
        time.sleep(max(0.0, started + number * PACE - time.monotonic()))
        answers[ask(address, port)] += 1
    print(json.dumps(answers))


if __name__ == "__main__":
    address, port, *seconds = sys.argv[1:]
    main(address, int(port), float(seconds[0]) if seconds else math.inf)
