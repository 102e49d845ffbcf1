"""To other hosts, and from them: whole frames, for every verdict.

Inside a run without a device nobody has taken a packet out of its carrier: so from_overlay takes it
for one that came as it is. What it says of carriers is seen with real packets (tests/netns).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from scapy.layers.inet import IP, UDP, IPOption
from scapy.layers.inet6 import (
    ICMPv6ND_NS,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    PadN,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from beyond import (
    ADDED,
    BEYOND,
    DIRECT,
    FAR,
    LONE,
    NORTH,
    SOUTH,
    TUNNEL,
    Beyond,
    World,
    frame_of,
    goes,
    hopped,
    portless,
    sends,
)
from cast import (
    ANNA,
    ANNA2,
    BERT,
    CARL,
    HOST,
    SHY,
    SMALL,
    UNKNOWN,
    WORLD,
    Outcome,
    datagram,
    dropped,
    forwarded,
    ip,
    passed,
    segment,
    sent,
)
from edge import (
    ANY,
    LOOPBACK,
    OTHER,
    PROTOCOLS,
    ROUTER_MAC,
    UPLINK_MTU,
    WIRE,
    WIRE_MAC,
    answers,
    piece,
    reaches,
    redirected,
    says,
    standing,
)
from frames import told
from oracle import read
from seaway.bpf import abi
from seaway.names import GATEWAY_MAC, OVERLAY_ID, OVERLAY_MAC
from waiting import wait
from ways import look_anew

FAMILIES = pytest.mark.parametrize("family", [4, 6])
PAYLOADS = pytest.mark.parametrize("payload", [datagram(), segment(), Raw(b"")], ids=repr)
REACHED = pytest.mark.parametrize("host", [NORTH, SOUTH], ids=lambda host: host.name)
LINK_LOCAL = {4: "169.254.1.1", 6: "fe80::1"}
GROUPS = {4: "224.0.0.1", 6: "ff02::1"}
UNREACHABLE = {4: (3, 1, 0), 6: (1, 3, 0)}  # type, code and the rest of ICMP
TOO_BIG = {4: (3, 4), 6: (2, 0)}
EXCEEDED = {4: (11, 0, 0), 6: (3, 0, 0)}


@pytest.fixture(scope="module")
def made() -> Iterator[World]:
    with standing(World, BEYOND) as made:
        yield made


@pytest.fixture
def world(made: World) -> World:
    made.reset()
    made.connect(1, 2)
    return made


def answered(reason: str, frame: Packet, tells: tuple[int, int, int]) -> Outcome:
    """By our own host, to anna."""
    data = bytes(frame)
    packet = read(data, 0)
    body = told(data, packet, tells, HOST[packet.version])
    return Outcome(
        "redirect",
        ANNA.record.mac + bytes.fromhex(GATEWAY_MAC.replace(":", "")) + body,
        {reason: 1},
    )


# From an endpoint


@FAMILIES
@REACHED
@PAYLOADS
def test_a_packet_to_another_hosts_endpoint_is_carried_there(world, family, host, payload):
    frame = sent(family, host.address(family)) / payload

    assert goes(host, hopped(frame)) == portless(world.send(frame))


@FAMILIES
def test_hosts_are_reached_from_every_network(world, family):
    for sender in (ANNA, ANNA2):
        frame = sent(family, NORTH.own(family), sender) / segment()
        frame.src = ANNA.mac
        assert goes(NORTH, hopped(frame)) == portless(world.send(frame))


@FAMILIES
def test_all_packets_of_a_flow_have_one_source_port_and_others_another(world, family):
    def port(**fields: int) -> bytes:
        frame = sent(family, NORTH.address(family)) / UDP(**fields) / Raw(b"x")
        return world.send(frame).frame[34:36]

    flows = {port(sport=n, dport=7) for n in range(1, 30)}
    assert port(sport=1, dport=7) == port(sport=1, dport=7)
    assert 25 < len(flows)


@FAMILIES
@pytest.mark.parametrize(("inner", "outer"), [(0, 0), (1, 1), (2, 2), (3, 2)])
def test_what_meets_congestion_outside_can_be_told_inside(world, family, inner, outer):
    """RFC 6040: the carrier has the bits of what it carries, but for a congestion met before."""
    fields = {"tos": inner} if family == 4 else {"tc": inner}
    frame = sent(family, NORTH.address(family), **fields) / segment()

    assert goes(NORTH, hopped(frame), ecn=outer) == portless(world.send(frame))


@FAMILIES
def test_networks_are_closed_to_each_other_across_hosts(world, family):
    world.meet(NORTH, network=3)
    frame = sent(family, Beyond(2, "north", 3).address(family)) / datagram()
    assert dropped("isolated") == world.send(frame)

    world.connect(1, 3)
    assert "redirect" == world.send(frame).verdict


@FAMILIES
def test_open_networks_reach_each_other_across_hosts(world, family):
    """anna's second interface is in the same network, but a third one is in another open one."""
    world.enter(SHY, flags=abi.ENDPOINT_OPEN)
    frame = sent(family, SOUTH.address(family), src=SHY.address(family)) / datagram()
    assert goes(SOUTH, hopped(frame)) == portless(world.send(frame))


