"""From other hosts by the wire: whole frames, which take the short cut or go on as they came."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, UDP, IPOption
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, PadN
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from beyond import (
    ADDED,
    DIRECT,
    FAMILIES,
    FAR,
    LONE,
    NORTH,
    PAYLOADS,
    REACHED,
    SOUTH,
    UNREACHABLE,
    Beyond,
    answered,
    burdens,
    frame_of,
    goes,
    hopped,
    inner,
    is_question,
    portless,
    sends,
    unknown,
)
from cast import ANNA, HOST, Outcome, datagram, dropped, forwarded, passed, segment, sent
from edge import OTHER, ROUTER_MAC, UPLINK_MTU, WIRE_MAC
from seaway.names import OVERLAY_ID
from waiting import wait
from ways import look_anew

# By the wire: the short cut


@FAMILIES
@pytest.mark.parametrize("outer", [4, 6])
@PAYLOADS
def test_what_a_host_sends_for_an_endpoint_of_ours_arrives(beyond, family, outer, payload):
    packet = frame_of(inner(family, NORTH, ANNA.address(family), payload))
    found = beyond.from_wire(sends(NORTH, packet, outer))

    assert forwarded(packet, ANNA) == found


@FAMILIES
def test_a_member_that_relays_may_send_for_others(beyond, family):
    packet = frame_of(inner(family, FAR, ANNA.address(family), datagram()))

    assert forwarded(packet, ANNA) == beyond.from_wire(sends(NORTH, packet))


@FAMILIES
def test_a_host_that_is_alone_knows_nothing_of_what_hosts_send_each_other(beyond, family):
    """It has forgotten that it has others beside it, and not yet who they were."""
    frame = sends(NORTH, frame_of(inner(family, NORTH, ANNA.address(family), datagram())))
    answer = sent(family, NORTH.address(family)) / datagram()
    beyond.be_alone()

    assert passed(frame) == beyond.from_wire(frame)
    assert answered("no_endpoint", answer, UNREACHABLE[family]) == beyond.send(answer)


@FAMILIES
def test_a_host_may_send_what_is_its_own_though_no_link_is_held_with_it(beyond, family):
    packet = frame_of(inner(family, LONE, ANNA.address(family), datagram()))

    assert forwarded(packet, ANNA) == beyond.from_wire(sends(LONE, packet))


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
def test_of_what_carries_otherwise_nothing_is_said_at_the_wire(beyond, family, case):
    """It goes on as it came, to the device, and that to from_overlay."""
    good = frame_of(inner(family, NORTH, ANNA.address(family), datagram()))
    frame = carriers(good)[case]

    assert passed(frame) == beyond.from_wire(frame)


@FAMILIES
@pytest.mark.parametrize("case", list(burdens(4)))
def test_of_what_is_not_plain_nothing_is_said_at_the_wire(beyond, family, case):
    frame = sends(NORTH, burdens(family)[case])

    assert passed(frame) == beyond.from_wire(frame)


@FAMILIES
def test_over_a_dead_link_nobody_relays(beyond, family):
    frame = sends(NORTH, frame_of(inner(family, FAR, ANNA.address(family), datagram())))
    assert "redirect" == beyond.from_wire(frame).verdict

    beyond.bury(NORTH)
    assert passed(frame) == beyond.from_wire(frame)


@FAMILIES
def test_who_follows_a_train_in_its_flow_does_not_overtake_it(beyond, family):
    """Known on the CPU that had the train, for 8 ms and more: a slow machine may need several."""
    packet = frame_of(inner(family, NORTH, ANNA.address(family), datagram()))
    train, after = sends(NORTH, packet, port=0xC001), sends(NORTH, packet, port=0xC001)
    other = sends(NORTH, packet, port=0xC002)

    def held() -> bool:
        assert passed(train) == beyond.from_wire(train, gso_size=500, gso_segments=2)
        return passed(after) == beyond.from_wire(after)

    assert wait(held)
    assert forwarded(packet, ANNA) == beyond.from_wire(other)
    assert wait(lambda: forwarded(packet, ANNA) == beyond.from_wire(after))


@FAMILIES
def test_what_we_relay_is_carried_on_as_it_is(beyond, family):
    """From south, over IPv6, it comes to the host that is reached over IPv4 by the device alone."""
    packet = frame_of(inner(family, FAR, LONE.address(family), datagram()))
    relayed = sends(NORTH, packet)
    beyond.path(LONE, NORTH)
    found = beyond.from_wire(relayed)
    assert goes(NORTH, hopped(packet)) == portless(found)
    assert relayed.sport == int.from_bytes(found.frame[34:36])

    other = sends(SOUTH, packet)
    assert passed(other) == beyond.from_wire(other)


@FAMILIES
def test_of_a_carriers_class_of_traffic_we_relay_the_congestion_bits_alone(beyond, family):
    """As we write it ourselves: how its network treated it is that network's own."""
    for via, class_of_traffic in ((NORTH, {"tos": 0xBA}), (SOUTH, {"tc": 0xBA})):
        packet = frame_of(inner(family, FAR, LONE.address(family), datagram()))
        beyond.path(LONE, via)
        frame = sends(via, packet, head=class_of_traffic)
        assert goes(via, hopped(packet), ecn=2) == portless(beyond.from_wire(frame))


