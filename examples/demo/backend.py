"""A replica of the shop's backend: says who it is, and who asked."""

from __future__ import annotations

import json
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Backend(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = json.dumps({"backend": sys.argv[1], "client": self.client_address[0]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet: the story is told by others."""


class DualStack(ThreadingHTTPServer):
    """Answers IPv6 and IPv4."""

    address_family = socket.AF_INET6
    request_queue_size = 64


if __name__ == "__main__":
    DualStack(("::", 8080), Backend).serve_forever()
