"""Our nftables table at work: behind the host on the way out, closed on the way in.

┌─ container ─┐       ┌─ host ─┐        ┌─ world ─┐
│ 10.208.0.7  ┼─swy1──┤        ├─wan────┼ 192.0.2.9
└─────────────┘       └───┬────┘        └─────────┘
┌─ other ─────┐           │
│ 10.208.0.8  ┼─swy2──────┘
└─────────────┘
"""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from ipaddress import ip_network

import pytest

from namespaces import Netns, namespaces
from seaway.kernel import netns
from seaway.kernel.nft import NftTarget
from seaway.model.kernel import Masquerade
from waiting import wait

SUBNETS = (ip_network("10.208.0.0/18"), ip_network("fd00::/64"))
PORTS = ((700, 700), (2000, 2999), (4000, 5999))
WANTED = {"table": Masquerade(SUBNETS, SUBNETS, PORTS)}
PORT = 7777


@dataclass
class Site:
    host: Netns
    container: Netns
    other: Netns
    world: Netns


@pytest.fixture
def site() -> Iterator[Site]:
    with namespaces() as make:
        made = Site(make(), make(), make(), make())
        for side in (made.host, made.container, made.other, made.world):
            side.run("sysctl -q -w net.ipv6.conf.default.accept_dad=0")
        made.host.run("sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
        _join(
            made.host, made.container, "swy1", ("10.208.0.7", "fd00::7"), ("10.208.0.1", "fd00::1")
        )
        _join(made.host, made.other, "swy2", ("10.208.0.8", "fd00::8"), ("10.208.0.1", "fd00::1"))
        _join(
            made.host, made.world, "wan", ("192.0.2.9", "2001:db8::9"), ("192.0.2.1", "2001:db8::1")
        )
        yield made


def _join(
    host: Netns, other: Netns, device: str, outer: tuple[str, str], own: tuple[str, str]
) -> None:
    """Join them by a pair; each is the other's gateway."""
    host.run(f"ip link add {device} type veth peer name eth0 netns {other.name}")
    for side, name in ((host, device), (other, "eth0")):
        side.run(f"ip link set {name} up")
    assert wait(lambda: "state UP" in host.run(f"ip link show {device}"))
    for mine, theirs, (a, length) in zip(own, outer, (("4", 32), ("6", 128)), strict=True):
        host.run(f"ip -{a} addr add {mine} peer {theirs}/{length} dev {device} {_nodad(a)}")
        other.run(f"ip -{a} addr add {theirs} peer {mine}/{length} dev eth0 {_nodad(a)}")
        other.run(f"ip -{a} route add default via {mine} dev eth0 onlink")


def _nodad(family: str) -> str:
    return "nodad" if family == "6" else ""


@pytest.fixture
def target(site: Site) -> Iterator[NftTarget]:
    table = NftTarget(site.host.path)
    yield table
    table.close()


def opened(where: Netns, address: str, port: int = PORT) -> socket.socket:
    """A UDP socket inside, bound to the address."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    def bind() -> socket.socket:
        made = socket.socket(family, socket.SOCK_DGRAM)
        made.settimeout(30)
        made.bind((address, port))
        return made

    return netns.visit_path(where.path, bind)


@dataclass(frozen=True)
class Family:
    inner: str
    neighbour: str
    outer: str
    gateway: str


IPV4 = Family("10.208.0.7", "10.208.0.8", "192.0.2.9", "192.0.2.1")
IPV6 = Family("fd00::7", "fd00::8", "2001:db8::9", "2001:db8::1")


@pytest.fixture(params=[IPV4, IPV6], ids=["IPv4", "IPv6"])
def family(request: pytest.FixtureRequest) -> Family:
    return request.param


def _talk(stack: ExitStack, *where: tuple[Netns, str]) -> list[socket.socket]:
    return [stack.enter_context(closing(opened(side, address))) for side, address in where]


def test_the_world_sees_the_host_and_its_answer_comes_back(site, target, family):
    target.put(WANTED)
    with ExitStack() as stack:
        client, server = _talk(stack, (site.container, family.inner), (site.world, family.outer))
        client.sendto(b"question", (family.outer, PORT))
        data, seen = server.recvfrom(100)
        server.sendto(b"answer", seen)

        assert (b"question", family.gateway) == (data, seen[0])
        assert b"answer" == client.recv(100)


def test_the_world_sees_only_sources_that_are_allowed(site, target, family):
    target.put(WANTED)
    with ExitStack() as stack:
        (server,) = _talk(stack, (site.world, family.outer))
        for _ in range(60):
            client = stack.enter_context(closing(opened(site.container, family.inner, 0)))
            client.sendto(b"question", (family.outer, PORT))
        seen = {server.recvfrom(100)[1][1] for _ in range(60)}
        low = stack.enter_context(closing(opened(site.container, family.inner, 900)))
        low.sendto(b"question", (family.outer, PORT))

        assert all(2000 <= port <= 2999 or 4000 <= port <= 5999 for port in seen), seen
        assert {True, False} == {port < 3000 for port in seen}
        assert 700 == server.recvfrom(100)[1][1]


def test_of_a_protocol_without_ports_the_source_is_the_host_too(site, target, family):
    target.put(WANTED)
    site.container.run(f"ping -c1 -W2 {family.outer}")
    assert "counter packets 1 " in site.host.run("nft list chain inet seaway postrouting")


def test_between_containers_the_source_stays(site, target, family):
    target.put(WANTED)
    with ExitStack() as stack:
        client, server = _talk(
            stack, (site.container, family.inner), (site.other, family.neighbour)
        )
        client.sendto(b"question", (family.neighbour, PORT))

        assert family.inner == server.recvfrom(100)[1][0]


def test_the_world_cannot_begin_to_talk_to_a_container(site, target, family):
    with ExitStack() as stack:
        server, client = _talk(stack, (site.container, family.inner), (site.world, family.outer))
        client.sendto(b"before", (family.inner, PORT))
        assert b"before" == server.recv(100)

        target.put(WANTED)
        site.host.run("nft add table inet own; nft add chain inet own c")  # another's is no matter
        stranger = stack.enter_context(closing(opened(site.world, family.outer, PORT + 1)))
        stranger.sendto(b"after", (family.inner, PORT))
        server.settimeout(0.3)
        with pytest.raises(TimeoutError):
            server.recv(100)
    assert "packets 1 " in site.host.run("nft list chain inet seaway forward")


def test_an_agent_without_memory_knows_what_it_wrote(site, target):
    target.put(WANTED)
    successor = NftTarget(site.host.path)

    assert WANTED == successor.read()
    single = {"table": Masquerade(SUBNETS, SUBNETS, ((700, 700), (1025, 1025), (1027, 1027)))}
    assert {} == target.put(single)
    assert single == successor.read()
    successor.close()


def test_nothing_is_listed_again_while_no_rules_change(site, target):
    target.put(WANTED)
    assert WANTED == target.read()
    program, target._program = target._program, "/nowhere/nft"

    assert WANTED == target.read()
    site.host.run("nft add table inet own")
    with pytest.raises(FileNotFoundError):
        target.read()
    target._program = program
    assert WANTED == target.read()


def test_a_refusal_of_nft_is_an_error_with_its_words(target):
    twice = Masquerade((ip_network("10.208.0.0/18"), ip_network("10.208.0.0/17")), ())

    (error,) = target.put({"table": twice}).values()
    assert errno.EIO == error.errno
    assert "conflicting intervals specified" in str(error)
    assert {} == target.read()


def test_without_nft_the_host_is_unfit(lab_host):
    program = """
from seaway.errors import HostUnfit
from seaway.kernel.nft import NftTarget
try:
    NftTarget()
except HostUnfit as error:
    print(error)
"""
    lab_host.run("mount", "--bind", "/dev/null", "/usr/sbin/nft")

    assert (
        "there is no program 'nft' (apt-get install nftables)"
        == lab_host.run(sys.executable, "-c", program).strip()
    )
