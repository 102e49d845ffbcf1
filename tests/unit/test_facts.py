"""Deriving only what changed equals deriving all from nothing, for any order of events."""

from __future__ import annotations

from collections.abc import Hashable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_interface
from typing import Any, Literal

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from seaway.desired.catalogue import DERIVATIONS
from seaway.desired.indexes import INDEXES
from seaway.facts import Facts
from seaway.model.facts import (
    Attached,
    Barrier,
    Before,
    Block,
    Cluster,
    Endpoint,
    Firewalls,
    Host,
    HostAddresses,
    LinkNumber,
    Network,
    Overlay,
    Path,
    Peer,
    Probing,
    Publication,
    Routing,
    Token,
    Unguarded,
    Uplinks,
    Value,
    path_key,
)
from seaway.model.kernel import Accept
from seaway.model.ports import written

small = st.integers(1, 4)
families = st.frozensets(st.sampled_from((4, 6)))


def network(number: int, connected: frozenset[int], flags: tuple[bool, bool]) -> Network:
    return Network(
        name=f"n{number}",
        number=number,
        subnets=(IPv4Network(f"10.{number}.0.0/16"),),
        connected=tuple(sorted(connected)),
        open=flags[0],
        routing="latency" if number % 2 else "hops",
        masquerade=flags[1],
    )


def endpoint(number: int, of: int, address: int, ports: list[Publication]) -> Endpoint:
    return Endpoint(
        id=f"{number:016x}",
        name=f"e{number}",
        container=f"c{number // 2}",
        interface="eth0",
        host="h",
        network=f"n{of}",
        netns=f"/run/netns/{number}",
        netns_inode=number,
        addresses=(ip_interface(f"10.{of}.0.{address}"), ip_interface(f"fd00::{of}:{address}")),
        ports=tuple(ports),
        mac="02:00:00:00:00:01",
        mtu=1500,
    )


def host(number: int, underlay: frozenset[int]) -> Host:
    return Host(
        name="h", addresses=(ip_interface(f"10.9.0.{number}").ip,), underlay=on_wire(underlay, 9)
    )


def peer(number: int, underlay: frozenset[int], draining: bool) -> Peer:
    return Peer(
        name=f"p{number}",
        number=number + 1,
        addresses=(IPv4Address(f"10.9.1.{number}"), IPv6Address(f"fd09::{number}")),
        underlay=on_wire(underlay, number),
        draining=draining,
    )


def on_wire(families: frozenset[int], number: int) -> tuple[IPv4Address | IPv6Address, ...]:
    made = {4: IPv4Address(f"192.0.2.{number}"), 6: IPv6Address(f"2001:db8::{number}")}
    return tuple(made[family] for family in sorted(families))


def path(number: int, via: int, backup: int) -> Path:
    routing: Routing = "latency" if via == 1 else "hops"
    other = f"p{backup}" if backup > 1 else ""
    return Path(host=f"p{number}", via=f"p{via}", backup=other, routing=routing)


def block(number: int, of: int, length: int, peer: int) -> Block:
    """Of small networks it is the whole subnet; of full ones, a single address."""
    first = {16: 0, 26: number * 64, 32: number}[length]
    prefix = IPv4Network((f"10.{of}.0.{first}", length))
    return Block(prefix=prefix, network=f"n{of}", host=f"p{peer}" if peer > 1 else "h")


def here(numbers: frozenset[int]) -> HostAddresses:
    return HostAddresses(addresses=frozenset(IPv4Address(f"192.0.2.{n}") for n in numbers))


