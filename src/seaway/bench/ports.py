"""The ports that all traffic asks for, the same for every system.

A system that publishes ports publishes these, under their own numbers: nothing but the address
that a client asks differs from what the server listens on.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

UDP_PORT, TCP_PORT, STREAM_PORT, PULSE_PORT = 11111, 11112, 11113, 11114


class Port(NamedTuple):
    number: int
    protocol: Literal["tcp", "udp"]

    @property
    def mapping(self) -> str:
        """As `seaway attach` and `docker run` take it."""
        return f"{self.number}:{self.number}/{self.protocol}"


PORTS = (
    Port(UDP_PORT, "udp"),
    Port(TCP_PORT, "tcp"),
    Port(STREAM_PORT, "tcp"),
    Port(PULSE_PORT, "tcp"),
    Port(PULSE_PORT, "udp"),
)
PUBLISH = tuple(f"--publish={port.mapping}" for port in PORTS)