@FAMILIES
def test_who_must_not_ask_hosts_asks_no_other_host_either(world, family):
    """By whichever of its addresses: in the cluster, or those by which hosts reach each other."""
    for target in (NORTH.own(family), NORTH.underlay(family), LONE.underlay(family)):
        frame = sent(family, target, src=SHY.address(family)) / segment()
        assert dropped("host_closed") == world.send(frame)

    outside = sent(family, WORLD[family], src=SHY.address(family)) / segment()
    assert passed(outside) == world.send(outside)


@FAMILIES
def test_who_must_not_ask_hosts_answers_them(world, family):
    """North's host asks; the question is noted where it arrives."""
    world.enter(ANNA, flags=abi.ENDPOINT_HOST_CLOSED)
    asks = ip(family, NORTH.own(family), ANNA.address(family)) / UDP(sport=9, dport=7) / Raw(b"?")
    answer = sent(family, NORTH.own(family)) / UDP(sport=7, dport=9) / Raw(b"!")
    assert dropped("host_closed") == world.send(answer)

    question = sends(NORTH, frame_of(asks))
    assert passed(question) == world.from_wire(question)  # no short cut: from_overlay notes it
    assert "redirect" == world.from_overlay(frame_of(asks)).verdict
    assert goes(NORTH, hopped(answer)) == portless(world.send(answer))


@FAMILIES
def test_a_packet_at_the_end_of_its_ttl_is_answered(world, family):
    frame = sent(family, NORTH.address(family), ttl=1) / datagram()

    assert answered("ttl_exceeded", frame, EXCEEDED[family]) == world.send(frame)


@FAMILIES
@REACHED
def test_a_packet_that_the_way_does_not_take_is_answered_with_what_it_takes(world, family, host):
    room = UPLINK_MTU - ADDED[host.family]
    size = room - (28 if family == 4 else 48)
    fields = {"flags": "DF"} if family == 4 else {}
    fits = sent(family, host.address(family), **fields) / datagram(size)
    assert goes(host, hopped(fits)) == portless(world.send(fits))

    frame = sent(family, host.address(family), **fields) / datagram(size + 1)
    assert answered("too_big", frame, (*TOO_BIG[family], room)) == world.send(frame)


def test_a_packet_that_the_way_does_not_take_and_that_may_be_cut_is_the_stacks(world):
    frame = sent(4, NORTH.address(4)) / datagram(UPLINK_MTU)

    assert passed(frame) == world.send(frame)


@FAMILIES
def test_a_train_counts_by_its_pieces(world, family):
    """One that no kernel has put together is none of a kind that we may encapsulate."""
    fields, room = {"flags": "DF"} if family == 4 else {}, UPLINK_MTU - ADDED[4]
    frame = sent(family, NORTH.address(family), **fields) / segment(2000)
    size = room - (40 if family == 4 else 60)

    assert passed(frame) == world.send(frame, gso_size=size, gso_segments=2)
    refused = world.send(frame, gso_size=size + 1, gso_segments=2)
    assert {"too_big": 1} == refused.drops


