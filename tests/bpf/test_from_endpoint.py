"""What a container sends: to whom it goes, and whom it must not reach or claim to be."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw

from cast import (
    ANNA,
    ANNA2,
    BERT,
    CARL,
    HOST,
    OLGA,
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
from seaway.bpf import abi
from seaway.names import GATEWAY_MAC, RESOLVER4
from stage import RESOLVER6
from waiting import wait

FAMILIES = pytest.mark.parametrize("family", [4, 6])
PAYLOADS = pytest.mark.parametrize("payload", [datagram(), segment(), Raw(b"")], ids=repr)


@FAMILIES
@PAYLOADS
def test_a_packet_to_an_endpoint_of_the_network_takes_one_hop(world, family, payload):
    frame = sent(family, BERT.address(family)) / payload

    assert forwarded(frame, BERT) == world.send(frame)


@FAMILIES
def test_a_checksum_at_its_edge_stays_right_when_the_ttl_falls(world, family):
    """Ttl and id are chosen so that the sum carries over 0xffff."""
    for number in range(0x10000 - 300, 0x10000 + 300, 7):
        fields = {"id": number & 0xFFFF} if family == 4 else {"fl": number}
        frame = sent(family, BERT.address(family), ttl=number % 250 + 2, **fields) / datagram()
        assert forwarded(frame, BERT) == world.send(frame)


@FAMILIES
def test_a_packet_to_oneself_comes_back(world, family):
    frame = sent(family, ANNA.address(family)) / datagram()

    assert forwarded(frame, ANNA) == world.send(frame)


@FAMILIES
def test_a_foreign_source_is_spoofed(world, family):
    for source in (BERT.address(family), WORLD[family], UNKNOWN[family], HOST[family]):
        frame = sent(family, BERT.address(family), src=source) / datagram()
        assert dropped("spoofed_address") == world.send(frame)


@FAMILIES
def test_a_foreign_mac_is_spoofed(world, family):
    frame = sent(family, BERT.address(family)) / datagram()
    frame.src = BERT.mac

    assert dropped("spoofed_mac") == world.send(frame)


@FAMILIES
def test_any_address_of_the_same_container_passes_with_the_mac_of_the_interface(world, family):
    frame = sent(family, BERT.address(family), src=ANNA2.address(family)) / datagram()
    world.connect(1, 2)

    assert forwarded(frame, BERT) == world.send(frame)
    frame.src = ANNA2.mac
    assert dropped("spoofed_mac") == world.send(frame)


@FAMILIES
def test_another_address_of_the_container_brings_its_own_network(world, family):
    frame = sent(family, BERT.address(family), src=ANNA2.address(family)) / datagram()

    assert dropped("isolated") == world.send(frame)


@FAMILIES
def test_a_device_without_an_endpoint_sends_nothing(world, family):
    world.place.run(world.targets["interfaces"].delete, {ANNA.record.ifindex})
    frame = sent(family, BERT.address(family), src=ANNA2.address(family)) / datagram()

    assert dropped("unknown_device") == world.send(frame)


@FAMILIES
def test_a_frame_for_another_machine_is_refused(world, family):
    frame = sent(family, BERT.address(family)) / datagram()
    for mac, reason in (
        (BERT.mac, "other_host"),
        ("ff:ff:ff:ff:ff:ff", "multicast"),
        ("01:00:5e:00:00:01", "multicast"),
    ):
        frame.dst = mac
        assert dropped(reason) == world.send(frame)


@FAMILIES
def test_networks_are_closed_to_each_other(world, family):
    for other in (CARL, OLGA):
        frame = sent(family, other.address(family)) / datagram()
        assert dropped("isolated") == world.send(frame)


@FAMILIES
def test_two_open_networks_reach_each_other(world, family):
    world.enter(ANNA, flags=abi.ENDPOINT_OPEN)
    frame = sent(family, OLGA.address(family)) / datagram()
    closed = sent(family, CARL.address(family)) / datagram()

    assert forwarded(frame, OLGA) == world.send(frame)
    assert dropped("isolated") == world.send(closed)


@FAMILIES
def test_connected_networks_reach_each_other(world, family):
    world.connect(1, 3)
    frame = sent(family, CARL.address(family)) / datagram()
    other = sent(family, OLGA.address(family)) / datagram()

    assert forwarded(frame, CARL) == world.send(frame)
    assert dropped("isolated") == world.send(other)


@FAMILIES
def test_the_host_is_reached_unless_it_is_closed(world, family):
    frame = sent(family, HOST[family]) / segment()

    assert passed(frame) == world.send(frame)
    world.enter(ANNA, flags=abi.ENDPOINT_HOST_CLOSED)
    assert dropped("host_closed") == world.send(frame)


@FAMILIES
def test_the_world_is_reached_through_the_stack_of_the_host(world, family):
    frame = sent(family, WORLD[family]) / segment()

    assert passed(frame) == world.send(frame)


@FAMILIES
def test_a_closed_host_with_no_route_to_the_world_forwards_nothing(world, family):
    """An address that is not known to be the host's may be one that it got a moment ago."""
    world.enter(ANNA, flags=abi.ENDPOINT_HOST_CLOSED)
    frame = sent(family, WORLD[family]) / segment()

    assert dropped("host_closed") == world.send(frame)


