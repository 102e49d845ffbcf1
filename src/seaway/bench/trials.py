"""Run our programs on frames of our making, again and again: nanoseconds a packet.

Runs inside a lab host, over a bpffs and maps of its own. Reads names of trials, one a line, and
answers each by the median of many runs. A run leaves its mark on the frame for the next one, so
the MACs are all the gateway's (written anew, they stay the same), and few runs share a frame
(each takes one from its TTL).

    python -m seaway.bench.trials
"""

from __future__ import annotations

import statistics
import struct
import sys
from ipaddress import IPv6Address, ip_address, ip_network
from typing import NamedTuple

from seaway.bpf import abi, maps, trial
from seaway.bpf.objects import DataPlane
from seaway.errors import SystemFailed
from seaway.model.addresses import Address, mapped
from seaway.names import GATEWAY4, GATEWAY6, GATEWAY_MAC

CALLS = 50
RUNS = 200  # of one frame, whose TTL is 255
MAC = bytes.fromhex(GATEWAY_MAC.replace(":", ""))
SENDER = {4: ip_address("10.212.0.1"), 6: ip_address("fd00:212::1")}
RECEIVER = {4: ip_address("10.212.0.2"), 6: ip_address("fd00:212::2")}
WORLD = {4: ip_address("192.0.2.7"), 6: ip_address("2001:db8::7")}
SUBNETS = (ip_network("10.212.0.0/16"), ip_network("fd00:212::/64"))
PAYLOAD = bytes(18)  # the smallest Ethernet frame


class Trial(NamedTuple):
    program: str
    source: dict[int, Address]
    destination: dict[int, Address]
    family: int
    verdict: int


TRIALS = {
    f"{name}_v{family}": Trial(program, source, destination, family, verdict)
    for family in (4, 6)
    for name, program, source, destination, verdict in (
        ("local", "from_endpoint", SENDER, RECEIVER, trial.REDIRECT),
        ("world", "from_endpoint", SENDER, WORLD, trial.OK),
        ("spoofed", "from_endpoint", WORLD, RECEIVER, trial.SHOT),
        ("deliver", "to_endpoint", WORLD, SENDER, trial.OK),
    )
}


def frame(source: Address, destination: Address) -> bytes:
    """A UDP datagram, in the smallest frame of its family."""
    datagram = struct.pack("!HHHH", 7, 7, 8 + len(PAYLOAD), 0) + PAYLOAD
    if isinstance(source, IPv6Address):
        fixed = struct.pack("!IHBB", 6 << 28, len(datagram), 17, 255)
        return MAC + MAC + b"\x86\xdd" + fixed + source.packed + destination.packed + datagram
    fixed = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 0, 0, 255, 17, 0)
    header = fixed + source.packed + destination.packed
    header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
    return MAC + MAC + b"\x08\x00" + header + datagram


def checksum(header: bytes) -> int:
    total = sum(int.from_bytes(header[at : at + 2]) for at in range(0, len(header), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def prepare() -> DataPlane:
    """Two endpoints of one network; the loopback stands for the device of the first."""
    plane = DataPlane.open(
        abi.Settings(bytes(16), bytes(16), mapped(GATEWAY4), mapped(GATEWAY6), 0, MAC)
    )
    targets = maps.targets(plane)
    sender, receiver = (
        abi.Endpoint(
            container=number, network=1, mac=MAC, identity=256, flags=0, mtu=1500, ifindex=number
        )
        for number in (trial.LOOPBACK, 2)
    )
    targets["interfaces"].put({trial.LOOPBACK: sender})
    targets["endpoints"].put(dict.fromkeys(SENDER.values(), sender))
    targets["endpoints"].put(dict.fromkeys(RECEIVER.values(), receiver))
    targets["subnets"].put(dict.fromkeys(SUBNETS, 1))
    return plane


def measure(plane: DataPlane, name: str) -> float:
    wanted = TRIALS[name]
    program = plane.programs[wanted.program].fd
    packet = frame(wanted.source[wanted.family], wanted.destination[wanted.family])
    found = trial.run(program, packet).verdict
    if found != wanted.verdict:
        raise SystemFailed(f"{wanted.program} says {found} to '{name}', not {wanted.verdict}")
    return statistics.median(
        trial.run(program, packet, repeat=RUNS).nanoseconds for _ in range(CALLS)
    )


def main() -> None:
    plane = prepare()
    for line in sys.stdin:
        print(measure(plane, line.strip()), flush=True)


if __name__ == "__main__":
    main()