@FAMILIES
def test_fragments_go_after_their_first(world, family):
    to = NORTH.address(family)
    if family == 4:
        first = sent(4, to, id=5, flags="MF") / datagram(64)
        later = sent(4, to, id=5, frag=9, proto=17) / Raw(b"k" * 40)
    else:
        first = sent(6, to) / IPv6ExtHdrFragment(id=5, m=1) / datagram(64)
        later = sent(6, to) / IPv6ExtHdrFragment(id=5, offset=9, nh=17) / Raw(b"k" * 40)
    assert dropped("fragment") == world.send(later)
    for frame in (first, later):
        assert goes(NORTH, hopped(frame)) == portless(world.send(frame))


@FAMILIES
def test_a_host_behind_another_is_reached_by_that_and_by_the_backup_when_its_link_is_dead(
    world, family
):
    frame = sent(family, FAR.address(family)) / datagram()
    assert goes(NORTH, hopped(frame)) == portless(world.send(frame))

    world.bury(NORTH)
    assert goes(SOUTH, hopped(frame)) == portless(world.send(frame))
    world.bury(SOUTH)
    assert answered("no_path", frame, UNREACHABLE[family]) == world.send(frame)


FLOWS = range(60)


@FAMILIES
def test_flows_are_shared_over_next_hops_that_are_as_near(world, family):
    """Each stays with its own; who went by one that is dead goes by another."""
    nexts = {NORTH, SOUTH, LONE}

    def went(flow: int) -> Beyond:
        frame = sent(family, FAR.address(family)) / UDP(sport=1000 + flow, dport=7)
        found = portless(world.send(frame))
        return next(host for host in nexts if found == goes(host, hopped(frame)))

    world.path(FAR, NORTH, SOUTH, LONE)
    before = [went(flow) for flow in FLOWS]
    assert min(before.count(host) for host in nexts) > len(FLOWS) // 6
    assert before == [went(flow) for flow in FLOWS]

    for dead, instead in ((SOUTH, NORTH), (LONE, NORTH), (NORTH, SOUTH)):
        world.bury(dead)
        expected = [instead if host is dead else host for host in before]
        assert expected == [went(flow) for flow in FLOWS]
        world.revive(dead)


@FAMILIES
def test_a_host_that_no_path_leads_to_is_unreachable(world, family):
    frame = sent(family, LONE.address(family)) / datagram()

    assert answered("no_path", frame, UNREACHABLE[family]) == world.send(frame)


@FAMILIES
def test_an_address_of_a_block_whose_host_is_gone_is_unreachable(world, family):
    world.forget(NORTH)
    frame = sent(family, NORTH.address(family)) / datagram()

    assert answered("no_endpoint", frame, UNREACHABLE[family]) == world.send(frame)


@FAMILIES
@REACHED
def test_a_host_on_our_link_gets_packets_as_they_are_where_they_may_go_so(world, family, host):
    world.meet(host, DIRECT)
    frame = sent(family, host.address(family)) / datagram()
    direct = Ether(src=WIRE_MAC, dst=host.mac) / hopped(frame)

    assert Outcome("redirect", bytes(direct), {}) == world.send(frame)


@FAMILIES
def test_a_host_behind_another_gets_none_as_it_is(world, family):
    for host in (NORTH, FAR):
        world.meet(host, DIRECT)
    frame = sent(family, FAR.address(family)) / datagram()

    assert goes(NORTH, hopped(frame)) == portless(world.send(frame))


@FAMILIES
def test_where_nothing_may_be_encapsulated_a_host_behind_another_is_unreachable(world, family):
    for host in (NORTH, FAR):
        world.meet(host, abi.NEXT_HOP_DIRECT)
    frame = sent(family, FAR.address(family)) / datagram()

    assert answered("no_path", frame, UNREACHABLE[family]) == world.send(frame)


@FAMILIES
def test_a_packet_as_it_is_may_be_as_long_as_the_wire_takes(world, family):
    world.meet(NORTH, DIRECT)
    size = UPLINK_MTU - (28 if family == 4 else 48)
    fields = {"flags": "DF"} if family == 4 else {}
    fits = sent(family, NORTH.address(family), **fields) / datagram(size)
    frame = sent(family, NORTH.address(family), **fields) / datagram(size + 1)

    assert "redirect" == world.send(fits).verdict
    assert answered("too_big", frame, (*TOO_BIG[family], UPLINK_MTU)) == world.send(frame)


