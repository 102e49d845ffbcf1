"""A container that lies: spoof.py SOURCE... DESTINATION sends one UDP packet from each source."""

from __future__ import annotations

import socket
import struct
import sys

PORT = 9


def packet(source: str, destination: str) -> bytes:
    """IPv4 and UDP with no payload; the kernel fills in length and checksum of the IP header."""
    ends = socket.inet_aton(source) + socket.inet_aton(destination)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, 0, 64, socket.IPPROTO_UDP, 0) + ends
    return header + struct.pack("!HHHH", PORT, PORT, 8, 0)


if __name__ == "__main__":
    *sources, destination = sys.argv[1:]
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for source in sources:
            raw.sendto(packet(source, destination), (destination, 0))
