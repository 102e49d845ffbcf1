"""Clients of greeters; the standard library alone. Prints JSON, one value a line.

greeted.py spread ADDRESS PORT TIMES     who answered how often; all connections stay open till then
greeted.py hold ADDRESS PORT NAME        has a connection to this one; asks again for each line of
                                         its input
greeted.py wait ADDRESS PORT NAME        the same by UDP, with an answer under way that comes when
                                         somebody else asks; tells it, and answers as above
greeted.py load ADDRESS PORT             a connection after the other until its input ends; for each
                                         line of it who answered how often since the last one, and
                                         all failures
"""

from __future__ import annotations

import errno
import json
import selectors
import socket
import sys
from collections import Counter
from contextlib import ExitStack

TIMEOUT = 20.0
PACE = 0.005  # seconds between connections: the ports of those that ended are not free at once


def tell(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def ask(client: socket.socket) -> str:
    client.sendall(b"q")
    return client.recv(100).decode()


def reason(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, type(error).__name__)


def spread(address: str, port: int, times: str) -> None:
    with ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection((address, port), timeout=TIMEOUT))
            for _ in range(int(times))
        ]
        tell(Counter(map(ask, clients)))


def hold(address: str, port: int, name: str) -> None:
    while True:
        with socket.create_connection((address, port), timeout=TIMEOUT) as client:
            if (told := ask(client)) != name:
                continue
            tell(told)
            go_on(client)
            return


def go_on(client: socket.socket) -> None:
    for _ in sys.stdin:
        try:
            tell(ask(client))
        except OSError as error:
            tell(reason(error))


def wait(address: str, port: int, name: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    while True:
        with socket.socket(family, socket.SOCK_DGRAM) as client:
            client.settimeout(TIMEOUT)
            client.connect((address, port))
            if (told := ask(client)) != name:
                continue
            client.send(b"later")
            tell(told)
            try:
                tell(client.recv(100).decode())
            except OSError as error:
                tell(reason(error))
            go_on(client)
            return


def load(address: str, port: int) -> None:
    answers, failures = Counter[str](), Counter[str]()
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ)
        while True:
            try:
                with socket.create_connection((address, port), timeout=TIMEOUT) as client:
                    answers[ask(client)] += 1
            except OSError as error:
                failures[reason(error)] += 1
            if selector.select(PACE):
                if not sys.stdin.readline():
                    return
                tell([answers, failures])
                answers.clear()


CASES = {"spread": spread, "hold": hold, "wait": wait, "load": load}


def main() -> None:
    case, address, port, *more = sys.argv[1:]
    CASES[case](address, int(port), *more)


if __name__ == "__main__":
    main()