@contextmanager
def unknown(world: World, host: Beyond) -> Iterator[None]:
    """Nobody knows its MAC."""
    at = host.underlay()
    world.place.shell(f"ip neigh del {at} dev wire0")
    look_anew()
    try:
        yield
    finally:
        world.place.shell(f"ip neigh replace {at} lladdr {host.mac} dev wire0")


@FAMILIES
@REACHED
def test_a_neighbour_that_is_not_known_yet_is_asked_for_by_the_kernel(world, family, host):
    with unknown(world, host):
        frame = sent(family, host.address(family)) / datagram()
        found = portless(world.send(frame))
        assert goes(host, hopped(frame)).frame[14:] == found.frame[14:]


@FAMILIES
@REACHED
def test_the_kernel_asks_for_a_neighbour_also_where_nothing_may_be_encapsulated(
    world, family, host
):
    """Where it may, that goes first: its answer tells the MAC."""
    frame = sent(family, host.address(family)) / datagram()
    with unknown(world, host):
        world.meet(host, DIRECT)
        assert goes(host, hopped(frame)).frame[14:] == portless(world.send(frame)).frame[14:]
        world.meet(host, abi.NEXT_HOP_DIRECT)
        found = world.send(frame)
        assert ("redirect", bytes(hopped(frame))) == (found.verdict, found.frame[14:])


# By the wire: the short cut


def inner(family: int, source: Beyond, dst: str, payload: Packet, **fields: object) -> Packet:
    """From another host's endpoint."""
    return ip(family, source.address(family), dst, **fields) / payload


@FAMILIES
@pytest.mark.parametrize("outer", [4, 6])
@PAYLOADS
def test_what_a_host_sends_for_an_endpoint_of_ours_arrives(world, family, outer, payload):
    packet = frame_of(inner(family, NORTH, ANNA.address(family), payload))
    found = world.from_wire(sends(NORTH, packet, outer))

    assert forwarded(packet, ANNA) == found


@FAMILIES
def test_a_member_that_relays_may_send_for_others(world, family):
    packet = frame_of(inner(family, FAR, ANNA.address(family), datagram()))

    assert forwarded(packet, ANNA) == world.from_wire(sends(NORTH, packet))


@FAMILIES
def test_a_host_that_is_alone_knows_nothing_of_what_hosts_send_each_other(world, family):
    """It has forgotten that it has others beside it, and not yet who they were."""
    frame = sends(NORTH, frame_of(inner(family, NORTH, ANNA.address(family), datagram())))
    answer = sent(family, NORTH.address(family)) / datagram()
    world.be_alone()

    assert passed(frame) == world.from_wire(frame)
    assert answered("no_endpoint", answer, UNREACHABLE[family]) == world.send(answer)


@FAMILIES
def test_a_host_may_send_what_is_its_own_though_no_link_is_held_with_it(world, family):
    packet = frame_of(inner(family, LONE, ANNA.address(family), datagram()))

    assert forwarded(packet, ANNA) == world.from_wire(sends(LONE, packet))


def carriers(good: Packet) -> dict[str, Packet]:
    """What is carried is as it should be, what carries it is not."""
    plain = sends(NORTH, good)
    head, body = plain[Ether].copy(), bytes(plain[UDP])
    head[IP].remove_payload()
    six = sends(NORTH, good, 6)
    options = Ether(bytes(six)[:54]) / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)])
    options[IPv6].nh, options[IPv6].plen = 60, None

    def changed(**fields: object) -> Packet:
        made = Ether(bytes(head) + body)
        for name, value in fields.items():
            setattr(made[IP], name, value)
        del made[IP].chksum
        return made

    return {
        "another overlay": sends(NORTH, good, vni=OVERLAY_ID + 1),
        "other flags": sends(NORTH, good, flags=12),
        "a checksum": sends(NORTH, good, chksum=0x1234),
        "congestion on its way": changed(tos=3),
        "to another address of ours": changed(dst=OTHER[4]),
        "in parts": changed(flags="MF"),
        "options": changed(options=[IPOption(b"\x01\x01\x01\x01")], ihl=6, len=None),
        "extensions": options / body,
        "a stranger": sends(Beyond(99, "strange", 1), good),
        "of another host that does not relay": sends(LONE, good),
        "cut off": Ether(bytes(plain)[:80]),
    }


