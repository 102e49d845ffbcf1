"""To other hosts: whole frames, for every verdict."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from scapy.layers.inet import UDP
from scapy.layers.inet6 import IPv6ExtHdrFragment
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from beyond import (
    ADDED,
    DIRECT,
    EXCEEDED,
    FAMILIES,
    FAR,
    GROUPS,
    LONE,
    NORTH,
    PAYLOADS,
    REACHED,
    SOUTH,
    TOO_BIG,
    UNREACHABLE,
    Beyond,
    answered,
    frame_of,
    goes,
    hopped,
    is_question,
    portless,
    sends,
    unknown,
)
from cast import (
    ANNA,
    ANNA2,
    BERT,
    CARL,
    HOST,
    SHY,
    WORLD,
    Outcome,
    datagram,
    dropped,
    ip,
    passed,
    segment,
    sent,
)
from edge import PUBLIC, UPLINK_MTU, WIRE, WIRE_MAC
from seaway.bpf import abi
from seaway.names import OVERLAY_MAC
from stage import underlay
from waiting import wait
from ways import look_anew

# From an endpoint


@FAMILIES
@REACHED
@PAYLOADS
def test_a_packet_to_another_hosts_endpoint_is_carried_there(beyond, family, host, payload):
    frame = sent(family, host.address(family)) / payload

    assert goes(host, hopped(frame)) == portless(beyond.send(frame))


@FAMILIES
def test_hosts_are_reached_from_every_network(beyond, family):
    for sender in (ANNA, ANNA2):
        frame = sent(family, NORTH.own(family), sender) / segment()
        frame.src = ANNA.mac
        assert goes(NORTH, hopped(frame)) == portless(beyond.send(frame))


@FAMILIES
def test_all_packets_of_a_flow_have_one_source_port_and_others_another(beyond, family):
    def port(**fields: int) -> bytes:
        frame = sent(family, NORTH.address(family)) / UDP(**fields) / Raw(b"x")
        return beyond.send(frame).frame[34:36]

    flows = {port(sport=n, dport=7) for n in range(1, 30)}
    assert port(sport=1, dport=7) == port(sport=1, dport=7)
    assert 25 < len(flows)


@FAMILIES
@pytest.mark.parametrize(("inner", "outer"), [(0, 0), (1, 1), (2, 2), (3, 2)])
def test_what_meets_congestion_outside_can_be_told_inside(beyond, family, inner, outer):
    """RFC 6040: the carrier has the bits of what it carries, but for a congestion met before."""
    fields = {"tos": inner} if family == 4 else {"tc": inner}
    frame = sent(family, NORTH.address(family), **fields) / segment()

    assert goes(NORTH, hopped(frame), ecn=outer) == portless(beyond.send(frame))


@FAMILIES
def test_networks_are_closed_to_each_other_across_hosts(beyond, family):
    beyond.meet(NORTH, network=3)
    frame = sent(family, Beyond(2, "north", 3).address(family)) / datagram()
    assert dropped("isolated") == beyond.send(frame)

    beyond.connect(1, 3)
    assert "redirect" == beyond.send(frame).verdict


@FAMILIES
def test_open_networks_reach_each_other_across_hosts(beyond, family):
    """anna's second interface is in the same network, but a third one is in another open one."""
    beyond.enter(SHY, flags=abi.ENDPOINT_OPEN)
    frame = sent(family, SOUTH.address(family), src=SHY.address(family)) / datagram()
    assert goes(SOUTH, hopped(frame)) == portless(beyond.send(frame))


@FAMILIES
def test_who_must_not_ask_hosts_asks_no_other_host_either(beyond, family):
    """By whichever of its addresses: in the cluster, or those by which hosts reach each other."""
    for target in (NORTH.own(family), NORTH.underlay(family), LONE.underlay(family)):
        frame = sent(family, target, src=SHY.address(family)) / segment()
        assert dropped("host_closed") == beyond.send(frame)

    outside = sent(family, WORLD[family], src=SHY.address(family)) / segment()
    assert passed(outside) == beyond.send(outside)


