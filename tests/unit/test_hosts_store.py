"""The store through others: a host that has not the way to it, or only in a circle."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from msgspec.structs import replace
from tests.clusters import run

from seaway.cluster import membership
from seaway.errors import Unavailable
from seaway.model.facts import Block, Peer
from seaway.model.requests import NewToken
from seaway.upkeep import Upkeep, _through


def test_without_the_way_to_the_store_a_host_lives_on_and_catches_up(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        two = await cluster.join("two")
        await two.agent.attach("web")
        block = two.intents.facts.all(Block)
        await one.stop()
        await two.agent.attach("db")  # of the block that it has
        with pytest.raises(Unavailable, match="the store is lost"):
            await two.intents.create_token(NewToken())
        assert block == two.intents.facts.all(Block)
        assert 2 == len(two.intents.endpoints())
        assert ["one", "two"] == [report.host.name for report in await two.intents.hosts()]
        assert 4 == sum(len(report.holders) for report in await two.intents.ipam())
        status = two.intents.status()
        assert ("another host", 1) == (status.store, status.unsent)
        assert status.store_lost

    run(tmp_path, scenario)


def test_two_hosts_that_know_of_each_other_alone_do_not_take_each_other_for_the_store(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        two = await cluster.join("two")
        three = await cluster.join("three", at="two")
        two.intents.store._through.append(three.address)  # as it may have learnt
        await three.until(lambda: three.intents.store.chain == ("two", "one"))
        await one.stop()
        for node in (two, three):
            await node.until(lambda n=node: n.agent.store.lost)
        with pytest.raises(Unavailable, match="in a circle only"):
            await two.intents.store.load()

    run(tmp_path, scenario)


def test_the_store_is_had_through_hosts_that_came_later_and_the_one_of_the_join_may_go(tmp_path):
    """Written down: the next agent knows them, too."""
    file = tmp_path / "member.json"

    async def scenario(cluster):
        one = await cluster.first()
        two = await cluster.join("two")
        three = await cluster.join("three", at="two")
        assert (two.address,) == three.intents.member.through
        await three.until(lambda: 2 == three.intents.facts.number(Peer))
        assert await Upkeep(three.intents, file).look()
        assert (two.address, one.address) == membership.load(file).through

        await two.stop()
        await one.intents.remove_host("two", force=True)
        await three.until(lambda: not three.intents.facts.get(Peer, "two"))
        assert await Upkeep(three.intents, file).look()
        assert (one.address, two.address) == membership.load(file).through

    run(tmp_path, scenario)


def test_of_many_hosts_some_are_asked_for_the_store_and_what_a_person_wrote_is_kept():
    peers = [
        Peer(name=f"h{n}", number=n, addresses=(), underlay=(ip_address(f"192.0.2.{n}"),))
        for n in range(2, 60)
    ]
    peers.append(replace(peers[0], name="c", number=60, underlay=(), control=True))
    peers.append(replace(peers[1], name="d", number=61, control=True))
    found = _through(("first.example", "192.0.2.40", "192.0.2.99"), peers)

    assert ("192.0.2.40", "192.0.2.3", "192.0.2.2", "192.0.2.4") == found[:4]
    assert ("first.example", "192.0.2.99") == found[-2:]
    assert 18 == len(set(found))
    assert found == _through(found, peers)
