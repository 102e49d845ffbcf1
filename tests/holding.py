"""A datagram socket that stays connected; the standard library alone.

holding.py ADDRESS PORT

Asks once for each line of its input, and prints what came back, or why nothing did.
"""

from __future__ import annotations

import errno
import socket
import sys

TIMEOUT = 20.0


def main() -> None:
    address, port = sys.argv[1:]
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(TIMEOUT)
        client.connect((address, int(port)))
        for _ in sys.stdin:
            try:
                client.send(b"q")
                told = client.recv(100).decode()
            except OSError as error:
                told = errno.errorcode.get(error.errno or 0, type(error).__name__)
            sys.stdout.write(told + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