@FAMILIES
@pytest.mark.parametrize("case", list(carriers(frame_of(IP()))))
def test_of_what_carries_otherwise_nothing_is_said_at_the_wire(world, family, case):
    """It goes on as it came, to the device, and that to from_overlay."""
    good = frame_of(inner(family, NORTH, ANNA.address(family), datagram()))
    frame = carriers(good)[case]

    assert passed(frame) == world.from_wire(frame)


def burdens(family: int) -> dict[str, Packet]:
    """What carries them is as it should be, what is carried is not plain."""
    me = ANNA.address(family)
    first = {"flags": "MF"} if family == 4 else {}
    part = datagram() if family == 4 else IPv6ExtHdrFragment(m=1) / datagram(8)
    asks = (
        Ether(src=GATEWAY_MAC, dst=OVERLAY_MAC) / ARP(psrc=NORTH.address(4), pdst=ANNA.v4)
        if family == 4
        else frame_of(inner(6, NORTH, ANNA.v6, ICMPv6ND_NS(tgt=ANNA.v6), ttl=255))
    )
    return {
        "of nobody's source": frame_of(ip(family, UNKNOWN[family], me) / datagram()),
        "of the world": frame_of(ip(family, WORLD[family], me) / datagram()),
        "of our own endpoint": frame_of(ip(family, BERT.address(family), me) / datagram()),
        "of our own host": frame_of(ip(family, HOST[family], me) / datagram()),
        "at its end": frame_of(inner(family, NORTH, me, datagram(), ttl=1)),
        "too big": frame_of(inner(family, NORTH, me, datagram(1500))),
        "to another network": frame_of(inner(family, NORTH, CARL.address(family), datagram())),
        "a part": frame_of(inner(family, NORTH, me, part, **first)),
        "a neighbour's question": asks,
        "to all": frame_of(inner(family, NORTH, GROUPS[family], datagram())),
        "to nobody": frame_of(inner(family, NORTH, UNKNOWN[family], datagram())),
        "to the host": frame_of(inner(family, NORTH, HOST[family], datagram())),
        "to the world": frame_of(inner(family, NORTH, WORLD[family], datagram())),
        "to the loopback": frame_of(inner(family, NORTH, LOOPBACK[family], datagram())),
        "to a link's address": frame_of(inner(family, NORTH, LINK_LOCAL[family], datagram())),
        "cut off": Ether(bytes(frame_of(inner(family, NORTH, me, segment())))[:-30]),
        "damaged": Ether(bytes(frame_of(inner(family, NORTH, me, segment())))[:14] + b"\x33" * 60),
    }


@FAMILIES
@pytest.mark.parametrize("case", list(burdens(4)))
def test_of_what_is_not_plain_nothing_is_said_at_the_wire(world, family, case):
    frame = sends(NORTH, burdens(family)[case])

    assert passed(frame) == world.from_wire(frame)


@FAMILIES
def test_over_a_dead_link_nobody_relays(world, family):
    frame = sends(NORTH, frame_of(inner(family, FAR, ANNA.address(family), datagram())))
    assert "redirect" == world.from_wire(frame).verdict

    world.bury(NORTH)
    assert passed(frame) == world.from_wire(frame)


@FAMILIES
def test_who_follows_a_train_in_its_flow_does_not_overtake_it(world, family):
    packet = frame_of(inner(family, NORTH, ANNA.address(family), datagram()))
    train, after = sends(NORTH, packet, port=0xC001), sends(NORTH, packet, port=0xC001)
    other = sends(NORTH, packet, port=0xC002)

    assert passed(train) == world.from_wire(train, gso_size=500, gso_segments=2)
    assert passed(after) == world.from_wire(after)
    assert forwarded(packet, ANNA) == world.from_wire(other)
    assert wait(lambda: forwarded(packet, ANNA) == world.from_wire(after))


@FAMILIES
def test_what_we_relay_is_carried_on_as_it_is(world, family):
    """From south, over IPv6, it comes to the host that is reached over IPv4 by the device alone."""
    packet = frame_of(inner(family, FAR, LONE.address(family), datagram()))
    relayed = sends(NORTH, packet)
    world.path(LONE, NORTH)
    found = world.from_wire(relayed)
    assert goes(NORTH, hopped(packet)) == portless(found)
    assert relayed.sport == int.from_bytes(found.frame[34:36])

    other = sends(SOUTH, packet)
    assert passed(other) == world.from_wire(other)


