"""What an endpoint's pair of interfaces is like, on the host and inside its container.

┌─ container ─┐      ┌──── host ────┐
│        eth0 ┼─veth─┼ swy1         │
└─────────────┘      └──────────────┘
"""

from __future__ import annotations

import errno
import json
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_interface, ip_network
from typing import Any

import pytest

from namespaces import Netns
from seaway.kernel import netns
from seaway.kernel.links import LinkTarget
from seaway.kernel.rtnl import Request, Rtnl
from seaway.model.facts import ExtraRoute
from seaway.model.kernel import Inside, Link
from seaway.names import GATEWAY_MAC
from waiting import wait

NAME = "swy1"


@pytest.fixture
def host(make_netns: Callable[[], Netns]) -> Netns:
    return make_netns()


@pytest.fixture
def container(make_netns: Callable[[], Netns]) -> Netns:
    return make_netns()


@pytest.fixture
def target(host: Netns) -> Iterator[LinkTarget]:
    links = LinkTarget(host.path)
    yield links
    links.close()


def inside(container: Netns, **other: Any) -> Inside:
    usual: dict[str, Any] = {
        "netns": str(container.path),
        "netns_inode": container.inode,
        "name": "eth0",
        "mac": "02:00:00:00:00:07",
        "addresses": (ip_interface("10.208.0.7/32"), ip_interface("fd00::7/128")),
        "default_route": True,
        "routes": (),
    }
    return Inside(**{**usual, **other})


def put(target: LinkTarget, wanted: Inside, name: str = NAME, mtu: int = 1500) -> OSError | None:
    return target.put({name: Link(name, GATEWAY_MAC, mtu, wanted)}).get(name)


def shown(netns: Netns, command: str) -> Any:
    return json.loads(netns.run(f"ip -j {command}") or "[]")


def addresses(netns: Netns, device: str) -> set[str]:
    (link,) = shown(netns, f"addr show {device}")
    return {f"{a['local']}/{a['prefixlen']}" for a in link["addr_info"] if a["scope"] == "global"}


def routes(netns: Netns) -> set[tuple[str, str]]:
    found = [*shown(netns, "route"), *shown(netns, "-6 route")]
    return {(r["dst"], r.get("gateway", r["dev"])) for r in found}


def test_a_new_pair_is_down_on_the_host_and_has_its_marks(target, host, container):
    assert put(target, inside(container), mtu=1400) is None

    (link,) = shown(host, f"-d link show {NAME}")
    assert GATEWAY_MAC == link["address"]
    assert {"NOARP", "BROADCAST", "MULTICAST"} == set(link["flags"]) - {"M-DOWN"}
    assert "none" == link["inet6_addr_gen_mode"]
    assert 1400 == link["mtu"]
    (peer,) = shown(container, "link show eth0")
    assert (1400, "02:00:00:00:00:07") == (peer["mtu"], peer["address"])


def test_a_link_that_somebody_died_over_gets_no_link_local_address_either(target, host, container):
    put(target, inside(container))
    host.run(f"ip link set {NAME} addrgenmode eui64")
    target.set_up(target.ifindexes()[NAME])

    assert "" == host.run(f"ip -6 addr show dev {NAME} scope link")


def test_a_link_that_is_set_up_has_no_route_for_groups(target, host, container):
    put(target, inside(container))
    for _ in range(2):
        target.set_up(target.ifindexes()[NAME])
        target.tidy()

        assert "" == host.run(f"ip -6 route show table local ff00::/8 dev {NAME}")


def test_the_inside_has_addresses_neighbours_and_routes_at_once(target, host, container):
    put(target, inside(container))
    target.set_up(target.ifindexes()[NAME])
    assert wait(lambda: not target.idle(NAME))
    assert "qdisc noqueue" in container.run("ip link show eth0")
    assert "state UP" in host.run(f"ip link show {NAME}")

    assert not target.idle("swynone")
    assert {"10.208.0.7/32", "fd00::7/128"} == addresses(container, "eth0")
    assert "tentative" not in container.run("ip addr show to fd00::7")
    assert {("169.254.1.1", "eth0"), ("default", "169.254.1.1"), ("default", "fe80::1")} <= routes(
        container
    )
    neighbours = {(n["dst"], n["lladdr"], *n["state"]) for n in shown(container, "neigh")}
    assert {
        ("169.254.1.1", GATEWAY_MAC, "PERMANENT"),
        ("fe80::1", GATEWAY_MAC, "PERMANENT"),
    } == neighbours
    assert "UP" in shown(container, "link show lo")[0]["flags"]
    assert [] == target.check_inside(inside(container))


