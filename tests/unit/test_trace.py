"""What a trace tells of each host is what its tables say; and it ends, whatever they say."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.linkstates import worlds
from tests.traced import Hosts, asks, linked, told

from seaway.bpf import abi
from seaway.errors import Invalid, Unsupported
from seaway.model import codec
from seaway.model.addresses import parse_address
from seaway.model.trace import (
    WORLDLY,
    Lead,
    Target,
    Traced,
    from_query,
    parse_end,
    parse_target,
    to_query,
)

WORLD, WORLD6 = map(str, WORLDLY)
calm = settings(deadline=None, max_examples=30)


@pytest.fixture
def two():
    return Hosts("ab")


# On one host


def test_a_packet_to_a_neighbour_in_its_network_is_delivered(two):
    one, other = two["a"].attach("web", 2), two["a"].attach("web", 3)
    (step,) = two.trace("a", asks(one, other))
    assert ["a from_endpoint deliver web/a-web3"] == told([step])
    assert ("both are in network web", 1400, "swy00010001000") == (step.why, step.mtu, step.device)


@pytest.mark.parametrize(
    ("web", "db", "why"),
    [
        ({}, {}, ""),
        ({"open": True}, {}, ""),
        ({"open": True}, {"open": True}, "both networks are open"),
        ({"connected": (2,)}, {"connected": (1,)}, "their networks are connected"),
    ],
)
@pytest.mark.parametrize("there", ["a", "b"])
def test_networks_reach_each_other_only_if_they_are_open_or_connected(two, web, db, why, there):
    for node in two.values():
        node.network("web", **web)
        node.network("db", **db)
    one, other = two["a"].attach("web", 2), two[there].attach("db", 3)
    steps = two.trace("a", asks(one, other))
    if why:
        assert ("deliver", why) == (steps[-1].decision, steps[-1].why)
    else:
        assert ["a from_endpoint drop isolated"] == told(steps)
        assert "network web and network db are closed to each other" == steps[0].why


def test_nobodys_address_of_ours_is_told_as_such_and_drift_by_its_name(two):
    one, other = two["a"].attach("web", 2), two["a"].attach("web", 3)
    (step,) = two.trace("a", asks(one, "10.208.1.9"))
    assert ("no_endpoint", "nobody has this address of ours") == (step.reason, step.why)

    del two["a"].lookups.targets["endpoints"].objects[other.addresses[0].ip]
    (step,) = two.trace("a", asks(one, other))
    assert "no_endpoint" == step.reason
    assert "endpoint web/a-web3 is missing in the kernel's maps" == step.why


def test_who_is_missing_in_the_maps_himself_sends_nothing(two):
    one, other = two["a"].attach("web", 2), two["a"].attach("web", 3)
    two["a"].settle()
    there = two["a"].lookups.targets
    del there["endpoints"].objects[one.addresses[0].ip]
    assert ["a from_endpoint drop spoofed_address"] == told(two.trace("a", asks(one, other)))
    there["interfaces"].objects.clear()
    assert ["a from_endpoint drop unknown_device"] == told(two.trace("a", asks(one, other)))


@pytest.mark.parametrize(
    ("there", "reason"),
    [
        ("224.0.0.1", "multicast"),
        ("255.255.255.255", "multicast"),
        ("ff02::1", "multicast"),
        ("127.0.0.1", "internal"),
        ("0.0.0.0", "internal"),
        ("::1", "internal"),
        ("169.254.169.254", "link_local"),
        ("fe80::7", "link_local"),
    ],
)
def test_some_destinations_are_passed_on_for_nobody(two, there, reason):
    one = two["a"].attach("web", 2)
    assert [f"a from_endpoint drop {reason}"] == told(two.trace("a", asks(one, there)))


def test_a_network_may_reach_link_local_addresses(two):
    two["a"].network("web", link_local=True)
    steps = two.trace("a", asks(two["a"].attach("web", 2), "169.254.169.254"))
    assert ["pass", "masquerade", "leave"] == [step.decision for step in steps]


def test_the_resolver_is_asked_whatever_is_closed(two):
    two["a"].network("web", host_access=False)
    one = two["a"].attach("web", 2)
    (step,) = two.trace("a", asks(one, "169.254.83.53", port=53, protocol="udp"))
    assert ("host", "the resolver of this host") == (step.decision, step.why)
    assert ["a from_endpoint drop link_local"] == told(
        two.trace("a", asks(one, "169.254.83.53", port=54))
    )


# Hosts


def test_a_host_is_reached_unless_the_network_says_no(two):
    one = two["a"].attach("web", 2)
    assert ["a from_endpoint host"] == told(two.trace("a", asks(one, "10.223.0.1")))
    assert ["a from_endpoint send b", "b from_overlay host"] == told(
        two.trace("a", asks(one, "10.223.0.2"))
    )
    two["a"].network("web", host_access=False)
    for there in ("10.223.0.1", "192.0.2.1", "10.223.0.2", "192.0.2.2"):
        assert ["a from_endpoint drop host_closed"] == told(two.trace("a", asks(one, there)))
    two["a"].leads[parse_address(WORLD)] = Lead("lo", 1500, local=True)
    assert ["a from_endpoint drop host_closed"] == told(two.trace("a", asks(one, WORLD)))


def test_a_host_asks_its_own_endpoints_and_those_of_others(two):
    two["b"].network("web", host_access=False)
    here, there = two["a"].attach("web", 2), two["b"].attach("web", 2)
    (step,) = two.trace("a", asks("10.223.0.1", here))
    assert ("to_endpoint", "web/a-web2", "swy00010001000") == (step.at, step.to, step.device)
    assert ["a to_overlay send b", "b from_overlay deliver web/b-web2"] == told(
        two.trace("a", asks("10.223.0.1", there))
    )
    assert ["a to_overlay drop spoofed_address"] == told(two.trace("a", asks("192.0.2.1", there)))


# The world


def test_to_the_world_it_goes_behind_its_host(two):
    one = two["a"].attach("web", 2)
    passed, hidden, left = two.trace("a", asks(one, WORLD))
    assert ("from_endpoint", "pass") == (passed.at, passed.decision)
    assert ("nftables", "masquerade", "192.0.2.1") == (hidden.at, hidden.decision, hidden.to)
    assert ("routes", "leave", "eth0", "192.0.2.254") == (
        left.at,
        left.decision,
        left.device,
        left.to,
    )
    assert parse_address("192.0.2.1") == left.source

    two["a"].network("web", masquerade=False)
    assert ["pass", "leave"] == [s.decision for s in two.trace("a", asks(one, WORLD))]
    two["a"].leads[parse_address(WORLD)] = None
    last = two.trace("a", asks(one, WORLD))[-1]
    assert ("drop", "", f"this host has no route to {WORLD}") == (
        last.decision,
        last.reason,
        last.why,
    )


def test_the_world_reaches_published_ports_and_no_hidden_endpoint(two):
    web = two["b"].attach("web", 2, "8080:80")
    published = two.trace("b", asks(WORLD, "192.0.2.2", 8080, carried="wire"))
    assert ["b from_wire translate 10.208.2.2:80", "b from_wire deliver web/b-web2"] == told(
        published
    )
    assert 80 == published[1].port

    other = two.trace("b", asks(WORLD, "192.0.2.2", 9999, carried="wire"))
    assert ["b from_wire pass", "b routes host"] == told(other)
    udp = two.trace("b", asks(WORLD, "192.0.2.2", 8080, protocol="udp", carried="wire"))
    assert told(other) == told(udp)
    hidden = two.trace("b", asks(WORLD, web, carried="wire"))
    assert ["b from_wire pass", "b nftables drop"] == told(hidden)
    two["b"].network("web", masquerade=False)
    seen = two.trace("b", asks(WORLD, web, carried="wire"))
    assert ["b from_wire pass", "b to_endpoint deliver web/b-web2"] == told(seen)


def test_nothing_comes_from_outside_with_an_address_of_ours(two):
    web, there = two["a"].attach("web", 2), two["b"].attach("web", 2)
    for source in ("10.208.1.9", there, "10.223.0.2"):
        steps = two.trace("a", asks(source, web, carried="wire"))
        assert ["a from_wire drop spoofed_address"] == told(steps)
    for node in two.values():
        node.network("web", masquerade=False)
    steps = two.trace("a", asks(WORLD, there, carried="wire"))
    assert ["a from_wire pass", "a to_overlay drop spoofed_address"] == told(steps)


# Published ports


def test_a_published_port_of_its_own_host_leads_a_container_to_the_backend(two):
    one, web = two["a"].attach("web", 2), two["a"].attach("db", 3, "8080:80")
    steps = two.trace("a", asks(one, "192.0.2.1", 8080))
    assert ["a from_endpoint translate 10.208.65.3:80", "a from_endpoint deliver db/a-db3"] == told(
        steps
    )
    itself = two.trace("a", asks(web, "10.223.0.1", 8080))
    assert parse_address("10.223.0.1") == itself[1].source
    own = two.trace("a", asks("127.0.0.1", "127.0.0.1", 8080))
    assert ["a connect4 translate 10.208.65.3:80", "a to_endpoint deliver db/a-db3"] == told(own)
    assert ["a connect4 host"] == told(two.trace("a", asks("127.0.0.1", "127.0.0.1", 1)))


def test_a_published_port_of_another_host_is_asked_by_way_of_the_world(two):
    one = two["a"].attach("web", 2)
    two["b"].attach("web", 2, "8080:80")
    assert [
        "a from_endpoint pass",
        "a nftables masquerade 192.0.2.1",
        "a routes send b",
        "b from_wire translate 10.208.2.2:80",
        "b from_wire deliver web/b-web2",
    ] == told(two.trace("a", asks(one, "192.0.2.2", 8080)))
    by_overlay = two.trace("a", asks(one, "10.223.0.2", 8080))
    assert ["a from_endpoint send b", "b from_overlay translate 10.208.2.2:80"] == told(
        by_overlay[:2]
    )


def test_by_the_hosts_own_routes_nobody_knows_of_a_host_that_it_does_not_see():
    """In a line, a and c have no link: what goes to c's address in the underlay is lost."""
    line = Hosts("abc")
    line["a"].path("c", via="b")
    one = line["a"].attach("web", 2)
    line["c"].attach("web", 2, "8080:80")
    last = line.trace("a", asks(one, "192.0.2.3", 8080))[-1]
    assert ("a", "routes", "unknown", "c") == (last.host, last.at, last.decision, last.to)
    leads = "; its address in the cluster, 10.223.0.3, leads there"
    assert f"nobody knows whether it arrives: the path to c goes by b{leads}" == last.why

    line["a"].lookups.dead |= {3}
    assert f"the link to c is down{leads}" == line.trace("a", asks(one, "192.0.2.3", 8080))[-1].why
    line["a"].lookups.dead |= {2}
    assert "the link to c is down" == line.trace("a", asks(one, "192.0.2.3", 8080))[-1].why