@pytest.fixture
def routes(world):
    """The host forwards to the world, and has 198.51.100.1 and 2001:db8:1::1 itself."""
    world.place.shell(
        "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1; "
        "ip link add out type veth peer name far; ip link set out up; ip link set far up; "
        "ip addr add 198.51.100.1/24 dev out; ip -6 addr add 2001:db8:1::1/64 dev out nodad; "
        "ip route add default dev out; ip -6 route add default dev out"
    )
    # The kernel makes an IPv6 address the host's own a little later.
    local = "ip -6 route show table local 2001:db8:1::1"
    assert wait(lambda: "2001:db8:1::1" in world.place.shell(local))
    yield
    world.place.shell(
        "ip link del out; sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0"
    )


@FAMILIES
@pytest.mark.usefixtures("routes")
def test_a_closed_host_lets_through_to_the_world_and_not_to_its_new_address(world, family):
    world.enter(ANNA, flags=abi.ENDPOINT_HOST_CLOSED)
    outside = sent(family, WORLD[family]) / segment()
    itself = sent(family, "198.51.100.1" if family == 4 else "2001:db8:1::1") / segment()

    assert passed(outside) == world.send(outside)
    assert dropped("host_closed") == world.send(itself)


@pytest.mark.parametrize("dst", ["169.254.169.254", "169.254.1.1", "fe80::1", "fe80::a9fe:a9fe"])
def test_link_local_destinations_are_closed_unless_the_network_says_yes(world, dst):
    frame = sent(6 if ":" in dst else 4, dst) / segment()

    assert dropped("link_local") == world.send(frame)
    world.enter(ANNA, flags=abi.ENDPOINT_LINK_LOCAL)
    assert passed(frame) == world.send(frame)


@pytest.mark.parametrize("dst", [RESOLVER4, RESOLVER6], ids=str)
@pytest.mark.parametrize("flags", [0, abi.ENDPOINT_HOST_CLOSED])
def test_the_resolver_is_asked_by_whoever_may_ask_nobody_else_near(world, dst, flags):
    world.enter(ANNA, flags=flags)
    for question in (UDP(sport=4711, dport=53) / b"name", TCP(sport=4711, dport=53, flags="S")):
        frame = sent(dst.version, str(dst)) / question
        assert passed(frame) == world.send(frame)


@pytest.mark.parametrize("payload", [UDP(dport=54), TCP(dport=443, flags="S"), Raw(b"")], ids=repr)
def test_nothing_else_is_there_at_its_link_local_address(world, payload):
    frame = sent(4, str(RESOLVER4)) / payload

    assert dropped("link_local") == world.send(frame)


