"""Every target of the kernel keeps the same contract, on a host that is a namespace.

┌─ container ─┐      ┌──── host ────┐
│        eth0 ┼─veth─┼ swy…         │   lo, routes, nftables, sysctls: of the host
└─────────────┘      └──────────────┘
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

import contracts
from namespaces import Netns
from seaway.kernel import netns
from seaway.kernel.addresses import AddressTarget
from seaway.kernel.links import LinkTarget
from seaway.kernel.nft import NftTarget
from seaway.kernel.reserved import SETTING, ReservedTarget
from seaway.kernel.routes import RouteTarget
from seaway.kernel.sysctls import SysctlTarget
from seaway.kernel.vxlan import VxlanTarget
from seaway.model.kernel import (
    HostAddress,
    Inside,
    Link,
    Masquerade,
    Reserved,
    Route,
    Sysctl,
    Vxlan,
)
from seaway.model.ports import written
from seaway.names import GATEWAY_MAC, OVERLAY_DEVICE, OVERLAY_PORT

Make = Callable[[], Netns]


@dataclass
class Case:
    """One target on one host, and what to do with it."""

    host: Netns
    target: Any
    objects: dict[Any, Any]
    changed: dict[Any, Any]  # other values for some of the keys
    bad: dict[Any, Any]  # what the kernel must refuse
    drifts: list[str]  # each a command that changes what is ours
    strangers: str  # a command that makes what looks like ours
    look: str  # a command that shows it


def _link(name: str, container: Netns, number: int, mtu: int = 1500) -> Link:
    inside = Inside(
        netns=str(container.path),
        netns_inode=container.inode,
        name=f"eth{number}",
        mac=f"02:00:00:00:00:{number:02x}",
        addresses=(ip_interface(f"10.208.0.{number}/32"), ip_interface(f"fd00::{number}/128")),
        default_route=number == 1,
        routes=(),
    )
    return Link(name=name, mac=GATEWAY_MAC, mtu=mtu, inside=inside)


def links(host: Netns, make: Make) -> Case:
    container = make()
    objects = {n: _link(n, container, i) for i, n in enumerate(("swyaaaaaaaaaaa", "swyb"), 1)}
    gone = Inside("/run/netns/swt-none", 1, "eth0", "02:00:00:00:00:09", (), True, ())
    return Case(
        host,
        LinkTarget(host.path),
        objects,
        {"swyb": _link("swyb", container, 2, mtu=1400)},
        {"swyc": Link("swyc", GATEWAY_MAC, 1500, gone)},
        [
            "ip link del swyb",
            "ip link set swyb mtu 1300",
            "ip link set swyb address 02:00:00:00:00:77",
            "ip link set swyb arp on",
        ],
        "ip link add swyother type veth peer name swythird",
        "ip -br link show swyother",
    )


def vxlan(host: Netns, _make: Make) -> Case:
    """Whoever makes the device anew makes it as we do, or otherwise."""
    name, again = OVERLAY_DEVICE, f"ip link del {OVERLAY_DEVICE}; ip link add {OVERLAY_DEVICE} "
    more = "udp6zerocsumtx udp6zerocsumrx"
    host.run("ip link add swyb type bridge")
    return Case(
        host,
        VxlanTarget(host.path),
        {name: Vxlan(name, 1450, OVERLAY_PORT)},
        {name: Vxlan(name, 1430, 8480)},
        {"swyb": Vxlan("swyb", 1450, OVERLAY_PORT)},
        [
            f"ip link del {name}",
            f"ip link set {name} mtu 1300",
            f"ip link set {name} address 02:00:00:00:00:77",
            f"ip link set {name} arp on",
            f"{again} type vxlan external dstport 8481 {more}",
            f"{again} type vxlan id 7 dstport {OVERLAY_PORT} {more}",
            f"{again} type vxlan external dstport {OVERLAY_PORT}",
        ],
        "ip link add swyother type vxlan id 7 dstport 8482",
        "ip -br link show swyother",
    )


def addresses(host: Netns, _make: Make) -> Case:
    host.run("ip link set lo up")
    found = [ip_address(a) for a in ("10.223.0.1", "fd00:0:0:ffff::1")]
    bad = ip_address("ff02::9")
    return Case(
        host,
        AddressTarget(host.path),
        {a: HostAddress(a) for a in found},
        {},
        {bad: HostAddress(bad)},
        [
            f"ip addr del {found[0]}/32 dev lo",
            f"ip addr del {found[1]}/128 dev lo",
            f"ip addr replace {found[0]}/32 dev lo",
            f"ip addr replace {found[1]}/128 dev lo",
            "ip addr flush dev lo",
        ],
        "ip addr add 10.223.0.8/32 dev lo",
        "ip -br addr show to 10.223.0.8",
    )


def routes(host: Netns, _make: Make) -> Case:
    host.run("ip link set lo up")
    host.run("ip link add swy1 type veth peer name swy2")
    for device in ("swy1", "swy2"):
        host.run(f"ip link set {device} up")
    source4, source6 = ip_address("10.223.0.1"), ip_address("fd00:0:0:ffff::1")
    host.run(f"ip addr add {source4}/32 dev lo")
    host.run(f"ip addr add {source6}/128 dev lo nodad")
    host.run("ip addr add 10.208.9.1/24 dev swy1")
    wanted = [
        Route(ip_network("10.208.0.7/32"), "swy1", source4),
        Route(ip_network("fd00::7/128"), "swy1", source6),
        Route(ip_network("10.208.0.0/18"), ""),
        Route(ip_network("fd00::/64"), ""),
    ]
    changed = [
        Route(ip_network("10.208.0.7/32"), "swy2", source4),
        Route(ip_network("fd00::7/128"), "swy2", source6),
        Route(ip_network("10.208.0.0/18"), "swy2"),
        Route(ip_network("fd00::/64"), "swy2"),
    ]
    bad = [
        Route(ip_network("10.208.0.8/32"), "swy-none"),
        Route(ip_network("10.208.9.0/24"), ""),
    ]
    return Case(
        host,
        RouteTarget(host.path),
        {r.dst: r for r in wanted},
        {r.dst: r for r in changed},
        {r.dst: r for r in bad},
        [
            "ip route del 10.208.0.7/32",
            "ip -6 route del fd00::7/128",
            "ip route del unreachable 10.208.0.0/18",
            "ip -6 route del unreachable fd00::/64",
            "ip route replace 10.208.0.7/32 dev swy2 proto 83",
            "ip -6 route replace fd00::7/128 dev swy2 proto 83",
            "ip route replace 10.208.0.7/32 dev swy2",
            "ip -6 route replace fd00::7/128 dev swy2",
            "ip route replace blackhole 10.208.0.0/18",
            "ip link set swy1 down; ip link set swy1 up",
        ],
        "ip route add 10.208.1.1/32 dev swy1 proto static",
        "ip route show 10.208.1.1/32",
    )


def nft(host: Netns, _make: Make) -> Case:
    inside = tuple(ip_network(p) for p in ("10.208.0.0/18", "10.208.64.0/18", "fd00::/64"))
    return Case(
        host,
        NftTarget(host.path),
        {"table": Masquerade(inside[:1] + inside[2:], inside)},
        {"table": Masquerade((), inside, untracked=8479)},
        {},
        [
            "nft delete table inet seaway",
            "nft flush chain inet seaway postrouting",
            "nft insert rule inet seaway forward accept",
            "nft add element inet seaway inside4 { 192.0.2.0/24 }",
            "nft flush ruleset",
        ],
        "nft add table ip seaway",
        "nft list table ip seaway",
    )


def sysctls(host: Netns, _make: Make) -> Case:
    names = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")
    return Case(
        host,
        SysctlTarget(host.path),
        {n: Sysctl(n, "1") for n in names},
        {names[0]: Sysctl(names[0], "0")},
        {"net.ipv4.none": Sysctl("net.ipv4.none", "1")},
        [f"sysctl -q -w {name}=0" for name in names],
        "sysctl -q -w net.ipv4.ip_default_ttl=77",
        "sysctl net.ipv4.ip_default_ttl",
    )


def reserved(host: Netns, _make: Make) -> Case:
    return Case(
        host,
        ReservedTarget(host.path),
        {"ports": Reserved("53,8080,20000-20999")},
        {"ports": Reserved("53", gone="8080,20000-20999")},
        {"bad": Reserved("70000")},
        [f"sysctl -q -w {SETTING}={text}" for text in ("", "7000", "52-54,8080")],
        "sysctl -q -w net.ipv4.ip_default_ttl=77",
        "sysctl net.ipv4.ip_default_ttl",
    )


KINDS = [links, vxlan, addresses, routes, nft, sysctls, reserved]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def case(request: pytest.FixtureRequest, make_netns: Make) -> Iterator[Case]:
    with ExitStack() as stack:
        made = request.param(make_netns(), make_netns)
        if hasattr(made.target, "close"):
            stack.callback(made.target.close)
        yield made


def test_a_target_goes_from_nothing_to_its_objects_and_back(case: Case) -> None:
    contracts.puts_and_deletes(case.target, case.objects)


def test_a_target_gives_an_existing_object_its_new_value(case: Case) -> None:
    contracts.changes_what_is_there(case.target, case.objects, case.changed)


def test_a_target_finds_and_repairs_what_others_changed(case: Case) -> None:
    for command in case.drifts:
        contracts.finds_and_repairs_drift(
            case.target, case.objects, lambda command=command: case.host.run(command)
        )


def test_a_target_lets_one_bad_object_hold_back_no_other(case: Case) -> None:
    contracts.one_failure_holds_back_nothing(case.target, case.objects, case.bad)


def test_a_target_leaves_what_only_looks_like_its_own(case: Case) -> None:
    case.host.run(case.strangers)
    before = case.host.run(case.look)
    contracts.puts_and_deletes(case.target, case.objects)

    assert before == case.host.run(case.look)


def listed(host: Netns) -> str:
    return host.run(f"sysctl -n {SETTING}").strip()


def test_ports_are_reserved_beside_those_of_others(make_netns: Make) -> None:
    host = make_netns()
    target = ReservedTarget(host.path)
    host.run(f"sysctl -q -w {SETTING}=9148,20010-20019")
    assert {} == target.put({"ports": Reserved("8080,20000-20009")})
    assert "8080,9148,20000-20019" == listed(host)
    host.run(f"sysctl -q -w {SETTING}=5000")  # by somebody who does not know of us
    assert {"ports": Reserved("")} == target.read()
    assert {} == target.put({"ports": Reserved("8080")})
    assert "5000,8080" == listed(host)

    assert {} == target.put({"ports": Reserved("", gone="8080,20000-20009")})
    assert "5000" == listed(host)


def test_a_list_that_is_longer_than_a_page_is_read_and_written_whole(make_netns: Make) -> None:
    host = make_netns()
    target = ReservedTarget(host.path)
    wanted = {"ports": Reserved(written(range(1, 65536, 2)))}

    assert {} == target.put(wanted)
    assert wanted == target.read()
    assert frozenset(range(1, 65536, 2)) == target.now()


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_the_kernel_sends_from_no_port_that_is_reserved(make_netns, kind, address):
    host = make_netns()
    host.run("ip link set lo up")
    assert {} == ReservedTarget(host.path).put({"ports": Reserved("1024-40007,40009-65535")})
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    def source() -> int:
        server, client = (socket.socket(family, kind) for _ in range(2))
        with server, client:
            server.bind((address, 7000))
            if kind == socket.SOCK_STREAM:
                server.listen()
            client.connect((address, 7000))
            return client.getsockname()[1]

    assert 40008 == netns.visit_path(host.path, source)
