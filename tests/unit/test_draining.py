"""How long the sockets of those have who asked a backend that left its service."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from contextlib import suppress
from ipaddress import ip_address, ip_interface
from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.test_services import VIP, endpoint, facts_of, key, learn, service

from seaway.bpf import abi
from seaway.bpf.partings import Parting, Serves
from seaway.draining import Draining, Lingering
from seaway.facts import Facts
from seaway.model.addresses import mapped
from seaway.model.facts import Endpoint
from seaway.model.services import DRAIN, Distant, ServicePort
from seaway.records import distant, fact_key
from waiting import until

TCP, UDP = 6, 17
HERE, THERE, NOWHERE = "10.0.0.1", "10.0.0.2", "10.0.0.9"


class Sockets:
    """Such that were led: when they end, in seconds from now; those of TCP are left as they are."""

    def __init__(self, found: Iterable[Parting] = ()) -> None:
        self._found = set(found)
        self.times: dict[Parting, float] = {}
        self.ended: list[Parting] = []

    def find(self) -> set[Parting]:
        return self._found

    def left(self, service: abi.PortKey, backends: Iterable[abi.PortKey], within: float) -> None:
        self.times |= {Parting(service, backend): within for backend in backends}

    def vanished(self, addresses: Collection[bytes]) -> None:
        for parting in self.times:
            if parting.backend.addr in addresses and parting.backend.protocol == UDP:
                self.times[parting] = 0.0

    @property
    def due(self) -> float | None:
        return min(self.times.values(), default=None)

    def end(self, _: Serves) -> int:
        over = [parting for parting, left in self.times.items() if not left]
        self.ended += over
        self.times = {p: left for p, left in self.times.items() if left}
        return len(over)


def parting(address: str, protocol: int = UDP) -> Parting:
    return Parting(key(VIP, 80, protocol), key(ip_address(address), 8080, protocol))


def draining(made: Facts, sockets: Any) -> Draining:
    """As the agent has it."""
    found = Draining(made, sockets, Lingering(made), {})
    found.listen()
    return found


def left(of: Draining, *partings: Parting, drain: float = 60.0) -> None:
    for one in partings:
        of.left(one.service, {one.backend}, drain)
    of.look()


def forget(made: Facts, of: Endpoint) -> None:
    if of.host == "h":
        made.change(Endpoint, fact_key(of), None)
    else:
        made.change(Distant, fact_key(distant(of)), None)


def of_both_hosts() -> Facts:
    return facts_of(endpoint(1), endpoint(2, "p"))


def test_datagrams_have_the_time_to_drain_where_some_host_has_the_endpoint() -> None:
    sockets = Sockets()
    places = HERE, THERE, "fd00::1", "fd00::2"
    left(draining(of_both_hosts(), sockets), *map(parting, places))
    assert dict.fromkeys(map(parting, places), 60.0) == sockets.times


def test_datagrams_have_none_where_nobody_is_and_streams_have_it_everywhere() -> None:
    """As with an address that a slice named."""
    sockets = Sockets()
    streams = [parting(place, TCP) for place in (HERE, NOWHERE)]
    left(draining(of_both_hosts(), sockets), parting(NOWHERE), parting("fd00::9"), *streams)
    assert sockets.times == {
        parting(NOWHERE): 0.0,
        parting("fd00::9"): 0.0,
        **dict.fromkeys(streams, 60.0),
    }


@pytest.mark.parametrize("number", [1, 2])
def test_datagrams_have_none_any_more_where_the_endpoint_goes(number: int) -> None:
    made, sockets = of_both_hosts(), Sockets()
    of = draining(made, sockets)
    left(of, parting(HERE), parting(THERE), parting(HERE, TCP), parting(THERE, TCP))
    forget(made, endpoint(number, {1: "h", 2: "p"}[number]))
    of.look()
    gone = parting({1: HERE, 2: THERE}[number])
    assert {gone} == {p for p, time in sockets.times.items() if time != 60.0}
    assert 0.0 == sockets.times[gone]


def test_who_gets_the_address_next_does_not_get_its_sockets() -> None:
    one, sockets = endpoint(1), Sockets()
    made = facts_of(one)
    of = draining(made, sockets)
    left(of, parting(HERE))
    forget(made, one)
    learn(made, replace(endpoint(9), addresses=one.addresses))
    of.look()
    assert {parting(HERE): 0.0} == sockets.times


@pytest.mark.parametrize("host", ["h", "p"])
def test_an_endpoint_is_where_its_addresses_are_whatever_else_is_said_of_it(host: str) -> None:
    one, sockets = endpoint(1, host), Sockets()
    made = facts_of(one)
    of = draining(made, sockets)
    left(of, parting(HERE), parting("fd00::1"))
    learn(made, replace(one, terminating=True, ready=False, labels={}))
    of.look()
    assert {60.0} == set(sockets.times.values())
    learn(made, replace(one, addresses=(ip_interface("10.0.0.7/32"), one.addresses[1])))
    of.look()
    assert {parting(HERE): 0.0, parting("fd00::1"): 60.0} == sockets.times


def test_what_went_before_it_is_told_that_it_left_is_gone() -> None:
    made, sockets = of_both_hosts(), Sockets()
    of = draining(made, sockets)
    forget(made, endpoint(1))
    of.look()
    left(of, parting(HERE))
    assert {parting(HERE): 0.0} == sockets.times


def test_what_left_while_no_agent_was_here_has_the_time_of_its_service() -> None:
    """By whatever address of a host its port was asked."""
    web = ServicePort(port=80, target=8080, node_port=30080)
    made, sockets = facts_of(service(ports=(web,), drain=90.0)), Sockets()
    backend = parting(HERE, TCP).backend
    asked = [key(VIP), key(ip_address("127.0.0.1"), 30080), key(VIP, 81)]
    draining(made, sockets).lost(Parting(one, backend) for one in asked)
    assert [90.0, 90.0, DRAIN] == [sockets.times[Parting(one, backend)] for one in asked]


def test_an_agent_that_begins_anew_ends_at_once_who_asked_what_is_gone_and_what_goes() -> None:
    async def scenario() -> None:
        made = of_both_hosts()
        sockets = Sockets([parting(HERE), parting(THERE), parting(NOWHERE), parting("10.0.0.8")])
        of, settled = draining(made, sockets), list[Any]()
        still = mapped(ip_address("10.0.0.8"))

        async def settle(keys: Iterable[Any]) -> None:
            assert {} == sockets.times
            settled.extend(keys)
            await asyncio.sleep(0)

        running = asyncio.create_task(of.run(lambda _, backend: backend.addr == still, settle))
        await until(lambda: sockets.ended)
        assert [("services", key(VIP, 80, UDP))] == settled
        assert [parting(NOWHERE)] == sockets.ended
        assert {parting(HERE): DRAIN, parting(THERE): DRAIN} == sockets.times

        forget(made, endpoint(2, "p"))
        await until(lambda: len(sockets.ended) == 2)
        assert [parting(NOWHERE), parting(THERE)] == sockets.ended
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    asyncio.run(scenario())


def test_endpoints_that_vanish_together_are_one_question() -> None:
    """Each would go through all that waits."""
    hosts = [endpoint(number, "p") for number in range(1, 201)]
    made, asked = facts_of(*hosts), list[int]()

    class Counting(Sockets):
        def vanished(self, addresses: Collection[bytes]) -> None:
            asked.append(len(addresses))

    of = draining(made, Counting())
    for one in hosts:
        forget(made, one)
    of.look()
    of.look()
    assert [400] == asked
