"""What both servers of the shop share: HTTP over IPv6 and IPv4, without a word on the terminal."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer


class Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """The story is told by others."""


class DualStack(ThreadingTCPServer):
    """Answers IPv6 and IPv4. Python's own HTTP server asks a resolver first, which there is not."""

    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64


def serve(port: int, handler: Callable[..., Quiet]) -> None:
    DualStack(("::", port), handler).serve_forever()
