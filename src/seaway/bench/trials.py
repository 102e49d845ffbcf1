"""Run our programs on frames of our making, again and again: nanoseconds a packet.

Runs inside a lab host, over a bpffs and maps of its own. Reads names of trials, one a line, and
answers each by the median of many runs. A run leaves its mark on the frame for the next one, so
the MACs are all the gateway's (written anew, they stay the same), few runs share a frame (each
takes one from its TTL), and two published ports lead to each other: what was translated is
translated again. What is encapsulated, or was, is another frame: of that each run has its own.

    python -m seaway.bench.trials
"""

from __future__ import annotations

import socket
import statistics
import sys
from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple

from seaway.bench.frames import UDP, End, carried, frame
from seaway.bpf import abi, maps, trial
from seaway.bpf.objects import DataPlane
from seaway.bpf.table import Table
from seaway.errors import SystemFailed
from seaway.model.addresses import Address, mapped
from seaway.names import GATEWAY4, GATEWAY6, GATEWAY_MAC, OVERLAY_ID, OVERLAY_PORT

CALLS = 50
RUNS = 200  # of one frame, whose TTL is 255
CALLS_ACROSS = 1000  # of one run each
MAC = bytes.fromhex(GATEWAY_MAC.replace(":", ""))
HOST = 1  # the identity of the host's own addresses
SUBNETS = (ip_network("10.212.0.0/16"), ip_network("fd00:212::/64"))


class Party(NamedTuple):
    addresses: tuple[Address, Address]
    port: int

    def end(self, family: int) -> End:
        return End(MAC, self.address(family), self.port)

    def address(self, family: int) -> Address:
        return next(a for a in self.addresses if a.version == family)


def party(four: str, six: str, port: int = 7) -> Party:
    return Party((ip_address(four), ip_address(six)), port)


SENDER, RECEIVER = party("10.212.0.1", "fd00:212::1"), party("10.212.0.2", "fd00:212::2")
WORLD = party("192.0.2.7", "2001:db8::7")
CLIENT = party("198.18.0.99", "fd53:5759::99")  # on the wire of the lab
# The two published ports: each is the host's, and the other's backend.
ONE, OTHER = party("10.212.1.1", "fd00:212::1:1", 80), party("10.212.1.2", "fd00:212::1:2", 8080)
# On another host, which is reached where the client is; the lab host's own place on its wire.
NORTH, HERE = party("10.212.2.1", "fd00:212::2:1"), party("198.18.0.11", "fd53:5759::11")
NORTH_HOST = 2
UPLINK = "eth0"
PREPARATION = (
    f"link set {UPLINK} address {GATEWAY_MAC}",
    *(f"neigh add {a} lladdr {GATEWAY_MAC} dev {UPLINK}" for a in CLIENT.addresses),
)


class Trial(NamedTuple):
    program: str
    source: Party
    target: Party
    family: int
    verdict: int
    across: bool = False  # each run has a frame of its own; the host has others beside it


TRIALS = {
    f"{name}_v{family}": Trial(program, source, target, family, verdict)
    for family in (4, 6)
    for name, program, source, target, verdict in (
        ("local", "from_endpoint", SENDER, RECEIVER, trial.REDIRECT),
        ("world", "from_endpoint", SENDER, WORLD, trial.OK),
        ("spoofed", "from_endpoint", WORLD, RECEIVER, trial.SHOT),
        ("deliver", "to_endpoint", WORLD, SENDER, trial.OK),
        ("published", "from_wire", CLIENT, ONE, trial.REDIRECT),
        ("not_published", "from_wire", CLIENT, ONE._replace(port=81), trial.NEXT),
        ("answer", "from_endpoint", ONE, CLIENT, trial.REDIRECT),
    )
} | {
    f"{name}_v{family}": Trial(program, source, target, family, trial.REDIRECT, across=True)
    for family in (4, 6)
    for name, program, source, target in (
        ("carried", "from_endpoint", SENDER, NORTH),
        ("arrived", "from_wire", NORTH, SENDER),
    )
}


def settings() -> abi.Settings:
    return abi.Settings(
        host_v4=bytes(16),
        host_v6=bytes(16),
        gateway_v4=mapped(GATEWAY4),
        gateway_v6=mapped(GATEWAY6),
        netns_cookie=0,
        gateway_mac=MAC,
        overlay_mac=MAC,
    )


