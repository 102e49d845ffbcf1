"""What a trace says of a service is what the programs do; with one backend there is no choice.

What the hooks of sockets do is seen in tests/e2e/test_services.py.
"""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from scapy.layers.inet import TCP, UDP
from scapy.layers.l2 import Ether
from tests.bpf.test_trace import compare, known

from beyond import DIRECT, FAR, HOSTS, LONE, NORTH, SOUTH, World, frame_of, sends
from cast import ANNA, ANNA2, BERT, CARL, HOST, NEAR, OLGA, SHY, SMALL, UNKNOWN, ip, sent
from cast import WORLD as OUTSIDE
from edge import ANY, OTHER, PROTOCOLS, PUBLIC, ROUTER_MAC, WIRE_MAC
from seaway.bpf import abi
from seaway.bpf.lookups import Lookups
from seaway.bpf.services import ServiceTarget
from seaway.desired.network.networks import SERVICES
from seaway.desired.network.tables import Tables
from seaway.desired.network.trace import walk
from seaway.kernel.leads import lead
from seaway.model.trace import Traced
from seaway.names import OVERLAY_ID
from serviced import VIP, VIPS, frontend, port_key

PORT, BACKEND = 80, 7000
FAMILIES = pytest.mark.parametrize("family", [4, 6])
KINDS = pytest.mark.parametrize("protocol", ["tcp", "udp"])


@pytest.fixture
def world(surrounded: World) -> World:
    surrounded.reset()
    surrounded.services = surrounded.place.run(ServiceTarget, surrounded.plane, lambda *_: None)
    surrounded.place.run(withdraw, surrounded)
    surrounded.place.run(surrounded.targets["subnets"].put, dict.fromkeys(VIPS, SERVICES))
    yield surrounded
    surrounded.place.run(withdraw, surrounded)


def withdraw(world):
    world.services.delete(set(world.services.read()))


def serve(world, at, *backends, **how):
    """Port 80 of an address, by port 7000 of these addresses; by no table."""
    made = {
        port_key(at, PORT, protocol): frontend([(b, BACKEND) for b in backends], **how)
        for protocol, _ in PROTOCOLS.values()
    }
    assert {} == world.place.run(world.services.put, made)


def first(protocol):
    """Layer 4 of a connection's first packet."""
    kinds = {"tcp": TCP(sport=1111, dport=PORT, flags="S"), "udp": UDP(sport=1111, dport=PORT)}
    return kinds[protocol]


def traced(world, source, there, protocol, **more):
    packet = Traced(
        source=ip_address(source),
        destination=ip_address(there),
        protocol=protocol,
        **({"port": PORT} | more),
    )
    tables = Tables(Lookups(world.plane).find, lead)
    return world.place.run(walk, known(), tables, packet)


def only(walked):
    """The one way there is, if one is chosen."""
    if not walked.branches:
        return walked
    (branch,) = walked.branches
    return branch.walked


def places(family):
    """Where a backend may be said to be."""
    own = [a.address(family) for a in (ANNA, ANNA2, BERT, SMALL, OLGA, CARL, NEAR, SHY)]
    there = [a for h in (NORTH, SOUTH, LONE, FAR) for a in (h.address(family), h.own(family))]
    return [*own, *there, UNKNOWN[family], OUTSIDE[family], HOST[family], PUBLIC[family]]


@FAMILIES
@KINDS
@pytest.mark.parametrize("sender", [ANNA, SHY], ids=["anna", "shy"])
def test_of_an_endpoints_packets_to_a_virtual_address(world, sender, protocol, family):
    vip = VIP[family]
    for connected in (False, True):
        if connected:
            world.connect(1, 2)
        for backend in places(family):
            serve(world, vip, backend)
            world.forget_flows()
            frame = sent(family, vip, ANNA, src=sender.address(family)) / first(protocol)
            walked = only(traced(world, sender.address(family), vip, protocol))
            compare(walked, world.send(frame))


@FAMILIES
@KINDS
@pytest.mark.parametrize("flags", [0, abi.SERVICE_SILENT])
def test_of_a_service_that_has_nobody(world, protocol, family, flags):
    vip = VIP[family]
    frame = sent(family, vip) / first(protocol)
    walked = traced(world, ANNA.address(family), vip, protocol)
    compare(walked, world.send(frame))
    assert walked.steps[-1].reason in ("refused", "no_endpoint")
    serve(world, vip, flags=flags)
    walked = traced(world, ANNA.address(family), vip, protocol)
    compare(walked, world.send(frame))
    assert ("silent" if flags else "refused") == walked.steps[-1].reason


@FAMILIES
@KINDS
def test_of_somebody_outside_who_asks_a_port_of_this_host(world, protocol, family):
    for host in HOSTS:
        world.meet(host, DIRECT)
    for actor in (ANNA, BERT, SMALL):
        world.enter(actor, flags=actor.record.flags | abi.ENDPOINT_PUBLISHED)
    for asked in (PUBLIC[family], OTHER[family]):
        for backend in (*places(family), None):
            serve(world, ANY[family], *([backend] if backend else []))
            world.forget_flows()
            source = OUTSIDE[family]
            inner = ip(family, source, asked) / first(protocol)
            outcome = world.from_wire(Ether(src=ROUTER_MAC, dst=WIRE_MAC) / inner)
            compare(only(traced(world, source, asked, protocol, carried="wire")), outcome)


@FAMILIES
@KINDS
def test_of_an_endpoint_that_asks_a_port_of_its_own_host(world, protocol, family):
    """To a backend of another host it goes by the host's device of the overlay, which is missing
    here: tests/netns/test_mesh_packets.py has one.
    """
    for backend in (*places(family), None):
        serve(world, ANY[family], *([backend] if backend else []))
        world.forget_flows()
        outcome = world.send(sent(family, HOST[family]) / first(protocol))
        walked = only(traced(world, ANNA.address(family), HOST[family], protocol))
        if walked.steps[-1].at == "to_overlay":
            assert ["no_route"] == list(outcome.drops)
            assert HOST[family] == str(walked.steps[-1].source)
        else:
            compare(walked, outcome)


@FAMILIES
@KINDS
@pytest.mark.parametrize("asked", [NORTH, SOUTH, LONE, FAR], ids=lambda host: host.name)
@pytest.mark.parametrize("host", [NORTH, LONE], ids=lambda host: host.name)
def test_of_what_another_host_was_asked_for(world, host, asked, protocol, family):
    """What asks first is judged by from_overlay, but for what is relayed."""
    world.enter(BERT, flags=BERT.record.flags | abi.ENDPOINT_PUBLISHED)
    carrier = ip_address(host.underlay())
    for source in (OUTSIDE[family], NORTH.address(family), BERT.address(family)):
        for there in (BERT, CARL, SOUTH, FAR):
            inner = frame_of(ip(family, source, there.address(family)) / first(protocol))
            world.forget_flows()
            walked = traced(
                world,
                source,
                there.address(family),
                protocol,
                carried="overlay",
                carrier=carrier,
                ingress=asked.number,
            )
            tunnelled = sends(host, inner, vni=OVERLAY_ID + asked.number)
            outcome = world.from_wire(tunnelled)
            if walked.steps[0].at == "from_wire":
                compare(walked, outcome)
            else:
                assert ("host", {}) == (outcome.verdict, outcome.drops)
