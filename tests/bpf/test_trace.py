"""What a trace says of a host is what the programs do there with the same maps.

Each program runs on real frames, and the trace over what stands in its maps then: verdict, reason
and addresses must be the same.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_interface

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from beyond import (
    ADDED,
    DIRECT,
    FAR,
    HOSTS,
    LONE,
    NORTH,
    OVERLAY,
    SOUTH,
    Beyond,
    World,
    frame_of,
    sends,
)
from cast import ANNA, ANNA2, BERT, CARL, CAST, HOST, NEAR, OLGA, SHY, SMALL, UNKNOWN, ip, sent
from cast import WORLD as OUTSIDE
from edge import OTHER, PUBLIC, ROUTER_MAC, UPLINK_MTU, WIRE_MAC
from fakes_kernel import FakeLookups, FakeTarget
from seaway.bpf.lookups import Lookups
from seaway.desired.indexes import INDEXES
from seaway.desired.network.tables import Tables
from seaway.desired.network.trace import Walked, walk
from seaway.facts import Facts
from seaway.kernel.leads import lead
from seaway.model.addresses import Address, host_prefix
from seaway.model.facts import Attached, Endpoint, Host, Network, Peer
from seaway.model.trace import Lead, Traced

PORT = 8080
FAMILIES = (4, 6)
ACTORS = (ANNA, ANNA2, SHY, NEAR)  # of the device under test's container


@pytest.fixture
def world(surrounded: World) -> World:
    surrounded.reset()
    for family in FAMILIES:
        surrounded.publish((PUBLIC[family], PORT), (BERT, 2222))
    return surrounded


def known() -> Facts:
    """As the agent would know who is behind the devices and numbers of the maps."""
    facts = Facts((), INDEXES)
    own = tuple(ip_address(a) for a in HOST.values())
    facts.change(Host, "here", Host(name="here", addresses=own))
    for host in HOSTS:
        peer = Peer(name=host.name, number=host.number, addresses=())
        facts.change(Peer, host.name, peer)
    for number in (1, 2, 3, 4):
        network = Network(name=f"n{number}", number=number, subnets=())
        facts.change(Network, network.name, network)
    for number, actor in enumerate(CAST):
        name = f"{number:016x}"
        facts.change(Endpoint, name, _endpoint(name, actor))
        attached = Attached(endpoint=name, ifindex=actor.record.ifindex)
        facts.change(Attached, name, attached)
    return facts


def _endpoint(name, actor):
    return Endpoint(
        id=name,
        name=actor.v4,
        container=str(actor.record.container),
        interface="eth0",
        host="here",
        network=f"n{actor.record.network}",
        netns="",
        netns_inode=1,
        addresses=(ip_interface(actor.v4), ip_interface(actor.v6)),
        mac=actor.mac,
        mtu=actor.record.mtu,
    )


def traced(world: World, source: str, there: str, protocol: str = "tcp", **more) -> Walked:
    packet = Traced(
        source=ip_address(source),
        destination=ip_address(there),
        port=PORT,
        protocol=protocol,
        **more,
    )
    tables = Tables(Lookups(world.plane).find, lead)
    return world.place.run(walk, known(), tables, packet)


def first(protocol: str):
    """Layer 4 of a connection's first packet."""
    return (
        TCP(sport=1111, dport=PORT, flags="S") if protocol == "tcp" else UDP(sport=1111, dport=PORT)
    )


def compare(walked: Walked, outcome) -> None:
    """The program's own steps, and what it did."""
    step = walked.steps[-1]
    inside = [s for s in walked.steps if s.at not in ("routes", "nftables")]
    words = {"deliver": "redirect", "send": "redirect", "host": "host", "pass": "host"}
    if step.reason:
        assert step.reason in outcome.drops
        assert {step.reason, "no_path"} >= outcome.drops.keys()  # of what was to tell the sender
    else:
        assert ({}, words[inside[-1].decision]) == (outcome.drops, outcome.verdict)
    if step.decision == "deliver":
        frame = Ether(outcome.frame)
        network = frame[IP] if IP in frame else frame[IPv6]
        assert step.port == frame.payload.payload.dport
        assert (str(step.source), str(step.destination)) == (network.src, network.dst)
    elif inside[-1].decision == "send":
        carried(inside[-1], outcome)


