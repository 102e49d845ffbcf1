"""A backend that answers with the address that it sees, by TCP and UDP; the standard library alone.

telling.py PORT
"""

from __future__ import annotations

import socket
import sys
import threading
from contextlib import suppress


def plain(address: str) -> bytes:
    return address.removeprefix("::ffff:").encode()


def streams(port: int) -> None:
    with socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        while True:
            taken, sender = server.accept()
            with taken, suppress(ConnectionError):
                taken.recv(100)
                taken.sendall(plain(sender[0]))


def main() -> None:
    port = int(sys.argv[1])
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as server:
        server.bind(("::", port))
        threading.Thread(target=streams, args=(port,), daemon=True).start()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            _, sender = server.recvfrom(100)
            server.sendto(plain(sender[0]), sender)


if __name__ == "__main__":
    main()