# Between hosts


@pytest.mark.parametrize(
    ("encapsulation", "how", "mtu"),
    [("always", "encapsulated", 1450), ("auto", "direct", 1500), ("never", "direct", 1500)],
)
def test_hosts_next_door_are_reached_as_the_cluster_says(encapsulation, how, mtu):
    two = Hosts("ab", encapsulation)
    one, other = two["a"].attach("web", 2), two["b"].attach("web", 2)
    sent, came = two.trace("a", asks(one, other))
    assert ("send", "b", how, mtu, "eth0") == (
        sent.decision,
        sent.to,
        sent.how,
        sent.mtu,
        sent.device,
    )
    assert "no relay is needed" == sent.why
    assert ("from_wire", "deliver", "web/b-web2") == (came.at, came.decision, came.to)


def test_behind_a_router_nothing_is_direct():
    for encapsulation, verdict in (("auto", "encapsulated"), ("never", "no_path")):
        two = Hosts("ab", encapsulation)
        two["a"].leads[parse_address("192.0.2.2")] = Lead("eth1", 9000, parse_address("192.0.2.9"))
        one, other = two["a"].attach("web", 2), two["b"].attach("web", 2)
        first = two.trace("a", asks(one, other))[0]
        assert verdict in (first.how, first.reason)
        assert first.mtu in (0, 8950)


