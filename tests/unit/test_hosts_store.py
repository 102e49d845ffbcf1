"""The store through others: a host that has not the way to it, or only in a circle."""

from __future__ import annotations

import pytest
from tests.clusters import run

from seaway.errors import Unavailable
from seaway.model.facts import Block
from seaway.model.requests import NewToken


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
        two.intents.store._places.append(three.address)  # as it may have learnt
        await three.until(lambda: three.intents.store.chain == ("two", "one"))
        await one.stop()
        for node in (two, three):
            await node.until(lambda n=node: n.agent.store.lost)
        with pytest.raises(Unavailable, match="in a circle only"):
            await two.intents.store.load()

    run(tmp_path, scenario)
