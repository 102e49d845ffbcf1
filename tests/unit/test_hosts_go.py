"""How hosts drain, are removed and leave."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests import agents
from tests.clusters import ask, left_of, records, run
from tests.waiting import until

from seaway.cluster import reclaiming
from seaway.errors import Conflict, Forbidden, NotFound
from seaway.model.addresses import mapped
from seaway.model.facts import Block, Path, Peer
from seaway.model.reports import RelayReport, UseReport
from seaway.model.requests import NewToken
from seaway.model.routing import Apart
from seaway.model.services import Distant
from seaway.records import distant, fact_key, store_key
from seaway.store.base import Changed, Item, Snapshot
from seaway.upkeep import Upkeep

# Drain


def test_a_host_that_drains_may_go_once_nobody_sends_through_it(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        two, three = [await cluster.join(name) for name in ("two", "three")]
        for node in (one, two):
            await node.until(lambda n=node: 2 == len(n.intents.facts.all(Peer)))
        facts = one.intents.facts
        facts.change(Path, "three", Path(host="three", via="two"))
        facts.change(Path, "two", Path(host="two", via="two"))

        told = await three.intents.drain("two", draining=True)
        assert "one" in {*told.relay_of, *told.unheard}
        for node in (one, two):
            await node.until(lambda n=node: n.intents.relay("two").draining)
        told = await three.intents.drained("two")
        assert (("one",), ()) == (told.relay_of, told.unheard)

        facts.change(Path, "three", Path(host="three", via="three"))
        assert (await three.intents.drained("two")).ready

    run(tmp_path, scenario)


def test_a_host_that_alone_connects_others_drains_only_by_force(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        await cluster.join("two")
        apart = Apart(groups=(("one",), ("five", "four", "six", "three")))
        one.intents.surroundings.told["apart"] = apart
        words = "only through host 'two' do one and five, four and 2 more reach each other"
        with pytest.raises(Conflict, match=words):
            await one.intents.drain("two", draining=True)
        assert not one.intents.relay("two").draining
        await one.intents.drain("two", draining=True, force=True)
        assert (await one.intents.drain("two", draining=True)).draining  # to wait on

    run(tmp_path, scenario)


def test_a_host_that_drains_takes_no_new_endpoint_and_keeps_those_it_has(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        two = await cluster.join("two")
        endpoint = await two.agent.attach("web")
        await one.intents.drain("two", draining=True)
        await two.until(lambda: two.intents.here.draining)
        with pytest.raises(Conflict, match="host 'two' drains"):
            await two.agent.attach("db")
        assert [endpoint.id] == [r.endpoint.id for r in two.intents.endpoints()]
        assert 1 == (await one.intents.drained("two")).endpoints

        await one.intents.drain("two", draining=False)
        await two.until(lambda: not two.intents.here.draining)
        await two.agent.attach("db")

    run(tmp_path, scenario)


def test_a_host_that_drains_is_waited_for_until_services_have_no_connection_to_it(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        two = await cluster.join("two")
        endpoint = await two.agent.attach("web")
        key = fact_key(distant(endpoint))
        await one.until(lambda: one.intents.facts.get(Distant, key))
        for node, connections in ((one, 3), (two, 1)):
            node.agent.host.served[mapped(endpoint.addresses[0].ip)] = connections
        assert 4 == (await one.intents.drain("two", draining=True)).connections
        await two.until(lambda: two.intents.here.draining)
        assert not (await one.intents.drained("two")).ready
        for node in (one, two):
            node.agent.host.served.clear()
        assert (await one.intents.drained("two")).ready

    run(tmp_path, scenario)


def test_a_dead_host_holds_up_a_drain_by_name(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        two = await cluster.join("two")
        await one.until(lambda: one.intents.facts.get(Peer, "two"))
        await two.stop()
        told = await one.intents.drain("two", draining=True)
        assert ((), ("two",)) == (told.relay_of, told.unheard)
        assert not told.ready

    run(tmp_path, scenario)


@pytest.mark.parametrize("act", ["drain", "network rm"])
def test_all_hosts_are_asked_at_once(tmp_path, act):
    """Each answers when all have been asked."""

    async def scenario(agent):
        asked, facts = asyncio.Barrier(3), agent.intents.facts

        async def answer(_method, path, *_given):
            await asked.wait()
            if path.endswith("/relay"):
                return RelayReport(draining=False, relay=False)
            return UseReport(leaving=True, endpoints=())

        for n, name in enumerate("abc", 2):
            facts.change(Peer, name, Peer(name=name, number=n, addresses=()))
            block = Block(prefix=ip_network(f"10.208.{n}.0/24"), network="default", host=name)
            facts.change(Block, str(block.prefix), block)
            agent.intents.others.answering[name] = answer
        if act == "drain":
            assert () == (await agent.intents.drained("a")).unheard
        else:
            await agent.intents._refuse_used("default")

    agents.run(tmp_path, scenario)


def test_of_many_hosts_so_many_are_asked_at_once_as_are_not_in_each_others_way(tmp_path):
    async def scenario(agent):
        gate, facts, asked, most = asyncio.Event(), agent.intents.facts, 0, 0

        async def answer(*_given):
            nonlocal asked, most
            asked += 1
            most = max(most, asked)
            await gate.wait()
            asked -= 1
            return RelayReport(draining=False, relay=False)

        for n in range(2, 152):
            facts.change(Peer, f"p{n}", Peer(name=f"p{n}", number=n, addresses=()))
            agent.intents.others.answering[f"p{n}"] = answer
        asking = [asyncio.ensure_future(agent.intents.drained("p2")) for _ in range(2)]
        await until(lambda: asked)
        gate.set()

        assert [(), ()] == [told.unheard for told in await asyncio.gather(*asking)]
        assert 1 < most < 100  # connections, which aiohttp has at once

    agents.run(tmp_path, scenario)


# Removal


@pytest.mark.parametrize("dead", [True, False])
def test_a_removed_host_leaves_nothing_and_is_one_no_more(tmp_path, dead):
    async def scenario(cluster):
        one = await cluster.first()
        two, three = [await cluster.join(name) for name in ("two", "three")]
        await two.agent.attach("web")
        await three.until(lambda: three.intents.facts.get(Peer, "two"))
        if dead:
            await two.stop()
        with pytest.raises(Conflict, match="host 'two' has 1 endpoints: web"):
            await three.intents.remove_host("two", force=False)
        await three.intents.remove_host("two", force=True)

        assert set() == await left_of("two", cluster)
        await one.until(lambda: not one.intents.facts.get(Peer, "two"))
        assert [] == one.intents.facts.all(Block)
        with pytest.raises(Forbidden, match="this cluster has no host 'two'"):
            await ask(cluster, two.keeper.folder)

    run(tmp_path, scenario)


def test_what_runs_on_a_host_that_was_removed_goes_on(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        two = await cluster.join("two")
        await two.agent.attach("web")
        before = two.agent.state()
        await one.until(lambda: one.intents.facts.get(Peer, "two"))
        await one.intents.remove_host("two", force=True)
        await two.until(lambda: two.agent.store.lost or two.intents.records.removed)

        assert before == two.agent.state()
        assert "two" == two.intents.here.name
        assert 1 == len(two.intents.endpoints())

    run(tmp_path, scenario)


def test_a_host_that_is_told_of_its_own_removal_keeps_what_it_knows_and_changes_nothing(tmp_path):
    """As etcd tells it, which does not ask who somebody is."""

    async def scenario(cluster):
        one = await cluster.first()
        await one.agent.attach("web")
        before, facts = one.agent.state(), one.intents.facts.all(Block)
        blocks = [store_key(block) for block in facts]
        await one.agent.store.commit(dict.fromkeys(["hosts/one", *blocks]))
        await one.until(lambda: one.intents.records.removed)

        assert before == one.agent.state()
        assert facts == one.intents.facts.all(Block)
        (trouble,) = one.intents.status().failures
        assert ("cluster", "one") == (trouble.target, trouble.key)
        assert "this host was removed from it" in trouble.error
        for change in (one.agent.attach("db"), one.intents.create_token(NewToken())):
            with pytest.raises(Conflict, match="this host was removed from the cluster"):
                await change
        await one.intents.detach("web")
        assert [] == one.intents.endpoints()

    run(tmp_path, scenario)


def test_removed_twice_or_by_two_at_once_a_host_is_gone_and_nothing_else(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        two, three, four = [await cluster.join(n) for n in ("two", "three", "four")]
        await three.agent.attach("web")
        await four.agent.attach("web")
        for node in (one, two):
            await node.until(lambda n=node: n.intents.facts.get(Peer, "three"))
        done = await asyncio.gather(
            *(node.intents.remove_host("three", force=True) for node in (one, two) * 3),
            return_exceptions=True,
        )
        assert {NotFound, type(None)} >= {type(d) for d in done}
        assert None in done

        items = await records(cluster)
        assert {"hosts/one", "hosts/two", "hosts/four"} == {k for k in items if "hosts/" in k}
        assert {"four"} == {k.split("/")[1] for k in items if k.startswith("endpoints/")}
        with pytest.raises(NotFound, match="there is no host 'three'"):
            await one.intents.remove_host("three", force=True)

    run(tmp_path, scenario)


def test_a_removal_that_died_half_way_is_finished_by_anybody(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        two = await cluster.join("two")
        for n in range(60):
            await two.agent.attach(f"web{n}")
        await one.until(lambda: one.intents.facts.get(Peer, "two"))
        await two.stop()
        await one.intents._forget("two", force=True)
        assert [key for key in await records(cluster) if key.startswith("endpoints/two")]

        await Upkeep(one.intents).look()
        assert set() == await left_of("two", cluster)

    run(tmp_path, scenario)


def test_a_step_of_upkeep_that_fails_holds_no_other_one_back(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        two = await cluster.join("two")
        await two.agent.attach("web")
        await one.until(lambda: one.intents.facts.get(Peer, "two"))
        await two.stop()
        await one.intents._forget("two", force=True)
        moved = replace(one.intents.here, underlay=(ip_address("127.0.77.9"),))
        await one.intents.records.commit([moved])  # so another certificate is due
        one.keeper.folder.authority_key.write_text("damaged")

        assert not await Upkeep(one.intents).look()
        assert set() == await left_of("two", cluster)

    run(tmp_path, scenario)


def test_a_host_that_joined_again_under_its_name_loses_nothing_to_a_late_removal(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        two = await cluster.join("two")
        await two.agent.attach("web")
        await one.until(lambda: one.intents.facts.get(Peer, "two"))
        known = await one.intents._known()
        items = {k: i for k, i in known.snapshot.items.items() if k != "hosts/two"}
        late = list(reclaiming.steps(Snapshot(known.snapshot.revision, items), known.blocks))
        assert 2 == len(late)
        for step in late:
            with pytest.raises(Changed):
                await cluster.nodes["one"].agent.store.commit(step.changes, step.expect)

    run(tmp_path, scenario)


def test_the_last_control_host_and_the_host_itself_are_not_removed_by_mistake(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        two = await cluster.join("two")
        with pytest.raises(Conflict, match="that is this host itself"):
            await one.intents.remove_host("one", force=True)
        with pytest.raises(Conflict, match="host 'one' is the last control host"):
            await two.intents.remove_host("one", force=False)
        with pytest.raises(NotFound, match=r"no host 'none' \(known: one, two\)"):
            await two.intents.remove_host("none", force=False)

    run(tmp_path, scenario)


def test_who_keeps_the_records_of_all_is_removed_by_nobody(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        two = await cluster.join("two")
        three = await cluster.join("three", at="two")
        for host in (two, three):
            with pytest.raises(Conflict, match="records of the whole cluster are on host 'one'"):
                await host.intents.remove_host("one", force=True)
        assert ["one", "two", "three"] == [r.host.name for r in await two.intents.hosts()]
        await one.intents.create_token(NewToken())

    run(tmp_path, scenario)


def test_all_that_a_removal_would_lose_is_told_at_once(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        two = await cluster.join("two")
        await one.agent.attach("web")
        words = "has 1 endpoints: .*; and it is the last control host"
        with pytest.raises(Conflict, match=words) as refused:
            await two.intents.remove_host("one", force=False)
        assert "first detach them, and have another one join by" in refused.value.hint

    run(tmp_path, scenario)


def test_a_host_leaves_and_what_it_had_is_free(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        two = await cluster.join("two")
        endpoint = await two.agent.attach("web")
        with pytest.raises(Conflict, match="has 1 endpoints"):
            await two.intents.leave(force=False)
        await two.intents.detach(endpoint.id)
        await two.intents.leave(force=False)
        await two.intents.leave(force=False)  # again: it is out already
        await one.until(lambda: not one.intents.facts.get(Peer, "two"))
        await Upkeep(one.intents).look()
        assert set() == await left_of("two", cluster)

    run(tmp_path, scenario)


def test_the_host_that_holds_the_records_does_not_leave(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        with pytest.raises(Conflict, match="the only one of its cluster"):
            await one.intents.leave(force=True)
        await cluster.join("two")
        await one.until(lambda: one.intents.facts.get(Peer, "two"))
        with pytest.raises(Conflict, match="first move them: seaway init --etcd URL"):
            await one.intents.leave(force=True)

    run(tmp_path, scenario)


# What a removal takes, in steps


@given(
    owners=st.dictionaries(st.integers(0, 200), st.sampled_from("abcd"), max_size=150),
    hosts=st.sets(st.sampled_from("abcd")),
)
def test_what_removed_hosts_left_goes_in_steps_that_etcd_takes_and_nothing_else(owners, hosts):
    keys = {f"hosts/{h}" for h in hosts} | {"cluster", "networks/n", "tokens/0"}
    blocks = {f"blocks/10.0.{n}.0-26": owner for n, owner in owners.items() if n % 3 == 0}
    keys |= blocks.keys()
    keys |= {f"endpoints/{owner}/{n:016x}" for n, owner in owners.items() if n % 3 == 1}
    keys |= {f"health/{owner}/{n:016x}" for n, owner in owners.items() if n % 6 == 1}
    keys |= {f"before/{owner}" for n, owner in owners.items() if n % 3 == 2}
    items = {key: Item(b"", at) for at, key in enumerate(sorted(keys), 1)}

    def owner_of(key):
        return blocks.get(key) or (key.split("/")[1] if key[:2] in ("en", "be", "he") else None)

    gone, folders = set(), []
    for step in reclaiming.steps(Snapshot(999, items), blocks):
        assert 128 > len(step.changes) + len(step.expect)
        assert {None} == set(step.changes.values())
        for key in step.changes:
            assert items[key].revision == step.expect[key]
            assert 0 == step.expect[f"hosts/{owner_of(key)}"]
        gone |= step.changes.keys()
        folders += [key.split("/")[0] for key in step.changes]

    assert {k for k in items if owner_of(k) and owner_of(k) not in hosts} == gone
    assert sorted(folders, key=["health", "endpoints", "before", "blocks"].index) == folders