def test_where_nothing_is_encapsulated_no_host_relays():
    three = Hosts("abc", "never")
    one, other = three["a"].attach("web", 2), three["c"].attach("web", 2)
    assert ["a from_endpoint send c", "c from_wire deliver web/c-web2"] == told(
        three.trace("a", asks(one, other))
    )
    three["a"].path("c", via="b")
    (step,) = three.trace("a", asks(one, other))
    assert (
        "no_path",
        "the next hop is b, but nothing is encapsulated here, so no host relays",
    ) == (
        step.reason,
        step.why,
    )
    carrier = parse_address("192.0.2.1")
    (step,) = three.trace("b", asks(one, other, carried="direct", carrier=carrier))
    assert "so no host relays" in step.why
    three["a"].path("c", via="c")
    three["a"].leads[parse_address("192.0.2.3")] = Lead("eth1", 9000, parse_address("192.0.2.9"))
    (step,) = three.trace("a", asks(one, other))
    assert "the host's routes do not lead to c at 192.0.2.3 without a router" == step.why


def test_what_comes_as_it_is_must_come_from_next_door():
    two = Hosts("ab", "auto")
    one, other = two["a"].attach("web", 2), two["b"].attach("web", 2)
    two["b"].leads[parse_address("192.0.2.1")] = Lead("eth1", 1500, parse_address("192.0.2.9"))
    assert ["a from_endpoint send b", "b from_wire drop spoofed_address"] == told(
        two.trace("a", asks(one, other))
    )