@pytest.mark.parametrize(
    ("address", "family"), [("10.208.0.7/32", 4), ("fd00::7/128", 6)], ids=["IPv4", "IPv6"]
)
def test_each_family_works_alone(target, container, address, family):
    put(target, inside(container, addresses=(ip_interface(address),)))

    gateway = {4: "169.254.1.1", 6: "fe80::1"}[family]
    defaults = {gateway for dst, gateway in routes(container) if dst == "default"}
    assert {gateway} == defaults


def test_a_container_that_forbids_ipv6_gets_it_on_our_interface(target, container):
    container.run("sysctl -q -w net.ipv6.conf.all.disable_ipv6=1")
    container.run("sysctl -q -w net.ipv6.conf.default.disable_ipv6=1")

    assert put(target, inside(container)) is None
    assert "fd00::7/128" in addresses(container, "eth0")
    assert [] == target.check_inside(inside(container))


def test_routes_of_a_foreign_ipam_are_taken_as_they_are(target, container):
    extra = (
        ExtraRoute(dst=ip_network("192.0.2.0/24")),
        ExtraRoute(dst=ip_network("198.51.100.0/24"), gateway=ip_address("10.9.0.1"), mtu=1300),
        ExtraRoute(dst=ip_network("203.0.113.0/24"), priority=7, table=300),
        ExtraRoute(dst=ip_network("2001:db8::/64"), advmss=1220),
    )
    wanted = inside(
        container,
        addresses=(ip_interface("10.9.0.5/24"), ip_interface("fd09::5/64")),
        default_route=False,
        routes=extra,
    )

    assert put(target, wanted) is None
    found = routes(container)
    assert {
        ("192.0.2.0/24", "169.254.1.1"),
        ("198.51.100.0/24", "10.9.0.1"),
        ("2001:db8::/64", "fe80::1"),
        ("10.9.0.0/24", "eth0"),
    } <= found
    assert "default" not in {dst for dst, _ in found}
    assert 7 == shown(container, "route show table 300")[0]["metric"]
    (narrow,) = shown(container, "route show 198.51.100.0/24")
    assert 1300 == narrow["metrics"][0]["mtu"]
    assert [] == target.check_inside(wanted)


def test_a_default_route_that_is_given_takes_the_place_of_ours(target, container):
    given = ExtraRoute(dst=ip_network("0.0.0.0/0"), gateway=IPv4Address("10.9.0.1"))
    wanted = inside(container, addresses=(ip_interface("10.9.0.5/24"),), routes=(given,))

    assert put(target, wanted) is None
    assert ("default", "10.9.0.1") in routes(container)
    assert ("default", "169.254.1.1") not in routes(container)


def test_a_container_may_have_two_of_our_interfaces(target, container):
    second = inside(
        container,
        name="eth1",
        mac="02:00:00:00:00:08",
        addresses=(ip_interface("10.209.0.8/32"),),
        default_route=False,
        routes=(ExtraRoute(dst=ip_network("10.209.0.0/18")),),
    )

    assert put(target, inside(container)) is None
    assert put(target, second, "swy2") is None
    assert [] == target.check_inside(inside(container))
    assert [] == target.check_inside(second)


def second_way(container: Netns, address: str = "10.209.0.8/32") -> Inside:
    return inside(
        container,
        name="eth1",
        mac="02:00:00:00:00:08",
        addresses=(ip_interface(address), ip_interface("fd01::8/128")),
        default_route=False,
        own_way=True,
    )


def test_what_an_interface_answers_leaves_by_it_wherever_the_default_route_leads(target, container):
    wanted = second_way(container)
    assert put(target, inside(container)) is None
    assert put(target, wanted, "swy2") is None

    for world, own, device in (
        ("203.0.113.1", "10.209.0.8", "eth1"),
        ("2001:db8::1", "fd01::8", "eth1"),
        ("203.0.113.1", "10.208.0.7", "eth0"),
    ):
        (way,) = shown(container, f"route get {world} from {own}")
        assert device == way["dev"]
    assert [] == target.check_inside(wanted)


@pytest.mark.parametrize(
    "damage",
    [
        "ip rule del from 10.209.0.8",
        "ip -6 rule del from fd01::8",
        "ip route flush table {}",
    ],
)
def test_the_way_of_an_interface_is_put_back(target, container, damage):
    wanted = second_way(container)
    put(target, wanted, "swy2")
    (rule,) = (r for r in shown(container, "rule") if r["src"] == "10.209.0.8")
    container.run(damage.format(rule["table"]))

    assert 1 == len(target.check_inside(wanted))
    target.repair_inside(wanted)
    assert [] == target.check_inside(wanted)


