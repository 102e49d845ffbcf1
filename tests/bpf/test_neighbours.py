"""ARP and neighbour discovery: the gateway answers for itself and for our subnets."""

from __future__ import annotations

import pytest
from scapy.layers.inet6 import (
    ICMPv6MLReport2,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_Redirect,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from cast import ANNA, ANNA2, BERT, CARL, HOST, UNKNOWN, WORLD, Outcome, dropped
from seaway.names import GATEWAY4, GATEWAY6, GATEWAY_MAC

LINK_LOCAL = "fe80::ff:fe00:1"
GATEWAY = str(GATEWAY6)


def arp(target: str, sender: str = ANNA.v4, **fields: object) -> Packet:
    header = ARP(op=1, hwsrc=ANNA.mac, psrc=sender, pdst=target)
    for name, value in fields.items():
        setattr(header, name, value)
    return Ether(src=ANNA.mac, dst="ff:ff:ff:ff:ff:ff") / header


def arp_reply(target: str, sender: str = ANNA.v4) -> Outcome:
    header = ARP(op=2, hwsrc=GATEWAY_MAC, psrc=target, hwdst=ANNA.mac, pdst=sender)
    return Outcome("redirect", bytes(Ether(src=GATEWAY_MAC, dst=ANNA.mac) / header), {})


@pytest.mark.parametrize("target", [str(GATEWAY4), BERT.v4, CARL.v4, UNKNOWN[4], HOST[4]])
def test_the_gateway_answers_for_itself_and_every_address_of_ours(world, target):
    assert arp_reply(target) == world.send(arp(target))


def test_a_question_to_the_gateway_alone_is_answered_too(world):
    question = arp(str(GATEWAY4))
    question.dst = GATEWAY_MAC

    assert arp_reply(str(GATEWAY4)) == world.send(question)


def test_a_second_address_of_the_container_may_ask(world):
    assert arp_reply(str(GATEWAY4), ANNA2.v4) == world.send(arp(str(GATEWAY4), ANNA2.v4))


@pytest.mark.parametrize("target", [WORLD[4], "169.254.169.254", ANNA2.v4])
def test_other_addresses_and_the_askers_own_are_not_answered_for(world, target):
    assert dropped("neighbour") == world.send(arp(target))


def test_probes_and_announcements_are_never_answered(world):
    assert dropped("address_probe") == world.send(arp(ANNA.v4, "0.0.0.0"))
    assert dropped("address_probe") == world.send(arp(UNKNOWN[4], "0.0.0.0"))
    assert dropped("address_probe") == world.send(arp(ANNA.v4, ANNA.v4))


def test_only_the_asker_itself_is_answered(world):
    gateway = str(GATEWAY4)
    foreign = arp(gateway)
    foreign.src = BERT.mac

    assert dropped("spoofed_address") == world.send(arp(gateway, BERT.v4))
    assert dropped("spoofed_address") == world.send(arp(gateway, WORLD[4]))
    assert dropped("spoofed_mac") == world.send(arp(gateway, hwsrc=BERT.mac))
    assert dropped("spoofed_mac") == world.send(foreign)


def test_arp_replies_and_other_kinds_of_arp_are_refused(world):
    gateway = str(GATEWAY4)
    assert dropped("neighbour") == world.send(arp(gateway, op=2))
    for fields in ({"hwtype": 6}, {"ptype": 0x86DD}, {"hwlen": 8}, {"plen": 16}):
        frame = bytearray(bytes(arp(gateway)))
        at, value = {
            "hwtype": (14, b"\0\6"),
            "ptype": (16, b"\x86\xdd"),
            "hwlen": (18, b"\x08"),
            "plen": (19, b"\x10"),
        }[next(iter(fields))]
        frame[at : at + len(value)] = value
        assert dropped("malformed") == world.send(bytes(frame))
    assert dropped("truncated") == world.send(bytes(arp(gateway))[:40])


def test_without_an_endpoint_nobody_is_answered(world):
    world.place.run(world.targets["interfaces"].delete, {ANNA.record.ifindex})

    assert dropped("unknown_device") == world.send(arp(str(GATEWAY4)))
    assert dropped("unknown_device") == world.send(solicitation(GATEWAY))


def solicitation(target: str, sender: str = ANNA.v6, **fields: object) -> Packet:
    header = IPv6(src=sender, dst="ff02::1:ff00:1", hlim=255)
    for name, value in fields.items():
        setattr(header, name, value)
    frame = Ether(src=ANNA.mac, dst="33:33:ff:00:00:01") / header / ICMPv6ND_NS(tgt=target)
    return frame if sender == "::" else frame / ICMPv6NDOptSrcLLAddr(lladdr=ANNA.mac)


def advertisement(target: str, sender: str = ANNA.v6) -> Outcome:
    answer = (
        Ether(src=GATEWAY_MAC, dst=ANNA.mac)
        / IPv6(src=target, dst=sender, hlim=255)
        / ICMPv6ND_NA(tgt=target, R=int(target == GATEWAY), S=1, O=1)
        / ICMPv6NDOptDstLLAddr(lladdr=GATEWAY_MAC)
    )
    return Outcome("redirect", bytes(answer), {})


@pytest.mark.parametrize("sender", [ANNA.v6, LINK_LOCAL, ANNA2.v6])
@pytest.mark.parametrize("target", [GATEWAY, BERT.v6, CARL.v6, UNKNOWN[6], HOST[6]])
def test_a_solicitation_is_answered_for_the_gateway_and_every_address_of_ours(
    world, target, sender
):
    assert advertisement(target, sender) == world.send(solicitation(target, sender))


def test_a_solicitation_without_its_option_is_answered(world):
    frame = Ether(src=ANNA.mac, dst=GATEWAY_MAC) / IPv6(src=ANNA.v6, dst=GATEWAY, hlim=255)

    assert advertisement(GATEWAY) == world.send(frame / ICMPv6ND_NS(tgt=GATEWAY))


@pytest.mark.parametrize("target", [ANNA.v6, GATEWAY, UNKNOWN[6], LINK_LOCAL])
def test_duplicate_address_detection_finds_no_duplicate(world, target):
    assert dropped("address_probe") == world.send(solicitation(target, "::"))


@pytest.mark.parametrize("target", [WORLD[6], "fe80::2", ANNA2.v6])
def test_other_addresses_are_not_answered_for(world, target):
    assert dropped("neighbour") == world.send(solicitation(target))


def test_a_solicitation_in_anothers_name_is_refused(world):
    frame = solicitation(GATEWAY)
    frame.src = BERT.mac

    assert dropped("spoofed_mac") == world.send(frame)
    assert dropped("spoofed_address") == world.send(solicitation(GATEWAY, BERT.v6))


def test_a_solicitation_that_came_over_a_router_is_malformed(world):
    assert dropped("malformed") == world.send(solicitation(GATEWAY, hlim=254))


@pytest.mark.parametrize("message", [ICMPv6ND_RS, ICMPv6ND_NA, ICMPv6ND_Redirect])
@pytest.mark.parametrize("dst", ["ff02::2", GATEWAY, BERT.v6])
def test_other_discovery_is_for_this_link_and_ends_here(world, message, dst):
    for source in (LINK_LOCAL, ANNA.v6):
        frame = Ether(src=ANNA.mac, dst=GATEWAY_MAC) / IPv6(src=source, dst=dst, hlim=255)
        assert dropped("neighbour") == world.send(frame / message())


@pytest.mark.parametrize("source", ["::", LINK_LOCAL])
def test_multicast_listener_reports_end_here(world, source):
    frame = Ether(src=ANNA.mac, dst="33:33:00:00:00:16") / IPv6(src=source, dst="ff02::16", hlim=1)

    assert dropped("multicast") == world.send(frame / ICMPv6MLReport2())
