"""A replica of the shop's backend: says who it is, and who asked."""

from __future__ import annotations

import json
import sys

from server import Quiet, serve


class Backend(Quiet):
    def do_GET(self) -> None:  # noqa: N802, http.server's word
        told = {"backend": sys.argv[1], "client": self.client_address[0]}
        self.answer(200, json.dumps(told).encode())


if __name__ == "__main__":
    serve(8080, Backend)