def test_the_rules_of_an_interface_that_is_gone_go_with_the_next_and_others_stay(target, container):
    container.run("ip rule add from 192.0.2.1 lookup 7 pref 9")
    put(target, second_way(container), "swy2")
    target.delete({"swy2"})
    assert put(target, second_way(container, "10.209.0.9/32"), "swy3") is None

    kept = container.run("ip rule show")
    assert "from 10.209.0.9 lookup" in kept
    assert "from 192.0.2.1 lookup 7" in kept
    assert "10.209.0.8" not in kept


def test_an_interface_name_that_exists_is_refused_and_stays(target, container):
    container.run("ip link add eth0 type veth peer name other")
    before = shown(container, "link")

    error = put(target, inside(container))

    assert error is not None
    assert (errno.EEXIST, "interface eth0 exists in the container already") == error.args
    assert before == shown(container, "link")
    assert {} == target.read()


def test_what_fails_half_way_leaves_nothing(target, host, container):
    container.run("ip link set lo up; ip link add x type veth peer name y; ip link set x up")
    container.run("ip route add default dev x")

    error = put(target, inside(container))

    assert error is not None
    assert errno.EADDRINUSE == error.errno  # another interface's route is no interface of that name
    assert "route 0.0.0.0/0 via 169.254.1.1 in the container" in str(error)
    assert ["lo"] == [link["ifname"] for link in shown(host, "link")]
    assert "eth0" not in [link["ifname"] for link in shown(container, "link")]


def test_a_namespace_that_is_gone_or_another_one_is_refused(target, container):
    stale = inside(container, netns_inode=container.inode + 1)
    gone = inside(container, netns="/run/netns/swt-none")
    no_namespace = inside(container, netns="/etc/hostname")

    found = [put(target, wanted) for wanted in (stale, gone, no_namespace)]
    assert [errno.ESTALE, errno.ENOENT, errno.ESTALE] == [error.errno for error in found if error]
    assert {} == target.read()


def test_a_namespace_that_has_the_inode_of_an_earlier_one_is_another(target, make_netns):
    earlier = [make_netns() for _ in range(8)]
    noted = {netns.inode(space.path): inside(space) for space in earlier}
    known = {netns.inode(space.path): netns.known(space.path) for space in earlier}
    for space in earlier:
        space.remove()

    later, end = make_netns(), time.monotonic() + 60
    while later.inode not in noted:  # it comes again soon, once the kernel is done with them
        later.remove()
        assert time.monotonic() < end
        later = make_netns()
    before = known[later.inode]
    assert not before.is_(netns.known(later.path))
    stale = replace(noted[later.inode], netns=str(later.path), netns_cookie=before.cookie)
    error = put(target, stale)
    assert error is not None
    assert errno.ESTALE == error.errno
    assert ["lo"] == [link["ifname"] for link in shown(later, "link")]
    assert put(target, inside(later, netns_cookie=netns.known(later.path).cookie)) is None


def test_an_existing_pair_is_brought_to_new_values_on_both_sides(target, container):
    put(target, inside(container))
    ifindex = target.ifindexes()[NAME]
    changed = inside(container, mac="02:00:00:00:00:99")

    assert put(target, changed, mtu=1380) is None
    assert ifindex == target.ifindexes()[NAME]
    (peer,) = shown(container, "link show eth0")
    assert (1380, "02:00:00:00:00:99") == (peer["mtu"], peer["address"])


def test_a_pair_left_by_an_earlier_container_is_made_anew(target, container, make_netns):
    put(target, inside(container))
    before = target.ifindexes()[NAME]
    successor = make_netns()

    assert put(target, inside(successor)) is None
    assert before != target.ifindexes()[NAME]
    assert ["lo"] == [link["ifname"] for link in shown(container, "link")]
    assert [] == target.check_inside(inside(successor))


def test_check_names_what_is_missing_and_repair_brings_it_back(target, container):
    wanted = inside(container)
    put(target, wanted)
    for damage, problem in {
        "ip addr del 10.208.0.7/32 dev eth0": "address 10.208.0.7/32 is missing",
        "ip addr del fd00::7/128 dev eth0": "address fd00::7/128 is missing",
        "ip -6 route del default": "route ::/0 via fe80::1 is missing",
        "ip neigh del 169.254.1.1 dev eth0": "neighbour 169.254.1.1 is missing",
        "ip link set eth0 down": "the flag UP is missing",
        "ip link set eth0 address 02:00:00:00:00:55": "has MAC 02:00:00:00:00:55, expected",
    }.items():
        container.run(damage)
        assert problem in "\n".join(target.check_inside(wanted))
        target.repair_inside(wanted)
        assert [] == target.check_inside(wanted)