@FAMILIES
def test_of_a_carriers_class_of_traffic_we_relay_the_congestion_bits_alone(world, family):
    """As we write it ourselves: how its network treated it is that network's own."""
    for via, class_of_traffic in ((NORTH, {"tos": 0xBA}), (SOUTH, {"tc": 0xBA})):
        packet = frame_of(inner(family, FAR, LONE.address(family), datagram()))
        world.path(LONE, via)
        frame = sends(via, packet, head=class_of_traffic)
        assert goes(via, hopped(packet), ecn=2) == portless(world.from_wire(frame))


@FAMILIES
def test_what_we_relay_is_shared_by_flow_as_well(world, family):
    """By the carrier's source port, which tells flows apart."""
    world.path(FAR, LONE, FAR)
    packet = frame_of(inner(family, NORTH, FAR.address(family), datagram()))

    def went(flow: int) -> Beyond:
        found = portless(world.from_wire(sends(NORTH, packet, port=0xC000 + flow)))
        return next(host for host in (LONE, FAR) if found == goes(host, hopped(packet)))

    before = [went(flow) for flow in FLOWS]
    assert min(before.count(LONE), before.count(FAR)) > len(FLOWS) // 5
    assert before == [went(flow) for flow in FLOWS]


@FAMILIES
def test_what_we_relay_may_be_a_train(world, family):
    packet = frame_of(inner(family, FAR, LONE.address(family), segment(2000)))
    world.path(LONE, NORTH)
    size = UPLINK_MTU - ADDED[4] - (40 if family == 4 else 60)
    frame = sends(NORTH, packet)

    assert "redirect" == world.from_wire(frame, gso_size=size, gso_segments=2).verdict
    assert passed(frame) == world.from_wire(frame, gso_size=size + 1, gso_segments=2)


# By the wire, as it is


def direct(host: Beyond, packet: Packet) -> Packet:
    return Ether(src=host.mac, dst=WIRE_MAC) / packet


@FAMILIES
@REACHED
def test_what_comes_as_it_is_arrives_where_it_may_come_so(world, family, host):
    frame = direct(host, inner(family, host, ANNA.address(family), datagram()))
    assert dropped("spoofed_address") == world.from_wire(frame)

    world.meet(host, DIRECT)
    assert forwarded(frame, ANNA) == world.from_wire(frame)


@FAMILIES
def test_from_anybody_else_on_the_link_it_is_spoofed(world, family):
    for host in (NORTH, SOUTH):
        world.meet(host, DIRECT)
    packet = inner(family, NORTH, ANNA.address(family), datagram())
    for mac in (ROUTER_MAC, SOUTH.mac, "02:99:00:00:00:01"):
        frame = Ether(src=mac, dst=WIRE_MAC) / packet
        assert dropped("spoofed_address") == world.from_wire(frame)


@FAMILIES
def test_what_comes_as_it_is_and_is_not_plain_goes_into_the_overlays_device(world, family):
    world.meet(NORTH, DIRECT)
    for target, ttl in ((HOST[family], 64), (ANNA.address(family), 1)):
        packet = inner(family, NORTH, target, datagram(), ttl=ttl)
        expected = Outcome("redirect", bytes(frame_of(packet)), {})
        assert expected == world.from_wire(direct(NORTH, packet))


# Out of the overlay's device


@FAMILIES
@PAYLOADS
def test_what_was_taken_out_of_its_carrier_arrives(world, family, payload):
    packet = frame_of(inner(family, NORTH, ANNA.address(family), payload))

    assert forwarded(packet, ANNA) == world.from_overlay(packet)


@FAMILIES
def test_what_is_for_the_host_goes_to_its_stack(world, family):
    packet = frame_of(inner(family, NORTH, HOST[family], segment()))

    assert passed(packet) == world.from_overlay(packet)