def uplinks(ipv6: bool, number: int) -> Uplinks:
    addresses = frozenset(IPv4Address(f"192.0.2.{n}") for n in range(number // 2))
    return Uplinks(
        ipv6=ipv6, by_advertisement=(f"eth{number}.7",), addresses=addresses, mtu=1500 + number
    )


def cluster(encapsulation: Literal["auto", "always", "never"]) -> Cluster:
    return Cluster(
        id="c", pools=(), service_subnets=(), host_subnets=(), encapsulation=encapsulation
    )


def before(theirs: frozenset[int], left: frozenset[int]) -> Before:
    return Before(host="h", sysctls={}, reserved=written(theirs), left=written(left))


def barrier(program: str, chain: str, docker_user: bool) -> Barrier:
    return Barrier(program=program, chain=chain, docker_user=docker_user and chain == "FORWARD")


def key_of(fact: Value) -> Hashable:
    match fact:
        case Endpoint(id=key) | Attached(endpoint=key) | Network(name=key) | Host(name=key):
            return key
        case Token(id=key) | LinkNumber(host=key):
            return key
        case Path(host=name, routing=routing):
            return path_key(name, routing)
        case Block(prefix=prefix):
            return str(prefix)
        case Cluster():
            return "cluster"
    return "host"


def token(number: int) -> Token:
    return Token(id=f"{number:08x}", digest="", created=0.0, expires=1.0)


ports = st.builds(
    Publication,
    host_port=small,
    container_port=small,
    protocol=st.sampled_from(("tcp", "udp")),
    host_ip=st.sampled_from((None, IPv4Address("192.0.2.1"), IPv4Address(0), IPv6Address("::1"))),
)
facts_ = st.one_of(
    st.builds(network, small, st.frozensets(small), st.tuples(st.booleans(), st.booleans())),
    st.builds(endpoint, small, small, small, st.lists(ports, max_size=3)),
    st.builds(lambda n, i: Attached(endpoint=f"{n:016x}", ifindex=i), small, small),
    st.builds(host, small, families),
    st.builds(peer, small, families, st.booleans()),
    st.builds(path, small, small, small),
    st.builds(block, st.integers(0, 3), small, st.sampled_from((16, 26, 32)), small),
    st.builds(lambda ifindex: Overlay(ifindex=ifindex), small),
    st.builds(cluster, st.sampled_from(("auto", "always", "never"))),
    st.builds(lambda host, number: LinkNumber(host=host, number=number), small, small),
    st.builds(lambda preset: Probing(preset=preset), st.sampled_from(("default", "fast"))),
    st.builds(token, small),
    st.builds(here, st.frozensets(small)),
    st.builds(uplinks, st.booleans(), small),
    st.builds(before, st.frozensets(small), st.frozensets(small)),
    st.builds(
        lambda barriers: Firewalls(barriers=barriers),
        st.frozensets(
            st.builds(
                barrier,
                st.sampled_from(("iptables-nft", "iptables-legacy")),
                st.sampled_from(("FORWARD", "INPUT")),
                st.booleans(),
            )
        ),
    ),
)
learn = facts_.map(lambda fact: (type(fact), key_of(fact), fact))
forget = facts_.map(lambda fact: (type(fact), key_of(fact), None))
events = st.lists(st.one_of(learn, learn, forget), max_size=40)


def merge(held: dict[Any, object], facts: Facts) -> None:
    for name, desired in facts.derive().items():
        for key, value in desired.items():
            held[name, key] = value


def present(held: dict[Any, object]) -> dict[Any, object]:
    return {key: value for key, value in held.items() if value is not None}


@given(events, st.data())
def test_deriving_what_changed_equals_deriving_all_from_nothing(
    events: list[tuple[type, str, Value | None]], data: st.DataObject
) -> None:
    facts, held, last = Facts(DERIVATIONS, INDEXES), {}, {}
    for kind, key, new in events:
        facts.change(kind, key, new)
        last[kind, key] = new
        if data.draw(st.booleans()):  # events may also be squashed
            merge(held, facts)
    merge(held, facts)

    fresh, expected = Facts(DERIVATIONS, INDEXES), {}
    for (kind, key), new in data.draw(st.permutations(list(last.items()))):
        fresh.change(kind, key, new)
    merge(expected, fresh)

    assert present(expected) == present(held)


@given(events)
def test_a_fact_learnt_twice_makes_nothing_stale(
    events: list[tuple[type, str, Value | None]],
) -> None:
    facts = Facts(DERIVATIONS, INDEXES)
    last = {}
    for kind, key, new in events:
        facts.change(kind, key, new)
        last[kind, key] = new
    facts.derive()
    for (kind, key), new in last.items():
        facts.change(kind, key, new)

    assert {} == facts.derive()


@given(events, st.data())
def test_of_facts_that_are_forgotten_nothing_is_kept(
    events: list[tuple[type, str, Value | None]], data: st.DataObject
) -> None:
    facts, known = Facts(DERIVATIONS, INDEXES), {}
    for kind, key, new in events:
        facts.change(kind, key, new)
        known[kind, key] = new
        if data.draw(st.booleans()):
            facts.derive()
    for kind, key in data.draw(st.permutations(list(known))):
        facts.change(kind, key, None)
        if data.draw(st.booleans()):
            facts.derive()
    facts.derive()

    asked = facts._asked, facts._asking
    kept = (facts._looked, facts._readers, *asked, *facts._found.values())
    assert {0} == {len(each) for each in kept}


def test_a_host_that_learns_its_routes_from_routers_goes_on_learning() -> None:
    facts = Facts(DERIVATIONS, INDEXES)
    facts.change(Uplinks, "host", uplinks(True, 0))
    wanted = {name: sysctl.value for name, sysctl in facts.derive()["sysctls"].items()}
    assert {
        "net.ipv4.ip_forward": "1",
        "net.ipv6.conf.eth0/7.accept_ra": "2",
        "net.ipv6.conf.all.forwarding": "1",
    } == wanted
    facts.change(Uplinks, "host", Uplinks(ipv6=False))
    left = {name for name, sysctl in facts.derive()["sysctls"].items() if sysctl}
    assert {"net.ipv4.ip_forward"} == left


def test_other_firewalls_let_our_packets_through_where_they_refuse_and_want_it() -> None:
    facts = Facts(DERIVATIONS, INDEXES)
    barriers = (
        replace(barrier("iptables-nft", "FORWARD", docker_user=True), bridges=("docker0",)),
        barrier("ip6tables-legacy", "FORWARD", docker_user=False),
        barrier("ip6tables-legacy", "INPUT", docker_user=False),
        Barrier(program="firewalld", chain="trusted"),
    )
    facts.change(Firewalls, "host", Firewalls(barriers=frozenset(barriers)))
    assert {
        ("iptables-nft", "DOCKER-USER"): Accept(
            ("-i swy+ -o docker0 -j RETURN", "-i swy+", "-o swy+")
        ),
        ("ip6tables-legacy", "FORWARD"): Accept(("-i swy+", "-o swy+")),
        ("ip6tables-legacy", "INPUT"): Accept(("-i swy+",)),
        ("firewalld", "trusted"): Accept(("swy+",)),
    } == facts.derive()["accepts"]

    facts.change(Firewalls, "host", Firewalls(barriers=frozenset(barriers[2:3])))
    left = {place for place, accept in facts.derive()["accepts"].items() if accept}
    assert {("ip6tables-legacy", "INPUT")} == left


def test_where_there_are_other_hosts_what_they_send_us_passes_a_firewall_of_the_host() -> None:
    facts = Facts(DERIVATIONS, INDEXES)
    barriers = (barrier("iptables-nft", "INPUT", docker_user=False),)
    facts.change(Firewalls, "host", Firewalls(barriers=frozenset(barriers)))
    facts.change(Cluster, "cluster", cluster("always"))
    facts.change(Peer, "p1", peer(1, frozenset((4,)), draining=False))
    sent = ("udp -m udp --dport 8479", "udp -m udp --dport 8481", "tcp -m tcp --dport 8481")
    carried = tuple(f"-p {one}" for one in sent)
    assert Accept(("-i swy+", *carried)) == facts.derive()["accepts"]["iptables-nft", "INPUT"]

    facts.change(Peer, "p1", None)
    assert Accept(("-i swy+",)) == facts.derive()["accepts"]["iptables-nft", "INPUT"]


def test_hosts_that_ask_or_want_to_join_pass_a_firewall_of_the_host() -> None:
    facts = Facts(DERIVATIONS, INDEXES)
    barriers = (barrier("iptables-nft", "INPUT", docker_user=False),)
    facts.change(Firewalls, "host", Firewalls(barriers=frozenset(barriers)))
    facts.change(Cluster, "cluster", cluster("always"))

    def ports() -> list[str]:
        accept = facts.derive()["accepts"]["iptables-nft", "INPUT"]
        assert isinstance(accept, Accept)
        return [rule.split()[-1] for rule in accept.rules if "--dport" in rule]

    facts.change(Host, "h", Host(name="h", addresses=(), control=True))
    assert [] == ports()
    facts.change(Host, "h", Host(name="h", addresses=(), control=True, key="c0ffee"))
    assert ["8480"] == ports()
    facts.change(Cluster, "cluster", replace(cluster("always"), etcd_own=True))
    assert ["8480", "2379", "2380"] == ports()


def test_dockers_bridges_are_closed_where_forwarding_was_off_before_us() -> None:
    facts = Facts(DERIVATIONS, INDEXES)
    unguarded = frozenset(
        Unguarded(program=program, bridges=("br-1", "docker0"))
        for program in ("iptables-nft", "ip6tables-nft")
    )
    facts.change(Firewalls, "host", Firewalls(barriers=frozenset(), unguarded=unguarded))
    assert {None} == set(facts.derive()["accepts"].values())

    old = {"net.ipv4.ip_forward": "0", "net.ipv6.conf.all.forwarding": "1"}
    facts.change(Before, "h", Before(host="h", sysctls=old))
    assert {
        ("iptables-nft", "FORWARD"): Accept(("-o br-1 -j DROP", "-o docker0 -j DROP")),
        ("ip6tables-nft", "FORWARD"): None,
    } == facts.derive()["accepts"]


def test_of_thousands_of_ports_only_those_that_changed_are_derived_again() -> None:
    facts, had = Facts(DERIVATIONS, INDEXES), [publication(n) for n in range(1, 1001)]
    one = endpoint(1, 1, 1, had)
    facts.change(Endpoint, one.id, one)
    facts.derive()
    more = replace(one, ports=(*one.ports[:-1], publication(2000)))
    facts.change(Endpoint, one.id, more)

    derived = facts.derive()
    assert {1000, 2000} == {int.from_bytes(key.port, "big") for key in derived["publications"]}


def publication(port: int) -> Publication:
    return Publication(host_port=port, container_port=port)


def test_what_is_stale_is_derived_in_parts() -> None:
    facts = Facts(DERIVATIONS, INDEXES)
    one = endpoint(1, 1, 1, [publication(n) for n in range(1, 101)])
    facts.change(Endpoint, one.id, one)
    found: dict[Any, object] = {}
    parts = 0
    while facts.stale:
        derived = facts.derive(50)
        assert 50 >= sum(map(len, derived.values()))
        found |= {(name, key): v for name, part in derived.items() for key, v in part.items()}
        parts += 1
    assert parts > 2

    whole = Facts(DERIVATIONS, INDEXES)
    whole.change(Endpoint, one.id, one)
    assert found == {(n, k): v for n, part in whole.derive().items() for k, v in part.items()}