MANY = 3000


def test_what_other_interfaces_of_a_container_have_is_not_gone_through(target, container):
    wanted = inside(container)
    put(target, wanted)
    container.run("ip link add x type veth peer name y; ip link set x up")
    more = [f"route add 10.{n // 250}.{n % 250}.0/24 dev x table 7" for n in range(MANY)]
    container.run("ip -batch -", "\n".join(more))
    container.run("ip route del default")

    assert ["interface eth0: route 0.0.0.0/0 via 169.254.1.1 is missing"] == (
        target.check_inside(wanted)
    )
    target.repair_inside(wanted)
    assert [] == target.check_inside(wanted)


@pytest.mark.parametrize("what", ["route add {} dev eth0 table 7", "addr add {} dev eth0"])
def test_an_interface_that_has_more_than_anybody_looks_through_is_left_alone(
    target, container, what
):
    wanted = inside(container)
    put(target, wanted)
    more = [what.format(f"10.{n // 250}.{n % 250}.1/32") for n in range(MANY)]
    container.run("ip -batch -", "\n".join(more))
    container.run("ip -6 route del default")

    assert [] == target.check_inside(wanted)
    with pytest.raises(OSError, match="more is listed than anybody wants to know"):
        target.repair_inside(wanted)
    assert put(target, wanted, mtu=1400) is None
    assert ("default", "fe80::1") in routes(container)


def test_check_says_that_the_interface_or_the_namespace_is_gone(target, container):
    wanted = inside(container)

    assert ["interface eth0 is missing in the container"] == target.check_inside(wanted)
    elsewhere = replace(wanted, netns="/run/netns/swt-none")
    assert ["network namespace /run/netns/swt-none: No such file or directory"] == (
        target.check_inside(elsewhere)
    )


def test_who_asked_is_told_the_number_of_every_link(host, container):
    told: list[tuple[str, int]] = []
    links = LinkTarget(host.path, created=lambda name, ifindex: told.append((name, ifindex)))
    put(links, inside(container))

    assert list(links.ifindexes().items()) == told
    links.close()


class VanishingLinks(LinkTarget):
    """Whose containers end as soon as they are attached."""

    def _put(self, link: Link) -> None:
        super()._put(link)
        self.delete({link.name})


def test_a_link_that_went_away_again_has_no_number_and_failed(host, container):
    told: list[tuple[str, int]] = []
    links = VanishingLinks(host.path, created=lambda name, ifindex: told.append((name, ifindex)))
    error = put(links, inside(container))

    assert error is not None
    assert (errno.ENODEV, []) == (error.errno, told)
    links.close()


def test_many_links_are_deleted_as_one_and_strangers_of_the_same_name_stay(target, host, container):
    for number in range(1, 6):
        own = inside(container, name=f"eth{number}", default_route=False, addresses=())
        assert put(target, own, f"swy{number}") is None
    host.run("ip link add swybridge type veth peer name swyother")

    assert {} == target.delete({*target.read(), "swy-gone"})
    assert {"lo", "swybridge", "swyother"} == {link["ifname"] for link in shown(host, "link")}


class RefusingRtnl(Rtnl):
    """Whose kernel takes no link into a group that has this number."""

    refuses = -1

    def request(self, requests: Sequence[Request]) -> list[OSError | None]:
        refused = [bytes(4) + struct.pack("=i", self.refuses) == r.body[:8] for r in requests]
        outcome = iter(
            super().request([r for r, no in zip(requests, refused, strict=True) if not no])
        )
        return [OSError(errno.ENOMEM, "no memory") if no else next(outcome) for no in refused]


def test_a_link_that_does_not_get_into_the_group_is_told_and_tried_again(target, host, container):
    for number in (1, 2, 3):
        own = inside(container, name=f"eth{number}", default_route=False, addresses=())
        assert put(target, own, f"swy{number}") is None
    deleter = netns.visit_path(host.path, RefusingRtnl)
    deleter.refuses = target.ifindex("swy2")
    target._deleter.close()
    target._deleter = deleter

    failed = target.delete({"swy1", "swy2", "swy3"})
    assert {"swy2": errno.ENOMEM} == {name: error.errno for name, error in failed.items()}
    assert ["swy2"] == list(target.read())
    deleter.refuses = -1
    assert {} == target.delete({"swy1", "swy2", "swy3"})
    assert {} == target.read()
