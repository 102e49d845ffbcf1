"""What the kernel's notifications tell, of a host that is a namespace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

from namespaces import Netns
from seaway.kernel.addresses import AddressTarget
from seaway.kernel.links import LinkTarget
from seaway.kernel.routes import RouteTarget
from seaway.kernel.vxlan import VxlanTarget
from seaway.kernel.watch import Watch
from seaway.model.facts import HostAddresses
from seaway.model.kernel import HostAddress, Inside, Link, Route, Vxlan
from seaway.names import GATEWAY_MAC, OVERLAY_DEVICE, OVERLAY_PORT
from waiting import DEADLINE

DST = ip_network("10.208.0.7/32")
OWN = ip_address("10.223.0.1")


class Notes:
    """A watcher that remembers all it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.here: frozenset[Any] = frozenset()
        self.news = asyncio.Event()

    def changed(self, target: str, key: Any, actual: object | None) -> None:
        self._note((target, key, actual))

    def down(self, name: str) -> None:
        self._note(("down", name))

    def addresses(self, here: HostAddresses) -> None:
        self.here = here.addresses
        self.news.set()

    def uplinks(self) -> None:
        self._note(("uplinks",))

    def lost(self) -> None:
        self._note(("lost",))

    def _note(self, told: tuple[Any, ...]) -> None:
        self.told.append(told)
        self.news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not condition():
                self.news.clear()
                await self.news.wait()


@pytest.fixture
def host(make_netns: Callable[[], Netns]) -> Netns:
    return make_netns()


@contextmanager
def watching(host: Netns) -> Iterator[Notes]:
    notes = Notes()
    watch = Watch(notes, host.path)
    watch.start()
    try:
        yield notes
    finally:
        watch.close()


def link_in(container: Netns) -> Link:
    addresses = (ip_interface("10.208.0.7/32"),)
    inside = Inside(
        str(container.path), container.inode, "eth0", "02:00:00:00:00:07", addresses, True, ()
    )
    return Link("swy1", GATEWAY_MAC, 1500, inside)


def test_other_devices_default_routes_and_those_of_routers_are_told_as_such(host):
    devices = "ip link add up0 type veth peer name up1; ip link set up0 up; ip link set up1 up"
    routed = ("ip -6 route add default dev up0 proto ra metric 5", "ip route add default dev up0")

    async def scenario() -> None:
        for command in (devices, *routed, "ip route del default"):
            with watching(host) as notes:
                host.run(command)
                await notes.until(lambda: ("uplinks",) in notes.told)

    asyncio.run(scenario())


def test_a_link_is_told_when_it_comes_changes_and_goes(host, make_netns):
    links, link = LinkTarget(host.path), link_in(make_netns())

    async def scenario() -> None:
        with watching(host) as notes:
            links.put({link.name: link})
            await notes.until(lambda: ("links", "swy1", link) in notes.told)
            host.run("ip link set swy1 mtu 1300")
            changed = Link("swy1", GATEWAY_MAC, 1300)
            await notes.until(lambda: ("links", "swy1", changed) in notes.told)
            host.run("ip link set swy1 address 02:00:00:00:00:66")
            await notes.until(lambda: ("links", "swy1", None) in notes.told)
            notes.told.clear()
            host.run("ip link del swy1")
            await notes.until(lambda: ("links", "swy1", None) in notes.told)

    asyncio.run(scenario())
    links.close()


def test_the_overlays_device_is_told_when_it_comes_changes_and_goes(host):
    target, wanted = VxlanTarget(host.path), Vxlan(OVERLAY_DEVICE, 1450, OVERLAY_PORT)

    async def scenario() -> None:
        with watching(host) as notes:
            target.put({OVERLAY_DEVICE: wanted})
            await notes.until(lambda: ("vxlan", OVERLAY_DEVICE, wanted) in notes.told)
            host.run(f"ip link set {OVERLAY_DEVICE} mtu 1300")
            changed = replace(wanted, mtu=1300)
            await notes.until(lambda: ("vxlan", OVERLAY_DEVICE, changed) in notes.told)
            host.run(f"ip link del {OVERLAY_DEVICE}")
            await notes.until(lambda: ("vxlan", OVERLAY_DEVICE, None) in notes.told)

    asyncio.run(scenario())
    target.close()


def test_a_link_that_is_set_down_is_told_and_one_that_was_set_up_since_is_not(host, make_netns):
    links, link = LinkTarget(host.path), link_in(make_netns())

    async def scenario() -> None:
        with watching(host) as notes:
            links.put({link.name: link})
            links.set_up(links.ifindex("swy1"))
            await notes.until(lambda: len(notes.told) > 1)
            assert ("down", "swy1") not in notes.told
            host.run("ip link set swy1 down")
            await notes.until(lambda: ("down", "swy1") in notes.told)

    asyncio.run(scenario())
    links.close()


def test_routes_and_addresses_of_ours_are_told_and_those_of_others_are_not(host, make_netns):
    links, link = LinkTarget(host.path), link_in(make_netns())
    links.put({link.name: link})
    links.set_up(links.ifindex("swy1"))
    addresses, routes = AddressTarget(host.path), RouteTarget(host.path)
    route = Route(DST, "swy1", OWN)

    async def scenario() -> None:
        with watching(host) as notes:
            addresses.put({OWN: HostAddress(OWN)})
            routes.put({DST: route})
            host.run("ip route add 192.0.2.0/24 dev swy1")
            await notes.until(lambda: ("routes", DST, route) in notes.told)
            assert ("addresses", OWN, HostAddress(OWN)) in notes.told
            host.run("ip route del 10.208.0.7/32")
            await notes.until(lambda: ("routes", DST, None) in notes.told)
            routes.put({DST: route})
            notes.told.clear()
            host.run("ip route replace 10.208.0.7/32 dev swy1")
            await notes.until(lambda: ("routes", DST, None) in notes.told)
            host.run("ip addr del 10.223.0.1/32 dev lo")
            await notes.until(lambda: ("addresses", OWN, None) in notes.told)
            assert ip_network("192.0.2.0/24") not in {told[1] for told in notes.told}

    asyncio.run(scenario())
    for target in (links, addresses, routes):
        target.close()


def test_the_hosts_addresses_are_told_at_start_and_whenever_they_change(host):
    host.run("ip link set lo up")
    first = {ip_address("127.0.0.1"), ip_address("::1")}

    async def scenario() -> None:
        with watching(host) as notes:
            assert first == notes.here
            host.run("ip addr add 198.51.100.1/32 dev lo")
            await notes.until(lambda: first | {ip_address("198.51.100.1")} == notes.here)
            host.run("ip addr del 198.51.100.1/32 dev lo")
            await notes.until(lambda: first == notes.here)

    asyncio.run(scenario())


def test_lost_notifications_are_told_and_the_addresses_read_anew(host):
    """More than the largest receive buffer takes, while nobody reads."""

    async def scenario() -> None:
        with watching(host) as notes:
            host.run("ip link set lo up")
            flood = "\n".join(
                f"addr {v} 10.9.{i // 250}.{i % 250}/32 dev lo"
                for v in ("add", "del")
                for i in range(6000)
            )
            host.run("ip -batch -", text=flood)
            host.run("ip addr add 198.51.100.1/32 dev lo")
            await notes.until(lambda: ("lost",) in notes.told)
            await notes.until(lambda: ip_address("198.51.100.1") in notes.here)
            await notes.until(lambda: ip_address("10.9.0.1") not in notes.here)

    asyncio.run(scenario())