@pytest.mark.parametrize(
    "dst", ["224.0.0.251", "239.1.2.3", "255.255.255.255", "ff02::fb", "ff0e::1"]
)
def test_multicast_and_broadcast_are_not_there_yet(world, dst):
    family = 6 if ":" in dst else 4
    frame = sent(family, dst) / datagram()

    assert dropped("multicast") == world.send(frame)
    frame.dst = "01:00:5e:00:00:fb" if family == 4 else "33:33:00:00:00:fb"
    assert dropped("multicast") == world.send(frame)
    foreign = sent(family, dst, src="0.0.0.0" if family == 4 else "::") / datagram()
    assert dropped("multicast") == world.send(foreign)


@pytest.mark.parametrize("dst", ["127.0.0.1", "127.9.9.9", "0.0.0.0", "0.1.2.3", "::1", "::"])
def test_addresses_that_never_stand_on_a_wire_are_refused(world, dst):
    frame = sent(6 if ":" in dst else 4, dst) / segment()

    assert dropped("internal") == world.send(frame)


def test_a_mapped_address_in_an_ipv6_packet_is_no_ipv4_address(world):
    for src, dst in ((ANNA.v6, f"::ffff:{BERT.v4}"), (f"::ffff:{ANNA.v4}", BERT.v6)):
        frame = sent(6, dst, src=src) / datagram()
        assert dropped("malformed") == world.send(frame)


def test_a_link_local_source_goes_nowhere(world):
    for dst in (BERT.v6, WORLD[6], HOST[6], "fe80::1"):
        frame = sent(6, dst, src="fe80::7") / datagram()
        assert dropped("spoofed_address") == world.send(frame)


def test_what_is_no_ip_is_refused(world):
    frame = sent(4, BERT.v4) / datagram()
    tagged = Ether(src=ANNA.mac, dst=GATEWAY_MAC) / Dot1Q(vlan=7) / frame[IP]
    for ethertype in (0x88CC, 0x8847, 0x0600, 0x0004):
        assert dropped("protocol") == world.send(
            Ether(src=ANNA.mac, dst=GATEWAY_MAC, type=ethertype) / Raw(bytes(frame[IP]))
        )
    assert dropped("protocol") == world.send(tagged)


@FAMILIES
@pytest.mark.parametrize("layer", [UDP, TCP])
def test_a_frame_that_ends_before_its_headers_do_is_truncated(world, family, layer):
    frame = bytes(sent(family, BERT.address(family)) / (datagram() if layer is UDP else segment()))
    shortest = 34 if family == 4 else 54  # the kernel runs no program on less
    for length in range(shortest, len(frame)):
        assert dropped("truncated") == world.send(frame[:length])


@FAMILIES
def test_trailing_bytes_are_not_part_of_the_packet(world, family):
    frame = sent(family, BERT.address(family)) / datagram()
    padded = Ether(bytes(frame) + b"\0" * 30)

    assert forwarded(padded, BERT).frame == world.send(padded).frame


@pytest.mark.parametrize(
    "fields",
    [{"version": 5}, {"version": 6}, {"ihl": 4}, {"ihl": 0}, {"len": 10}, {"len": 0}],
    ids=str,
)
def test_ipv4_headers_that_contradict_themselves_are_malformed(world, fields):
    frame = sent(4, BERT.v4, **fields) / datagram()

    assert dropped("malformed") == world.send(frame)


def test_an_ipv4_header_that_claims_more_than_there_is_is_truncated(world):
    for fields in ({"len": 500}, {"ihl": 15, "len": 48}):
        assert dropped("truncated") == world.send(sent(4, BERT.v4, **fields) / datagram(0))


def test_a_tcp_header_shorter_than_one_is_malformed(world):
    frame = sent(4, BERT.v4) / TCP(dataofs=4)

    assert dropped("malformed") == world.send(frame)