@FAMILIES
def test_who_must_not_ask_hosts_answers_them(beyond, family):
    """North's host asks; the question is noted where it arrives."""
    beyond.enter(ANNA, flags=abi.ENDPOINT_HOST_CLOSED)
    asks = ip(family, NORTH.own(family), ANNA.address(family)) / UDP(sport=9, dport=7) / Raw(b"?")
    answer = sent(family, NORTH.own(family)) / UDP(sport=7, dport=9) / Raw(b"!")
    assert dropped("host_closed") == beyond.send(answer)

    question = sends(NORTH, frame_of(asks))
    assert passed(question) == beyond.from_wire(question)  # no short cut: from_overlay notes it
    assert "redirect" == beyond.from_overlay(frame_of(asks)).verdict
    assert goes(NORTH, hopped(answer)) == portless(beyond.send(answer))


@FAMILIES
def test_a_packet_at_the_end_of_its_ttl_is_answered(beyond, family):
    frame = sent(family, NORTH.address(family), ttl=1) / datagram()

    assert answered("ttl_exceeded", frame, EXCEEDED[family]) == beyond.send(frame)


@FAMILIES
@REACHED
def test_a_packet_that_the_way_does_not_take_is_answered_with_what_it_takes(beyond, family, host):
    room = UPLINK_MTU - ADDED[host.family]
    size = room - (28 if family == 4 else 48)
    fields = {"flags": "DF"} if family == 4 else {}
    fits = sent(family, host.address(family), **fields) / datagram(size)
    assert goes(host, hopped(fits)) == portless(beyond.send(fits))

    frame = sent(family, host.address(family), **fields) / datagram(size + 1)
    assert answered("too_big", frame, (*TOO_BIG[family], room)) == beyond.send(frame)


def test_a_packet_that_the_way_does_not_take_and_that_may_be_cut_is_the_stacks(beyond):
    frame = sent(4, NORTH.address(4)) / datagram(UPLINK_MTU)

    assert passed(frame) == beyond.send(frame)


@FAMILIES
def test_a_train_counts_by_its_pieces(beyond, family):
    """One that no kernel has put together is none of a kind that we may encapsulate."""
    fields, room = {"flags": "DF"} if family == 4 else {}, UPLINK_MTU - ADDED[4]
    frame = sent(family, NORTH.address(family), **fields) / segment(2000)
    size = room - (40 if family == 4 else 60)

    assert passed(frame) == beyond.send(frame, gso_size=size, gso_segments=2)
    refused = beyond.send(frame, gso_size=size + 1, gso_segments=2)
    assert {"too_big": 1} == refused.drops


@FAMILIES
def test_fragments_go_after_their_first(beyond, family):
    to = NORTH.address(family)
    if family == 4:
        first = sent(4, to, id=5, flags="MF") / datagram(64)
        later = sent(4, to, id=5, frag=9, proto=17) / Raw(b"k" * 40)
    else:
        first = sent(6, to) / IPv6ExtHdrFragment(id=5, m=1) / datagram(64)
        later = sent(6, to) / IPv6ExtHdrFragment(id=5, offset=9, nh=17) / Raw(b"k" * 40)
    assert dropped("fragment") == beyond.send(later)
    for frame in (first, later):
        assert goes(NORTH, hopped(frame)) == portless(beyond.send(frame))


def test_behind_a_first_fragment_that_the_stack_is_to_cut_it_gets_the_others_too(beyond):
    to = NORTH.address(4)
    first = sent(4, to, id=6, flags="MF") / datagram(UPLINK_MTU - 28)
    later = sent(4, to, id=6, frag=180, proto=17) / Raw(b"k" * 40)
    for frame in (first, later):
        assert passed(frame) == beyond.send(frame)


@FAMILIES
def test_a_host_behind_another_is_reached_by_that_and_by_the_backup_when_its_link_is_dead(
    beyond, family
):
    frame = sent(family, FAR.address(family)) / datagram()
    assert goes(NORTH, hopped(frame)) == portless(beyond.send(frame))

    beyond.bury(NORTH)
    assert goes(SOUTH, hopped(frame)) == portless(beyond.send(frame))
    beyond.bury(SOUTH)
    assert answered("no_path", frame, UNREACHABLE[family]) == beyond.send(frame)


FLOWS = range(60)