def carried(step, outcome) -> None:
    """To the host that was told, in the way that was told."""
    frame = Ether(outcome.frame)
    (host,) = [h for h in HOSTS if h.mac == frame.dst]
    assert step.to == host.name
    over = {"encapsulated": ADDED[host.family], "direct": 0}[step.how]
    assert UPLINK_MTU - over == step.mtu
    assert ("wire0", bool(over)) == (step.device, UDP in frame and frame[UDP].dport != PORT)


def everywhere(family: int) -> list[str]:
    odd = {4: ("224.0.0.1", "127.0.0.1", "169.254.9.9"), 6: ("ff02::5", "::1", "fe80::99")}
    return [
        *(actor.address(family) for actor in (BERT, SMALL, OLGA, CARL, NEAR)),
        *(a for host in HOSTS for a in _of(host, family)),
        *(group[family] for group in (HOST, PUBLIC, OTHER, UNKNOWN, OUTSIDE)),
        *odd[family],
    ]


def _of(host: Beyond, family: int) -> tuple[str, ...]:
    """Its endpoint's, and its own in the cluster and in the underlay."""
    return host.address(family), host.own(family), host.underlay(family)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("sender", ACTORS, ids=["anna", "anna2", "shy", "near"])
def test_of_an_endpoint(world, sender, protocol, family):
    for there in everywhere(family):
        frame = sent(family, there, ANNA, src=sender.address(family)) / first(protocol)
        world.forget_flows()
        compare(traced(world, sender.address(family), there, protocol), world.send(frame))


def changes(world):
    """Each is a world of its own."""
    yield "direct", lambda: [world.meet(host, DIRECT) for host in HOSTS]
    yield "by another", lambda: world.path(NORTH, SOUTH)
    yield "dead", lambda: world.bury(NORTH)
    yield "dead too", lambda: world.bury(SOUTH)
    yield "forgotten", lambda: world.forget(FAR)
    yield "connected", lambda: world.connect(1, 2)
    yield "alone", world.be_alone


def test_of_an_endpoint_however_the_maps_change(world):
    for _, change in changes(world):
        change()
        for family in FAMILIES:
            for there in everywhere(family):
                frame = sent(family, there) / first("tcp")
                world.forget_flows()
                compare(traced(world, ANNA.address(family), there), world.send(frame))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_others_over_which_flows_are_shared_are_named(world, family):
    """The kernel has the choice; over many flows it takes all that are told, and no other."""
    there = FAR.address(family)
    world.path(FAR, NORTH, SOUTH, LONE)
    for dead in ((), (SOUTH,), (NORTH,), (NORTH, SOUTH)):
        for host in dead:
            world.bury(host)
        step = traced(world, ANNA.address(family), there).steps[-1]
        flows = (TCP(sport=2000 + flow, dport=PORT, flags="S") for flow in range(40))
        went = {Ether(world.send(sent(family, there) / flow).frame).dst for flow in flows}
        told = {step.to, *step.why.partition("shared with ")[2].split(" and ")}
        assert told - {""} == {host.name for host in HOSTS if host.mac in went}
        for host in dead:
            world.revive(host)


@pytest.mark.parametrize("family", FAMILIES)
def test_of_somebody_outside(world, family):
    source = OUTSIDE[family]
    for there in (PUBLIC[family], OTHER[family], BERT.address(family), NORTH.address(family)):
        for protocol in ("tcp", "udp"):
            frame = (
                Ether(src=ROUTER_MAC, dst=WIRE_MAC) / ip(family, source, there) / first(protocol)
            )
            world.forget_flows()
            walked = traced(world, source, there, protocol, carried="wire")
            compare(walked, world.from_wire(frame))


@pytest.mark.parametrize("family", FAMILIES)
def test_of_the_host_itself(world, family):
    for direct in (False, True):
        for host in HOSTS if direct else ():
            world.meet(host, DIRECT)
        for source in (HOST[family], PUBLIC[family]):
            for there in (a for h in HOSTS for a in (h.address(family), h.own(family))):
                frame = frame_of(ip(family, source, there) / first("tcp"))
                compare(traced(world, source, there), world.to_overlay(frame))


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("host", [NORTH, SOUTH, LONE, FAR], ids=lambda host: host.name)
def test_of_what_another_host_sends(world, host, family, direct):
    """What the short cut leaves to from_overlay is judged by that."""
    for other in HOSTS if direct else ():
        world.meet(other, DIRECT)
    for there in everywhere(family):
        inner = frame_of(ip(family, host.address(family), there) / first("tcp"))
        carrier = ip_address(host.underlay())
        world.forget_flows()
        walked = traced(world, host.address(family), there, carried="overlay", carrier=carrier)
        outcome = world.from_wire(sends(host, inner))
        if walked.steps[0].at == "from_wire":
            compare(walked, outcome)
        else:
            assert ("host", {}) == (outcome.verdict, outcome.drops)
            compare(walked, world.from_overlay(inner))