@FAMILIES
@pytest.mark.parametrize("kind", PROTOCOLS)
@pytest.mark.parametrize("way", ["short cut", "device"])
def test_who_asked_by_the_host_before_is_answered_directly_when_he_asks_so(
    world, family, kind, way
):
    world.publish((ANY[family], 8080), (ANNA, 80))
    world.from_overlay(frame_of(inner(family, NORTH, HOST[family], says(kind, 40000, 8080))))
    assert 2 == len(world.flows())

    opening = {"flags": "S"} if kind == "tcp" else {}
    asks = frame_of(inner(family, NORTH, ANNA.address(family), says(kind, 40000, 80, **opening)))
    found = world.from_overlay(asks) if way == "device" else world.from_wire(sends(NORTH, asks))
    assert forwarded(asks, ANNA) == found
    assert {} == world.flows()
    answer = answers(family, ANNA, NORTH.address(family)) / says(kind, 80, 40000)
    assert goes(NORTH, hopped(answer)) == portless(world.send(answer))


@FAMILIES
def test_fragments_for_a_published_port_follow_their_first(world, family):
    world.publish((ANY[family], 8080), (ANNA, 80))
    near = NORTH.address(family)
    asked = bytes(ip(family, near, HOST[family]) / says("udp", 40000, 8080, 100))
    led = bytes(reaches(family, ANNA, near) / says("udp", 40000, 80, 100))[14:]
    at = 20 if family == 4 else 40
    for i in range(3):
        frame = frame_of(piece(ip, family, (near, HOST[family]), asked[at:], i))
        expected = piece(reaches, family, (ANNA, near), led[at:], i, ttl=63)
        assert redirected(expected) == world.from_overlay(frame)


@FAMILIES
def test_a_fragment_for_the_host_that_comes_before_its_first_is_the_stacks(world, family):
    late = piece(ip, family, (NORTH.address(family), HOST[family]), bytes(100), 1)

    assert passed(frame_of(late)) == world.from_overlay(frame_of(late))


REFUSED = {
    "of nobody's source": "spoofed_address",
    "of the world": "spoofed_address",
    "of our own endpoint": "spoofed_address",
    "of our own host": "spoofed_address",
    "to another network": "isolated",
    "a neighbour's question": "neighbour",
    "to all": "multicast",
    "to the world": "not_here",
    "to the loopback": "internal",
    "to a link's address": "link_local",
    "cut off": "truncated",
    "damaged": "malformed",
}


@FAMILIES
@pytest.mark.parametrize("case", list(REFUSED))
def test_what_must_not_come_is_refused(world, family, case):
    packet = burdens(family)[case]
    assert dropped(REFUSED[case]) == world.from_overlay(packet)


@FAMILIES
@pytest.mark.parametrize("kind", PROTOCOLS)
def test_each_of_another_hosts_endpoints_has_tokens_of_its_own(world, family, kind):
    """None pays for all that come by the same device."""
    world.publish((ANY[family], 8080), (ANNA, 80))
    world.spend(TUNNEL)

    def asks(number: int, port: int) -> Outcome:
        near = NORTH.address(family, number)
        packet = ip(family, near, HOST[family]) / says(kind, port, 8080)
        return world.from_overlay(frame_of(packet))

    assert "redirect" == asks(7, 40000).verdict
    world.spend_all()
    assert dropped("flow_limit") == asks(7, 40001)
    assert ["redirect"] * 63 == [asks(n, 40001).verdict for n in range(64) if n != 7]


def answered_remotely(reason: str, packet: Packet, tells: tuple[int, int, int]) -> Outcome:
    """By our host, to north's endpoint."""
    data = bytes(packet)
    found = read(data, 0)
    body = told(data, found, tells, HOST[found.version])[2:]
    return replace(goes(NORTH, body), drops={reason: 1})


@FAMILIES
def test_what_cannot_go_on_is_answered_to_the_other_host(world, family):
    me = ANNA.address(family)
    whole = {"flags": "DF"} if family == 4 else {}
    cases = {
        "ttl_exceeded": (inner(family, NORTH, me, datagram(), ttl=1), EXCEEDED[family]),
        "too_big": (
            inner(family, NORTH, SMALL.address(family), datagram(1310), **whole),
            (*TOO_BIG[family], SMALL.record.mtu),
        ),
        "no_endpoint": (
            inner(family, NORTH, UNKNOWN[family], datagram()),
            UNREACHABLE[family],
        ),
        "no_path": (inner(family, NORTH, LONE.address(family), datagram()), UNREACHABLE[family]),
    }
    for reason, (packet, tells) in cases.items():
        frame = frame_of(packet)
        expected = answered_remotely(reason, frame, tells)
        assert expected == portless(world.from_overlay(frame)), reason


