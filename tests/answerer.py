"""Answers probes as bpf/lib/probe.h says that from_wire does, but for the number: a double.

    python tests/answerer.py

Runs in the network namespace of a host, beside its `routed` or without one.
"""

from __future__ import annotations

import socket
import struct

from seaway.routed.packet import ANSWER, PORT, QUESTION, decode

UDP = struct.Struct("!HHHH")


def main() -> None:
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
    while True:
        packet, (source, _) = raw.recvfrom(2048)
        head = (packet[0] & 0xF) * 4
        sport, dport, _, _ = UDP.unpack_from(packet, head)
        probe = decode(packet[head + UDP.size :])
        if dport == PORT and probe and probe.kind == QUESTION:
            answer = probe._replace(kind=ANSWER).encode()
            raw.sendto(UDP.pack(PORT, sport, UDP.size + len(answer), 0) + answer, (source, 0))


if __name__ == "__main__":
    main()