def test_who_may_not_send_something_gets_no_short_cut(world):
    """What from_overlay then says of carriers is seen with real packets (tests/netns)."""
    inner = frame_of(ip(4, FAR.address(4), BERT.v4) / first("tcp"))
    for host, reason in ((NORTH, ""), (LONE, "spoofed_host"), (FAR, "")):
        carrier = ip_address(host.underlay())
        walked = traced(world, FAR.address(4), BERT.v4, carried="overlay", carrier=carrier)
        assert reason == walked.steps[-1].reason
        assert ("host" if reason else "redirect") == world.from_wire(sends(host, inner)).verdict


@pytest.mark.parametrize("flags", [OVERLAY, DIRECT])
@pytest.mark.parametrize("sender", [NORTH, SOUTH], ids=lambda host: host.name)
def test_of_what_comes_as_it_is(world, sender, flags):
    """What is not plain of it goes into the overlay's device, and is judged by from_overlay."""
    for host in HOSTS:
        world.meet(host, flags)
    for there in (BERT.v4, CARL.v4, OLGA.v4, FAR.address(4), UNKNOWN[4], HOST[4]):
        for host in (NORTH, SOUTH):
            inner = ip(4, host.address(4), there) / first("tcp")
            frame = Ether(src=sender.mac, dst=WIRE_MAC) / inner
            carrier = ip_address(sender.underlay())
            walked = traced(world, host.address(4), there, carried="direct", carrier=carrier)
            outcome = world.from_wire(frame)
            if walked.steps[0].at == "from_wire":
                compare(walked, outcome)
            else:
                assert ("redirect", {}) == (outcome.verdict, outcome.drops)
                compare(walked, world.from_overlay(frame_of(inner)))


def test_how_routes_lead(world):
    def found(address: str) -> Lead | None:
        return world.place.run(lead, ip_address(address))

    def source(family: int) -> Address:
        """The kernel has the choice of two."""
        told = found(NORTH.underlay(family))
        assert told
        assert str(told.source) in (PUBLIC[family], OTHER[family])
        return told.source

    for family in FAMILIES:
        near, own = NORTH.underlay(family), source(family)
        assert Lead("wire0", UPLINK_MTU, None, own, known=True) == found(near)
        router = ip_address({4: "198.51.100.254", 6: "2001:db8:100::fe"}[family])
        assert Lead("wire0", UPLINK_MTU, router, own, known=True) == found(OUTSIDE[family])
        here = found(PUBLIC[family])
        assert here
        assert here.local
        unknown = {4: "198.51.100.77", 6: "2001:db8:100::77"}[family]
        assert Lead("wire0", UPLINK_MTU, None, own) == found(unknown)
        assert found({4: "203.0.113.9", 6: "2001:db8:ffff::9"}[family]) is None
    world.place.shell("ip route add unreachable 203.0.113.0/24")
    assert found("203.0.113.9") is None
    world.place.shell("ip route del unreachable 203.0.113.0/24")


def test_the_fake_tables_find_what_the_kernels_find(world):
    names = ("endpoints", "subnets", "identities", "remotes", "paths", "next_hops", "members")
    fake = FakeLookups({n: FakeTarget(n, world.place.run(world.targets[n].read)) for n in names})
    world.bury(NORTH)
    fake.dead |= {host.number for host in HOSTS if host is NORTH or not host.linked}
    real = Lookups(world.plane)
    for family in FAMILIES:
        for address in map(ip_address, everywhere(family)):
            for name in ("subnets", "identities", "remotes"):
                expected = world.place.run(real.find, name, host_prefix(address))
                assert expected == fake.find(name, host_prefix(address))
            for name in ("endpoints", "members"):
                assert world.place.run(real.find, name, address) == fake.find(name, address)
    for number in range(7):
        for name in ("paths", "next_hops"):
            assert world.place.run(real.find, name, number) == fake.find(name, number)
        dead = world.place.run(real.find, "dead", number)
        assert (dead is None) == (fake.find("dead", number) is None)