@FAMILIES
def test_what_we_relay_to_a_host_that_is_reached_otherwise_is_carried_anew(world, family):
    world.path(LONE, SOUTH)
    packet = frame_of(inner(family, FAR, LONE.address(family), datagram()))

    assert goes(SOUTH, hopped(packet)) == portless(world.from_overlay(packet))


def test_what_the_receiver_does_not_take_and_may_be_cut_is_the_stacks(world):
    packet = frame_of(inner(4, NORTH, SMALL.v4, datagram(1310)))

    assert passed(packet) == world.from_overlay(packet)


@FAMILIES
def test_what_the_stack_has_cut_of_another_hosts_packet_is_delivered(world, family):
    down = Ether(src=GATEWAY_MAC, dst=GATEWAY_MAC) / inner(
        family, NORTH, ANNA.address(family), datagram()
    )
    delivered = Ether(src=GATEWAY_MAC, dst=ANNA.mac) / down[1]
    found = world.send(down, "to_endpoint", ingress_ifindex=TUNNEL)
    assert Outcome("host", bytes(delivered), {}) == found

    for device in (0, WIRE, BERT.record.ifindex):
        spoofed = world.send(down, "to_endpoint", ingress_ifindex=device)
        assert dropped("spoofed_address") == spoofed


# From the host's stack


def out(family: int, src: str, dst: str, **fields: object) -> Packet:
    """As the stack gives it to the device."""
    return Ether(src=OVERLAY_MAC, dst="00:00:00:00:00:00") / ip(family, src, dst, **fields)


@FAMILIES
@REACHED
def test_what_the_host_sends_is_carried_and_loses_no_hop(world, family, host):
    for target in (host.address(family), host.own(family)):
        frame = out(family, HOST[family], target) / segment()
        assert goes(host, bytes(frame)[14:]) == portless(world.to_overlay(frame))


@FAMILIES
def test_what_the_host_sends_goes_as_it_is_where_it_may(world, family):
    world.meet(NORTH, DIRECT)
    frame = out(family, HOST[family], NORTH.own(family)) / segment()
    expected = Ether(src=WIRE_MAC, dst=NORTH.mac) / frame[1]

    assert Outcome("redirect", bytes(expected), {}) == world.to_overlay(frame)


@FAMILIES
def test_what_does_not_fit_is_given_to_the_device(world, family):
    """With a key of the tunnel, and the MACs of routers."""
    frame = out(family, HOST[family], NORTH.own(family)) / datagram(1400)
    expected = bytes(frame_of(frame[1]))

    assert Outcome("host", expected, {}) == world.to_overlay(frame)


@FAMILIES
def test_an_endpoints_packet_that_the_stack_has_cut_must_have_come_in_by_its_device(world, family):
    frame = out(family, BERT.address(family), NORTH.address(family)) / datagram()
    found = world.to_overlay(frame, ingress_ifindex=BERT.record.ifindex)
    assert goes(NORTH, bytes(frame)[14:]) == portless(found)

    for device in (0, ANNA.record.ifindex, WIRE):
        assert dropped("spoofed_address") == world.to_overlay(frame, ingress_ifindex=device)


@FAMILIES
def test_what_the_stack_must_not_send_to_other_hosts_is_refused(world, family):
    to = NORTH.address(family)
    frames = {
        "spoofed_address": out(family, WORLD[family], to) / datagram(),
        "not_here": out(family, HOST[family], WORLD[family]) / datagram(),
        "multicast": out(family, HOST[family], GROUPS[family]) / datagram(),
        "no_path": out(family, HOST[family], LONE.address(family)) / datagram(),
    }
    for reason, frame in frames.items():
        assert dropped(reason) == world.to_overlay(frame)
    carl = out(family, CARL.address(family), to) / datagram()
    refused = world.to_overlay(carl, ingress_ifindex=CARL.record.ifindex)
    assert dropped("isolated") == refused
