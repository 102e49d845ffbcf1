"""The API gateway: passes each request on to the next of the backends that it was told."""

from __future__ import annotations

import itertools
import socket
import sys
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BACKENDS = itertools.cycle(sys.argv[1:])
PATIENCE = 2.0  # seconds


class Gateway(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        backend = HTTPConnection(next(BACKENDS), 8080, timeout=PATIENCE)
        try:
            backend.request("GET", self.path)
            status, body = 200, backend.getresponse().read()
        except OSError as error:
            status, body = 502, str(error).encode()
        finally:
            backend.close()
        self.send_response(status)
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
    DualStack(("::", 80), Gateway).serve_forever()