def test_what_a_relay_sends_on_as_it_is_is_not_believed():
    three = Hosts("abc", "auto")
    three["a"].path("c", via="b")
    one, other = three["a"].attach("web", 2), three["c"].attach("web", 2)
    packet = asks(one, other, carried="direct", carrier=parse_address("192.0.2.2"))
    assert ["c from_wire drop spoofed_address"] == told(three.trace("c", packet))
    kept = three.trace("a", asks(one, other))
    assert ["encapsulated", "encapsulated", ""] == [step.how for step in kept]


def test_ipv6_goes_in_a_carrier_of_either_family():
    for families, mtu in (((4,), 1450), ((6,), 1430)):
        two = Hosts("ab", families=families)
        one = two["a"].attach("web", 2)
        there = two["b"].attach("web", 2).addresses[1].ip
        sent, came = two.trace("a", asks(one, there))
        assert (mtu, "deliver") == (sent.mtu, came.decision)


@pytest.fixture
def ring():
    """a reaches c by b, or else by d."""
    ring = Hosts("abcd")
    ring["a"].path("c", via="b", backup="d")
    ring["c"].path("a", via="b", backup="d")
    return ring


def test_a_relay_passes_it_on_and_a_dead_link_is_gone_around(ring):
    one, other = ring["a"].attach("web", 2), ring["c"].attach("web", 2)
    by_b = ["a from_endpoint send b", "b from_wire send c", "c from_wire deliver web/c-web2"]
    steps = ring.trace("a", asks(one, other))
    assert by_b == told(steps)
    assert "the next hop to c" == steps[0].why

    ring["a"].lookups.dead.add(2)
    steps = ring.trace("a", asks(one, other))
    assert ["d", "c"] == [step.host for step in steps[1:]]
    assert "the link to b is dead: the backup of the path to c" == steps[0].why

    ring["a"].lookups.dead.add(4)
    (step,) = ring.trace("a", asks(one, other))
    assert ("no_path", "the link to b is dead, and so is that to d, the backup to c") == (
        step.reason,
        step.why,
    )
    ring["a"].path("c", via="b")
    (step,) = ring.trace("a", asks(one, other))
    assert "the link to b is dead, and the path to c has no backup" == step.why
    ring["a"].settle()
    ring["a"].lookups.targets["paths"].objects.clear()
    (step,) = ring.trace("a", asks(one, other))
    assert ("no_path", "no path leads to c") == (step.reason, step.why)