@FAMILIES
def test_what_we_relay_is_shared_by_flow_as_well(beyond, family):
    """As it is known by what is carried: whatever carries it, and however it comes."""
    flows = range(60)
    for host in (LONE, FAR):
        beyond.revive(host)
    beyond.path(FAR, LONE, FAR)

    def went(flow: int, more: int = 0) -> Beyond:
        words = UDP(sport=1000 + flow, dport=7) / b"x"
        packet = frame_of(inner(family, NORTH, FAR.address(family), words))
        frame = sends(NORTH, packet, port=0xC000 + flow + more)
        found = portless(beyond.from_wire(frame))
        return next(host for host in (LONE, FAR) if found == goes(host, hopped(packet)))

    before = [went(flow) for flow in flows]
    assert min(before.count(LONE), before.count(FAR)) > len(flows) // 5
    assert before == [went(flow, 100) for flow in flows]


@FAMILIES
def test_what_we_relay_may_be_a_train(beyond, family):
    packet = frame_of(inner(family, FAR, LONE.address(family), segment(2000)))
    beyond.path(LONE, NORTH)
    size = UPLINK_MTU - ADDED[4] - (40 if family == 4 else 60)
    frame = sends(NORTH, packet, port=0xC003)  # in no other test's flow

    assert "redirect" == beyond.from_wire(frame, gso_size=size, gso_segments=2).verdict
    assert passed(frame) == beyond.from_wire(frame, gso_size=size + 1, gso_segments=2)


# By the wire, as it is


def direct(host: Beyond, packet: Packet) -> Packet:
    return Ether(src=host.mac, dst=WIRE_MAC) / packet


@FAMILIES
@REACHED
def test_what_comes_as_it_is_arrives_where_it_may_come_so(beyond, family, host):
    frame = direct(host, inner(family, host, ANNA.address(family), datagram()))
    assert dropped("spoofed_address") == beyond.from_wire(frame)

    beyond.meet(host, DIRECT)
    assert forwarded(frame, ANNA) == beyond.from_wire(frame)


@FAMILIES
def test_from_anybody_else_on_the_link_it_is_spoofed(beyond, family):
    for host in (NORTH, SOUTH):
        beyond.meet(host, DIRECT)
    packet = inner(family, NORTH, ANNA.address(family), datagram())
    for mac in (ROUTER_MAC, SOUTH.mac, "02:99:00:00:00:01"):
        frame = Ether(src=mac, dst=WIRE_MAC) / packet
        assert dropped("spoofed_address") == beyond.from_wire(frame)


@FAMILIES
@REACHED
def test_of_a_host_whose_mac_is_forgotten_all_is_refused_but_the_kernel_asks(beyond, family, host):
    """Once in a while, whoever sends."""
    beyond.meet(host, DIRECT)
    packet = inner(family, host, ANNA.address(family), segment())
    with unknown(beyond, host):
        for mac in (host.mac, ROUTER_MAC):
            frame = Ether(src=mac, dst=WIRE_MAC) / packet
            refused: list[Outcome] = []
            for asks in (True, False, True):
                assert wait(
                    lambda frame=frame, refused=refused, asks=asks: (
                        refused.append(beyond.from_wire(frame))
                        or is_question(refused[-1], host) == asks
                    )
                )
            assert all({"spoofed_address": 1} == found.drops for found in refused)
    look_anew()
    assert forwarded(direct(host, packet), ANNA) == beyond.from_wire(direct(host, packet))
    assert dropped("spoofed_address") == beyond.from_wire(frame)


@FAMILIES
def test_what_comes_as_it_is_and_is_not_plain_goes_into_the_overlays_device(beyond, family):
    beyond.meet(NORTH, DIRECT)
    for target, ttl in ((HOST[family], 64), (ANNA.address(family), 1)):
        packet = inner(family, NORTH, target, datagram(), ttl=ttl)
        expected = Outcome("redirect", bytes(frame_of(packet)), {})
        assert expected == beyond.from_wire(direct(NORTH, packet))
