"""The first records of a cluster: what cannot be carried is refused before anything is kept."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from tests.fakes_store import FakeStore

from seaway.bootstrap import Initialised, Plan, initialise
from seaway.errors import Conflict, Invalid, NotFound
from seaway.model.addresses import ForeignPrefix

POOL = ip_network("10.208.0.0/12")


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (Plan("h", pools=(ip_network("240.0.0.0/12"),)), "pool 240.0.0.0/12 is no unicast range"),
        (Plan("h", pools=(ip_network("::/48"),)), "pool ::/48 is no unicast range"),
        (
            Plan("h", pools=(POOL,), service_subnets=(ip_network("127.1.0.0/16"),)),
            "service subnet 127.1.0.0/16 is no unicast range",
        ),
    ],
)
def test_addresses_that_no_host_can_have_begin_no_cluster(
    tmp_path: Path, plan: Plan, words: str
) -> None:
    async def scenario() -> None:
        store = FakeStore(tmp_path / "store.db")
        try:
            with pytest.raises(Invalid, match=words):
                await initialise(store, plan)
            assert {} == (await store.load()).items
        finally:
            await store.close()

    asyncio.run(scenario())


HERE = (
    ForeignPrefix(ip_network("10.208.0.0/12")),
    ForeignPrefix(ip_network("10.0.0.0/8"), "a network that this host is in", yields=False),
)


def test_a_pool_in_a_network_of_the_host_is_passed_over(tmp_path: Path) -> None:
    begun = begin(tmp_path, Plan("h", foreign=HERE))
    assert ip_network("172.24.0.0/14") == begun.cluster.pools[0]
    assert () == begun.warnings


def test_a_pool_around_an_address_of_the_host_is_refused(tmp_path: Path) -> None:
    own = ForeignPrefix(ip_network("10.208.0.11/32"), "an address of this host", yields=False)
    with pytest.raises(Conflict, match=r"overlaps 10\.208\.0\.11/32, an address of this host"):
        begin(tmp_path, Plan("h", pools=(POOL,), foreign=(own,)))


def test_a_pool_around_where_other_hosts_reach_this_one_is_refused(tmp_path: Path) -> None:
    """Also where that is no address of the host itself: it may be translated on the way."""
    reached = (ip_address("10.208.0.11"), ip_address("2001:db8::1"))
    words = r"overlaps 10\.208\.0\.11/32, where host 'h' is reached"
    with pytest.raises(Conflict, match=words):
        begin(tmp_path, Plan("h", pools=(POOL,), underlay=reached))
    begun = begin(tmp_path, Plan("h", underlay=reached))
    assert ip_network("10.112.0.0/12") == begun.cluster.pools[0]

    with pytest.raises(Conflict, match=r"10\.112\.0\.7 is in the pool 10\.112\.0\.0/12"):
        begin(tmp_path, Plan("h", underlay=(begun.cluster.pools[0][7],)))
    moved = begin(tmp_path, Plan("h", underlay=reached[1:]))
    assert reached[1:] == moved.host.underlay


@pytest.mark.parametrize(
    ("pool", "words"),
    [("10.208.0.0/12", "the host's route to 10.0.0.0/8 is less"), ("8.0.0.0/12", "public")],
)
def test_a_pool_that_keeps_the_host_from_others_is_taken_with_a_warning(
    tmp_path: Path, pool: str, words: str
) -> None:
    company = ForeignPrefix(ip_network("10.0.0.0/8"))
    begun = begin(tmp_path, Plan("h", pools=(ip_network(pool),), foreign=(company,)))
    assert 1 == len(begun.warnings)
    assert words in begun.warnings[0]


def test_how_packets_are_carried_is_said_at_first_or_later(tmp_path: Path) -> None:
    carrying = {"encapsulation": "auto", "overlay_port": 4790}
    begun = begin(tmp_path, Plan("h", pools=(POOL,), carrying=carrying))
    assert ("auto", 4790) == (begun.cluster.encapsulation, begun.cluster.overlay_port)

    assert begun.cluster == begin(tmp_path, Plan("h")).cluster
    later = begin(tmp_path, Plan("h", carrying={"encapsulation": "never"}))
    assert ("never", 4790) == (later.cluster.encapsulation, later.cluster.overlay_port)
    assert later.cluster == begin(tmp_path, Plan("h")).cluster


def begin(tmp_path: Path, plan: Plan) -> Initialised:
    async def scenario() -> Initialised:
        store = FakeStore(tmp_path / "store.db")
        try:
            return await initialise(store, plan)
        finally:
            await store.close()

    return asyncio.run(scenario())


def test_a_host_that_was_removed_is_not_the_one_that_is_left(tmp_path: Path) -> None:
    """Its own name is known; who never was told of another one may have been renamed."""

    async def scenario() -> None:
        store = FakeStore(tmp_path / "store.db")
        try:
            begun = await initialise(store, Plan("one"))
            known = Plan("two", cluster=begun.cluster.id)
            with pytest.raises(NotFound, match="host 'two' was removed from its cluster"):
                await initialise(store, known)
            assert begun.host == (await initialise(store, Plan("two"))).host
        finally:
            await store.close()

    asyncio.run(scenario())