def test_a_path_that_is_otherwise_in_the_kernel_than_it_was_told_is_named(ring):
    one, other = ring["a"].attach("web", 2), ring["c"].attach("web", 2)
    ring["a"].settle()
    ring["a"].lookups.targets["paths"].objects[3] = abi.Path(4)
    step = ring.trace("a", asks(one, other))[0]
    assert ("d", "the next hop to c; routing tells of b") == (step.to, step.why)


def test_it_follows_the_first_share_of_the_flows_and_names_the_others(ring):
    ring["a"].path("c", via="b", backup="d", equal=("d",))
    one, other = ring["a"].attach("web", 2), ring["c"].attach("web", 2)
    steps = ring.trace("a", asks(one, other))
    assert ["a", "b", "c"] == [step.host for step in steps]
    assert "the next hop to c; flows are shared with d" == steps[0].why

    ring["a"].lookups.dead.add(4)
    assert "the next hop to c" == ring.trace("a", asks(one, other))[0].why
    ring["a"].lookups.dead.clear()
    ring["a"].lookups.dead.add(2)
    first = ring.trace("a", asks(one, other))[0]
    assert ("d", "the link to b is dead: the backup of the path to c") == (first.to, first.why)


def test_a_network_goes_by_its_own_routing(ring):
    for node in ring.values():
        node.network("web", routing="latency")
    ring["a"].path("c", via="d", routing="latency")
    one, other = ring["a"].attach("web", 2), ring["c"].attach("web", 2)
    assert "d" == ring.trace("a", asks(one, other))[0].to


def test_a_loop_ends_with_the_ttl():
    four = Hosts("abcd")
    for here, via in (("a", "b"), ("b", "c"), ("c", "b")):
        four[here].path("d", via=via)
    one, other = four["a"].attach("web", 2), four["d"].attach("web", 2)
    steps = four.trace("a", asks(one, other, ttl=9))
    assert (9, "ttl_exceeded") == (len(steps), steps[-1].reason)


def test_who_is_no_member_and_no_relay_is_not_believed(ring):
    one, other = ring["a"].attach("web", 2), ring["c"].attach("web", 2)
    for carrier, reason in (("192.0.2.9", "unknown_host"), ("192.0.2.1", ""), ("192.0.2.2", "")):
        packet = asks(one, other, carried="overlay", carrier=parse_address(carrier))
        assert reason == ring.trace("c", packet)[-1].reason
    packet = asks(one, other, carried="overlay", carrier=parse_address("192.0.2.2"))
    ring["c"].lookups.dead.add(2)
    assert ["c from_overlay drop spoofed_host"] == told(ring.trace("c", packet))
    (step,) = ring.trace("c", packet)
    assert "b has not this source, and no live link leads to it" == step.why
    stranger = asks("10.208.63.9", other, carried="overlay", carrier=parse_address("192.0.2.2"))
    assert ["c from_overlay drop spoofed_address"] == told(ring.trace("c", stranger))


@pytest.mark.parametrize(
    ("there", "what"),
    [
        ("10.208.2.9", "drop no_endpoint"),
        ("198.51.100.7", "drop not_here"),
        ("127.0.0.1", "drop internal"),
        ("169.254.1.2", "drop link_local"),
        ("224.0.0.1", "drop multicast"),
        ("192.0.2.2", "host"),
    ],
)
def test_what_another_host_sends_to_nobody_ends(two, there, what):
    one = two["a"].attach("web", 2)
    packet = asks(one, there, carried="overlay", carrier=parse_address("192.0.2.1"))
    assert [f"b from_overlay {what}"] == told(two.trace("b", packet))


# For any links


def ends_of(hosts):
    """An endpoint on each."""
    ends = {name: node.attach("web", 2) for name, node in hosts.items()}
    for node in hosts.values():
        node.settle()
    return ends