@FAMILIES
def test_flows_are_shared_over_next_hops_that_are_as_near(beyond, family):
    """Each stays with its own; who went by one that is dead goes by another."""
    nexts = {NORTH, SOUTH, LONE}

    def went(flow: int) -> Beyond:
        frame = sent(family, FAR.address(family)) / UDP(sport=1000 + flow, dport=7)
        found = portless(beyond.send(frame))
        return next(host for host in nexts if found == goes(host, hopped(frame)))

    beyond.revive(LONE)
    beyond.path(FAR, NORTH, SOUTH, LONE)
    before = [went(flow) for flow in FLOWS]
    assert min(before.count(host) for host in nexts) > len(FLOWS) // 6
    assert before == [went(flow) for flow in FLOWS]

    for dead, instead in ((SOUTH, NORTH), (LONE, NORTH), (NORTH, SOUTH)):
        beyond.bury(dead)
        expected = [instead if host is dead else host for host in before]
        assert expected == [went(flow) for flow in FLOWS]
        beyond.revive(dead)

    for dead in (NORTH, SOUTH):
        beyond.bury(dead)
    assert [LONE] * len(FLOWS) == [went(flow) for flow in FLOWS]


@FAMILIES
@pytest.mark.parametrize("change", [(0, 0, 0, 1), (0, 0, 1, 0), (1, 0, 0, 0)])
def test_each_host_shares_otherwise(beyond, family, change):
    """Else a relay, which gets the flows of one share, would give all of them to one next hop."""
    beyond.revive(LONE)
    beyond.path(FAR, NORTH, LONE)
    own = ip_address(PUBLIC[4]).packed
    other = ip_address(bytes(a ^ b for a, b in zip(own, change, strict=True)))

    def north(at: object) -> set[int]:
        beyond.place.run(beyond.targets["underlays"].put, {0: underlay([at])})
        look_anew()
        flows = {
            flow: sent(family, FAR.address(family)) / UDP(sport=1000 + flow) for flow in range(200)
        }
        return {f for f, frame in flows.items() if Ether(beyond.send(frame).frame).dst == NORTH.mac}

    here, there = north(ip_address(PUBLIC[4])), north(other)
    for flows in (here, set(range(200)) - here):
        assert len(flows) // 4 < len(flows & there) < 3 * len(flows) // 4


@FAMILIES
def test_a_host_that_no_path_leads_to_is_unreachable(beyond, family):
    frame = sent(family, LONE.address(family)) / datagram()

    assert answered("no_path", frame, UNREACHABLE[family]) == beyond.send(frame)


@FAMILIES
def test_an_address_of_a_block_whose_host_is_gone_is_unreachable(beyond, family):
    beyond.forget(NORTH)
    frame = sent(family, NORTH.address(family)) / datagram()

    assert answered("no_endpoint", frame, UNREACHABLE[family]) == beyond.send(frame)


@FAMILIES
@REACHED
def test_a_host_on_our_link_gets_packets_as_they_are_where_they_may_go_so(beyond, family, host):
    beyond.meet(host, DIRECT)
    frame = sent(family, host.address(family)) / datagram()
    direct = Ether(src=WIRE_MAC, dst=host.mac) / hopped(frame)

    assert Outcome("redirect", bytes(direct), {}) == beyond.send(frame)


@FAMILIES
def test_a_host_behind_another_gets_none_as_it_is(beyond, family):
    for host in (NORTH, FAR):
        beyond.meet(host, DIRECT)
    frame = sent(family, FAR.address(family)) / datagram()

    assert goes(NORTH, hopped(frame)) == portless(beyond.send(frame))


@FAMILIES
def test_where_nothing_may_be_encapsulated_a_host_behind_another_is_unreachable(beyond, family):
    for host in (NORTH, FAR):
        beyond.meet(host, abi.NEXT_HOP_DIRECT)
    frame = sent(family, FAR.address(family)) / datagram()

    assert answered("no_path", frame, UNREACHABLE[family]) == beyond.send(frame)


@FAMILIES
def test_a_packet_as_it_is_may_be_as_long_as_the_wire_takes(beyond, family):
    beyond.meet(NORTH, DIRECT)
    size = UPLINK_MTU - (28 if family == 4 else 48)
    fields = {"flags": "DF"} if family == 4 else {}
    fits = sent(family, NORTH.address(family), **fields) / datagram(size)
    frame = sent(family, NORTH.address(family), **fields) / datagram(size + 1)

    assert "redirect" == beyond.send(fits).verdict
    assert answered("too_big", frame, (*TOO_BIG[family], UPLINK_MTU)) == beyond.send(frame)