def test_ipv4_options_are_stepped_over(world):
    for options in (b"\x01" * 4, b"\x01" * 40, b"\x44\x04\x05\x00"):
        frame = sent(4, BERT.v4, options=Raw(options)) / datagram()
        built = Ether(bytes(frame))
        assert forwarded(built, BERT) == world.send(built)


EXTENSIONS = {
    "hop-by-hop": IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * 4)]),
    "destination": IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 12)]),
    "routing": IPv6ExtHdrRouting(addresses=["2001:db8::9"], segleft=0),
    "fragment": IPv6ExtHdrFragment(offset=0, m=0, id=9),
}


@pytest.mark.parametrize("names", [[n] for n in EXTENSIONS] + [["hop-by-hop", "destination"] * 3])
def test_ipv6_extension_headers_are_stepped_over(world, names):
    frame = sent(6, BERT.v6)
    for name in names:
        frame /= EXTENSIONS[name].copy()
    frame /= segment()

    assert forwarded(frame, BERT) == world.send(frame)


def test_an_authenticated_packet_is_followed_to_its_transport(world):
    header = bytes([6, 4]) + bytes(22)  # TCP follows; (4 + 2) words of 4 bytes
    frame = sent(6, BERT.v6, nh=51) / Raw(header) / segment()

    assert forwarded(frame, BERT) == world.send(frame)


def test_more_extension_headers_than_we_follow_are_refused(world):
    frame = sent(6, BERT.v6)
    for _ in range(7):
        frame /= IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)])

    assert dropped("extensions") == world.send(frame / segment())


def test_an_extension_header_that_ends_behind_the_packet_is_truncated(world):
    frame = bytes(sent(6, BERT.v6) / EXTENSIONS["destination"].copy() / segment())
    longer = bytearray(frame)
    longer[14 + 40 + 1] = 200

    assert dropped("truncated") == world.send(bytes(longer))


@FAMILIES
def test_the_same_packet_within_the_mtu_of_the_receiver_passes(world, family):
    header = 28 if family == 4 else 48
    frame = sent(family, SMALL.address(family)) / datagram(1300 - header)

    assert forwarded(frame, SMALL) == world.send(frame)


@FAMILIES
def test_a_packet_that_the_kernel_has_yet_to_cut_counts_by_its_pieces(world, family):
    header = 40 if family == 4 else 60
    fields = {"flags": "DF"} if family == 4 else {}
    frame = sent(family, SMALL.address(family), **fields) / segment(2600)
    fits = world.send(frame, gso_size=1300 - header, gso_segments=3)
    not_so = world.send(frame, gso_size=1300 - header + 1, gso_segments=3)

    assert forwarded(frame, SMALL) == fits
    assert {"too_big": 1} == not_so.drops


def test_without_df_the_stack_of_the_host_cuts_what_does_not_fit(world):
    frame = sent(4, SMALL.v4) / datagram(1400)

    assert passed(frame) == world.send(frame)


def test_addresses_of_ipv4_and_ipv6_share_no_entries(world):
    """The cast's maps hold both; a /96 of mapped addresses is not ours."""
    world.place.run(world.targets["subnets"].put, {ip_network("0.0.0.0/0"): 9})
    frame = sent(6, WORLD[6]) / segment()

    assert passed(frame) == world.send(frame)


def test_the_same_drop_is_counted_for_each_device_and_reason(world):
    frame = sent(4, CARL.v4) / datagram()
    for _ in range(3):
        world.send(frame)
    counted = world.place.run(world.counters.drops)

    assert {(ANNA.record.ifindex, "isolated"): 1} == counted  # `send` starts from nothing


def test_an_ip_header_alone_is_a_packet(world):
    frame = Ether(src=ANNA.mac, dst=GATEWAY_MAC) / ip(4, ANNA.v4, BERT.v4, proto=99)

    assert forwarded(frame, BERT) == world.send(frame)
    assert Outcome("redirect", world.send(frame).frame, {}) == world.send(frame)
    assert IPv6 not in Ether(world.send(frame).frame)