@given(worlds())
@calm
def test_the_hosts_of_a_trace_are_those_of_the_paths(states):
    hosts, found = linked(states)
    ends = ends_of(hosts)
    for source, end in permutations(hosts, 2):
        taken, here = [source], source
        while here != end and (route := found[here].found.get(end)):
            here = route.nexts[0]
            taken.append(here)
        steps = hosts.trace(source, asks(ends[source], ends[end]), settle=False)
        if here == end:
            assert taken == [step.host for step in steps]
            assert f"web/{end}-web2" == steps[-1].to
        else:
            assert "no_path" == steps[-1].reason


@given(worlds(), st.sets(st.tuples(st.integers(1, 7), st.integers(1, 7))))
@calm
def test_a_trace_ends_whatever_links_are_dead(states, dead):
    hosts, _ = linked(states)
    ends = ends_of(hosts)
    for node in hosts.values():
        node.lookups.dead |= {other for one, other in dead if one == node.number}
    for source, end in permutations(hosts, 2):
        steps = hosts.trace(source, asks(ends[source], ends[end], ttl=12), settle=False)
        assert steps[-1].decision in ("deliver", "drop")
        assert len(steps) <= 12


addresses = st.sampled_from(
    [
        *(f"10.208.{third + host}.{n}" for third in (0, 64) for host in (1, 2) for n in (2, 9)),
        *(f"10.223.0.{n}" for n in (1, 2, 9)),
        *(f"192.0.2.{n}" for n in (1, 2, 254)),
        *(WORLD, "127.0.0.1", "224.0.0.1", "169.254.7.7", "0.0.0.0", "255.255.255.255"),
    ]
).map(parse_address)


packets = st.builds(
    Traced,
    source=addresses,
    destination=addresses,
    port=st.sampled_from((80, 8080)),
    protocol=st.just("tcp"),
    carried=st.sampled_from(("", "overlay", "direct", "wire")),
    carrier=addresses,
)


@given(packets, st.sampled_from(("always", "auto", "never")), st.sampled_from("ab"))
@calm
def test_whatever_is_asked_has_an_end_and_every_drop_of_ours_a_reason(packet, encapsulation, at):
    two = Hosts("ab", encapsulation)
    for node in two.values():
        node.attach("web", 2, "8080:80")
        node.attach("db", 2)
    steps = two.trace(at, packet)
    last = {"deliver", "host", "leave", "drop"}
    assert steps[-1].decision in last
    assert not last & {step.decision for step in steps[:-1]}
    for step in steps:
        assert step.why
        ours = step.decision == "drop" and step.at not in ("nftables", "routes")
        assert bool(step.reason) == ours


# What is asked


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web/a:80", Target("web/a", 80, "tcp")),
        ("10.208.0.7:53/UDP", Target("10.208.0.7", 53, "udp")),
        ("[fd00::7]:443/tcp", Target("fd00::7", 443, "tcp")),
        ("world:443", Target("world", 443, "tcp")),
    ],
)
def test_a_target_is_read(text, expected):
    assert expected == parse_target(text)


@pytest.mark.parametrize("text", ["", "a", "a:", ":80", "fd00::7:80", "a:0", "a:65536", "[a]:80"])
def test_what_is_no_target_is_refused(text):
    with pytest.raises(Invalid):
        parse_target(text)


def test_protocols_without_ports_are_not_traced():
    with pytest.raises(Unsupported, match="'icmp' cannot be traced"):
        parse_target("a:80/icmp")


def test_a_mapped_address_is_the_ipv4_one():
    assert parse_address("192.0.2.1") == parse_end("::ffff:192.0.2.1")
    assert parse_end("a") is None


@given(
    st.builds(
        Traced,
        source=st.ip_addresses(),
        destination=st.ip_addresses(),
        port=st.integers(1, 65535),
        protocol=st.sampled_from(("tcp", "udp")),
        ttl=st.integers(0, 64),
        carried=st.sampled_from(("", "overlay", "direct", "wire")),
        carrier=st.none() | st.ip_addresses(),
        by=st.lists(st.sampled_from(("a", "host-2", "c.d")), max_size=5).map(tuple),
        within=st.integers(0, 30_000),
    )
)
def test_a_question_to_another_host_survives_its_url(packet):
    assert packet == from_query(to_query(packet))
    assert packet == codec.decode(codec.encode(packet), Traced)