@FAMILIES
@REACHED
def test_a_neighbour_that_is_not_known_yet_is_asked_for_by_the_kernel(beyond, family, host):
    with unknown(beyond, host):
        frame = sent(family, host.address(family)) / datagram()
        found = portless(beyond.send(frame))
        assert goes(host, hopped(frame)).frame[14:] == found.frame[14:]


@FAMILIES
@REACHED
def test_the_kernel_asks_for_a_neighbour_also_where_nothing_may_be_encapsulated(
    beyond, family, host
):
    """Where it may, that goes first: its answer tells the MAC. For what is of another
    family than the underlay it does not ask, but for what carries nothing.
    """
    frame = sent(family, host.address(family)) / datagram()
    with unknown(beyond, host):
        beyond.meet(host, DIRECT)
        assert goes(host, hopped(frame)).frame[14:] == portless(beyond.send(frame)).frame[14:]
        beyond.meet(host, abi.NEXT_HOP_DIRECT)
        if family == host.family:
            found = beyond.send(frame)
            assert ("redirect", bytes(hopped(frame))) == (found.verdict, found.frame[14:])
            return
        lost: list[Outcome] = []
        for asks in (True, False, True):  # once in a while
            assert wait(
                lambda asks=asks: (
                    lost.append(beyond.send(frame)) or is_question(lost[-1], host) == asks
                )
            )
        assert all({"no_mac": 1} == found.drops for found in lost)


# From the host's stack


def out(family: int, src: str, dst: str, **fields: object) -> Packet:
    """As the stack gives it to the device."""
    return Ether(src=OVERLAY_MAC, dst="00:00:00:00:00:00") / ip(family, src, dst, **fields)


@FAMILIES
@REACHED
def test_what_the_host_sends_is_carried_and_loses_no_hop(beyond, family, host):
    for target in (host.address(family), host.own(family)):
        frame = out(family, HOST[family], target) / segment()
        assert goes(host, bytes(frame)[14:]) == portless(beyond.to_overlay(frame))


@FAMILIES
def test_what_the_host_sends_goes_as_it_is_where_it_may(beyond, family):
    beyond.meet(NORTH, DIRECT)
    frame = out(family, HOST[family], NORTH.own(family)) / segment()
    expected = Ether(src=WIRE_MAC, dst=NORTH.mac) / frame[1]

    assert Outcome("redirect", bytes(expected), {}) == beyond.to_overlay(frame)


@FAMILIES
def test_what_does_not_fit_is_given_to_the_device(beyond, family):
    """With a key of the tunnel, and the MACs of routers."""
    frame = out(family, HOST[family], NORTH.own(family)) / datagram(1400)
    expected = bytes(frame_of(frame[1]))

    assert Outcome("host", expected, {}) == beyond.to_overlay(frame)


@FAMILIES
def test_an_endpoints_packet_that_the_stack_has_cut_must_have_come_in_by_its_device(beyond, family):
    frame = out(family, BERT.address(family), NORTH.address(family)) / datagram()
    found = beyond.to_overlay(frame, ingress_ifindex=BERT.record.ifindex)
    assert goes(NORTH, bytes(frame)[14:]) == portless(found)

    for device in (0, ANNA.record.ifindex, WIRE):
        assert dropped("spoofed_address") == beyond.to_overlay(frame, ingress_ifindex=device)


@FAMILIES
def test_what_the_stack_must_not_send_to_other_hosts_is_refused(beyond, family):
    to = NORTH.address(family)
    frames = {
        "spoofed_address": out(family, WORLD[family], to) / datagram(),
        "not_here": out(family, HOST[family], WORLD[family]) / datagram(),
        "multicast": out(family, HOST[family], GROUPS[family]) / datagram(),
        "no_path": out(family, HOST[family], LONE.address(family)) / datagram(),
    }
    for reason, frame in frames.items():
        assert dropped(reason) == beyond.to_overlay(frame)
    carl = out(family, CARL.address(family), to) / datagram()
    refused = beyond.to_overlay(carl, ingress_ifindex=CARL.record.ifindex)
    assert dropped("isolated") == refused
