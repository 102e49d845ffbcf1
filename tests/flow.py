"""One end of a flow (flows.py); the standard library alone, as it runs in every namespace.

flow.py serve tcp|udp
flow.py tcp|udp ADDRESS
"""

from __future__ import annotations

import json
import select
import socket
import socketserver
import sys
import time

PORT = 7000
EVERY = 0.005  # seconds
LEAST = 12  # messages


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _serve_tcp() -> None:
    class Echo(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while data := self.request.recv(4096):
                self.request.sendall(data)

    class Server(socketserver.ThreadingTCPServer):
        address_family = socket.AF_INET6
        daemon_threads = True

    with Server(("::", PORT), Echo) as server:
        _say("ready")
        server.serve_forever()


def _serve_udp() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as server:
        server.bind(("::", PORT))
        _say("ready")
        while True:
            data, sender = server.recvfrom(4096)
            server.sendto(data, sender)


def _exchange(protocol: str, address: str) -> None:
    """Until standard input ends, some at least: send a number, have it back, wait a little."""
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    messages, lost, silence, stopped = 0, 0, 0.0, False
    with socket.socket(family, kind) as client:
        client.settimeout(30)  # whatever is not back by then is lost
        client.connect((address, PORT))
        _say("ready")
        while not stopped:
            text = f"{messages:031d}\n".encode()
            start = time.monotonic()
            client.send(text)
            if protocol == "tcp":
                answer = client.recv(32, socket.MSG_WAITALL)
                if answer != text:
                    sys.exit(f"message {messages} came back as {answer!r}")
            else:
                lost += not _came_back(client, text)
            silence = max(silence, time.monotonic() - start)
            messages += 1
            stopped = bool(select.select([sys.stdin], [], [], EVERY)[0]) and messages >= LEAST
    _say(json.dumps({"messages": messages, "lost": lost, "silence": round(silence, 3)}))


def _came_back(client, text) -> bool:
    while True:
        try:
            if client.recv(4096) == text:
                return True
        except TimeoutError:
            return False


if __name__ == "__main__":
    what, argument = sys.argv[1:]
    if what == "serve":
        {"tcp": _serve_tcp, "udp": _serve_udp}[argument]()
    else:
        _exchange(what, argument)