def prepare() -> DataPlane:
    """Endpoints of one network; the loopback stands for the device of those that send."""
    plane = DataPlane.open(settings())
    targets = maps.targets(plane)
    sender, receiver = endpoint(trial.LOOPBACK), endpoint(2)
    targets["interfaces"].put({trial.LOOPBACK: sender})
    targets["endpoints"].put(dict.fromkeys(SENDER.addresses, sender))
    targets["endpoints"].put(dict.fromkeys(RECEIVER.addresses, receiver))
    targets["subnets"].put(dict.fromkeys(SUBNETS, 1))
    meet(targets)
    publish(targets)
    ask(plane)
    return plane


def endpoint(number: int, flags: int = 0) -> abi.Endpoint:
    return abi.Endpoint(
        container=number, network=1, mac=MAC, identity=256, flags=flags, mtu=1500, ifindex=number
    )


def meet(targets: dict[str, maps.MapTarget[Any, Any]]) -> None:
    """Another host, with an endpoint of the same network."""
    at = CLIENT.address(4)
    targets["remotes"].put({ip_network(a): abi.Remote(NORTH_HOST, 1) for a in NORTH.addresses})
    targets["members"].put(dict.fromkeys(CLIENT.addresses, abi.Member(NORTH_HOST)))
    targets["paths"].put({NORTH_HOST: abi.Path(NORTH_HOST)})
    hop = abi.NextHop(mapped(at), NORTH_HOST, abi.NEXT_HOP_OVERLAY, trial.LOOPBACK)
    targets["next_hops"].put({NORTH_HOST: hop})


def publish(targets: dict[str, maps.MapTarget[Any, Any]]) -> None:
    for asked, backend in ((ONE, OTHER), (OTHER, ONE)):
        published = endpoint(trial.LOOPBACK, abi.ENDPOINT_PUBLISHED)
        targets["endpoints"].put(dict.fromkeys(asked.addresses, published))
        for family in (4, 6):
            at, to = mapped(asked.address(family)), mapped(backend.address(family))
            targets["identities"].put({ip_network(asked.address(family)): HOST})
            key = abi.PortKey(at, asked.port.to_bytes(2), UDP)
            leads = abi.Publication(to, backend.port.to_bytes(2), abi.PUBLICATION_SOLE)
            targets["publications"].put({key: leads})


def ask(plane: DataPlane) -> None:
    """The flows that answers belong to."""
    program = plane.programs["from_wire"].fd
    for family in (4, 6):
        for asked in (ONE, OTHER):
            question = frame(CLIENT.end(family), asked.end(family))
            trial.run(program, question, context("from_wire"))


def context(program: str) -> trial.Context:
    """The device that a program's frames come from."""
    if program == "from_wire":
        return trial.Context(ifindex=socket.if_nametoindex(UPLINK))
    return trial.Context()


def know_others(plane: DataPlane, known: bool) -> None:
    """Whether there are any: what a host does that is alone is measured as it is there."""
    v4, v6 = (mapped(HERE.address(family)) for family in (4, 6))
    here = abi.Underlay(v4, v6, OVERLAY_ID, OVERLAY_PORT.to_bytes(2), host=1).pack()
    Table(plane.maps["underlays"]).update([(bytes(4), here if known else bytes(len(here)))])


def measure(plane: DataPlane, name: str) -> float:
    wanted = TRIALS[name]
    program, device = plane.programs[wanted.program].fd, context(wanted.program)
    packet = frame(wanted.source.end(wanted.family), wanted.target.end(wanted.family))
    if wanted.source is NORTH:
        ends = CLIENT.end(4), HERE.end(4)._replace(port=OVERLAY_PORT)
        packet = carried(*ends, packet, OVERLAY_ID)
    know_others(plane, wanted.across)
    calls, runs = (CALLS_ACROSS, 1) if wanted.across else (CALLS, RUNS)
    done = [trial.run(program, packet, device, runs) for _ in range(calls)]
    for found in {outcome.verdict for outcome in done} - {wanted.verdict}:  # of the last run
        raise SystemFailed(f"{wanted.program} says {found} to '{name}', not {wanted.verdict}")
    return statistics.median(outcome.nanoseconds for outcome in done)


def main() -> None:
    plane = prepare()
    for line in sys.stdin:
        print(measure(plane, line.strip()), flush=True)


if __name__ == "__main__":
    main()
