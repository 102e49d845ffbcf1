"""A trace that goes from agent to agent, over real TLS; whom names mean; who cannot be asked.

one (192.0.2.1) ── two (192.0.2.2) ── three (192.0.2.3)
"""

from __future__ import annotations

import asyncio
import time
from ipaddress import ip_address, ip_network
from urllib.parse import parse_qs

import pytest
from msgspec.structs import replace
from tests import agents
from tests.clusters import run
from tests.traced import told
from tests.waiting import until

from seaway.errors import Conflict, Invalid, NotFound, Unavailable, Unsupported
from seaway.model.facts import Block, Endpoint, Network, Overlay, Path, Peer, path_key
from seaway.model.reports import RouteReport
from seaway.model.requests import NewNetwork
from seaway.model.routing import Routes
from seaway.model.trace import Target, Traced


def web(end: str, port: int = 80) -> Target:
    return Target(end, port, "tcp")


WORLD_TO_HOST = tuple(map(ip_address, ("203.0.113.1", "192.0.2.1")))


async def line(cluster):
    """Three hosts with an endpoint on the first and the last; two is the relay of both."""
    one = await cluster.first()
    two = await cluster.join("two")
    three = await cluster.join("three")
    nodes = (one, two, three)
    for node in nodes:
        await until(lambda node=node: len(node.intents.facts.all(Peer)) == 2)
        node.intents.facts.change(Overlay, "host", Overlay(ifindex=7))
    for node, far in ((one, "three"), (three, "one")):
        node.intents.facts.change(Path, path_key(far, "hops"), Path(host=far, via="two"))
    first = await one.agent.attach("blue", name="a")
    last = await three.agent.attach("green", name="b")
    for node in nodes:
        await node.intents.convergence.settle()
    for node in nodes:
        await until(lambda node=node: knows(node, first, "one") and knows(node, last, "three"))
        await node.intents.convergence.settle()
    return nodes, first, last


def knows(node, endpoint, host):
    return host == node.intents.holder(endpoint.addresses[0].ip)


RELAYED = ["one from_endpoint send two", "two from_wire send three"]


def test_each_host_on_the_way_says_what_it_does(tmp_path):
    async def scenario(cluster):
        (one, _, three), first, last = await line(cluster)
        report = await one.intents.trace("default/a", web(str(last.addresses[0].ip)))
        delivered = "three from_wire deliver default/b"
        assert [*RELAYED, delivered] == told(report.steps)
        assert ("delivered", "") == (report.verdict, report.reason)
        assert f"default/a ({first.addresses[0].ip})" == report.source
        assert str(last.addresses[0].ip) == report.destination

        by_name = await one.intents.trace("a", web("b"))
        assert report.steps == by_name.steps
        nobody = await one.intents.trace("a", web(str(last.addresses[0].ip + 3)))
        assert [*RELAYED, "three from_overlay drop no_endpoint"] == told(nobody.steps)
        assert ("dropped", "no_endpoint") == (nobody.verdict, nobody.reason)

        elsewhere = await three.intents.trace("a", web("b"))
        assert report.steps == elsewhere.steps

    run(tmp_path, scenario)


def test_a_host_that_cannot_be_asked_is_told_and_the_trace_goes_on(tmp_path):
    async def scenario(cluster):
        (one, two, three), _, last = await line(cluster)
        path = RouteReport(host="three", routing="hops", path=("two", "three"))
        one.agent.host.told["routes"] = Routes(routes=(path,))
        one.intents.facts.change(Path, "three", Path(host="three", via="two", backup="three"))
        await two.stop()
        report = await one.intents.trace("a", web(str(last.addresses[0].ip)))
        first, lost, delivered = report.steps
        assert ("one", "two") == (first.host, first.to)
        assert ("two", "", "unknown", "three") == (lost.host, lost.at, lost.decision, lost.to)
        assert "it cannot be asked: " in lost.why
        assert "by the links it goes on to three" in lost.why
        assert ("three", "deliver", "default/b") == (
            delivered.host,
            delivered.decision,
            delivered.to,
        )
        assert "unknown" == report.verdict

        await three.stop()
        *_, gone = (await one.intents.trace("a", web("b"))).steps
        assert ("three", "unknown", "") == (gone.host, gone.decision, gone.to)
        assert gone.why.endswith("; the records have default/b there")

    run(tmp_path, scenario)


@pytest.mark.parametrize("routing", ["hops", "latency"])
def test_behind_a_host_that_cannot_be_asked_packets_go_by_their_networks_routing(tmp_path, routing):
    async def scenario(agent):
        await agent.intents.create_network(NewNetwork(name="web", routing=routing))
        facts = agent.intents.facts
        for name in "cde":
            facts.change(Peer, name, Peer(name=name, addresses=()))
        (subnet,) = (n for n in facts.get(Network, "web").subnets if n.version == 4)
        there = ip_network(f"{subnet[0]}/26")
        facts.change(Block, str(there), Block(prefix=there, network="web", host="d"))
        path = RouteReport(host="d", routing=routing, path=("c", "e", "d"))
        agent.host.told["routes"] = Routes(routes=(path,))
        packet = Traced(ip_address("203.0.113.1"), there[7], port=80, protocol="tcp")
        steps = await agent.intents._at("c", packet, time.monotonic() + 9)
        assert ["c  unknown e", "e  unknown d", "d  unknown"] == told(steps)
        assert {routing} == {question.routing for question in agent.host.questions}

    agents.run(tmp_path, scenario)


def test_a_question_that_leads_nowhere_ends(tmp_path):
    async def scenario(cluster):
        (one, two, _), _, last = await line(cluster)
        one.intents.facts.change(Path, "three", Path(host="three", via="two"))
        two.intents.facts.change(Path, "three", Path(host="three", via="one"))
        report = await one.intents.trace(str(last.addresses[0].ip), web("a"))
        lost, delivered = report.steps
        assert ("three", "unknown", "one") == (lost.host, lost.decision, lost.to)
        assert "the question does not come to host 'three'" in lost.why
        assert ("one", "deliver") == (delivered.host, delivered.decision)

    run(tmp_path, scenario)


def counted(*nodes):
    """From now on, whom each of them asks in the course of a trace."""
    asked = []
    for node in nodes:

        async def ask(host, method, path, *given, node=node, ask=node.others.ask):
            if path.startswith("/v1/trace"):
                asked.append((node.name, host.name))
            return await ask(host, method, path, *given)

        node.others.ask = ask
    return asked


def test_after_a_dead_agent_each_other_one_is_asked_once(tmp_path):
    """Each is the other's backup on the way to it."""

    async def scenario(cluster):
        (one, two, three), _, last = await line(cluster)
        for node, other in ((one, "two"), (two, "one")):
            path = Path(host="three", via="three", backup=other)
            node.intents.facts.change(Path, "three", path)
            await node.intents.convergence.settle()
        await three.stop()
        asked, came, answer = counted(one, two), [], two.intents.trace_on

        async def trace_on(*question):
            came.append(question)
            return await answer(*question)

        two.intents.trace_on = trace_on
        report = await one.intents.trace("a", web(str(last.addresses[0].ip)))
        assert ["one from_endpoint send three", "three  unknown"] == told(report.steps)
        assert "it cannot be asked: host 'three' at " in report.steps[-1].why
        assert [("one", "three"), ("one", "two"), ("two", "three")] == asked
        assert 1 == len(came)

    run(tmp_path, scenario)


def test_of_a_host_that_hangs_the_one_next_to_it_tells(tmp_path):
    async def scenario(cluster):
        (one, two, three), first, last = await line(cluster)
        await one.intents.trace("a", web("b"))
        go_on = asyncio.Event()

        async def trace_on(*_):
            await go_on.wait()
            return []

        three.intents.trace_on = trace_on
        asked = counted(one, two, three)
        ends = (first.addresses[0].ip, last.addresses[0].ip)
        packet = Traced(*ends, port=80, protocol="tcp", within=3000)
        steps = await one.intents.trace_on("one", packet)
        assert [*RELAYED, "three  unknown"] == told(steps)
        assert "it cannot be asked: host 'three' does not answer within " in steps[-1].why
        assert [("one", "two"), ("two", "three")] == asked
        go_on.set()

    run(tmp_path, scenario)


def test_a_question_without_an_answer_ends_in_time(tmp_path):
    async def scenario(agent):
        told_within, never = [], asyncio.Event()

        async def hang(_, path, *__):
            told_within.append(int(parse_qs(path)["within"][0]))
            await never.wait()

        agent.intents.others.answering |= {"c": hang, "d": hang}
        for name in "cd":
            agent.intents.facts.change(Peer, name, Peer(name=name, addresses=()))
        agent.intents.facts.change(Path, "d", Path(host="d", via="d", backup="c"))
        packet = Traced(*WORLD_TO_HOST, port=80, protocol="tcp", within=2000)
        with pytest.raises(Unavailable, match="host 'd' does not answer within 2 s"):
            await agent.intents.trace_on("d", packet)
        first, second = told_within
        assert first < 0.8 * 2000
        assert second < 0.2 * 2000
        with pytest.raises(Unavailable, match="no time is left to ask host 'd'"):
            await agent.intents.trace_on("d", replace(packet, within=99))

    agents.run(tmp_path, scenario)


def test_other_hosts_are_told_no_where_they_ask_too_much_at_once(tmp_path):
    async def scenario(agent):
        asked, go_on = [], asyncio.Event()

        async def slow(*given):
            asked.append(given)
            await go_on.wait()
            return []

        agent.intents.others.answering["d"] = slow
        agent.intents.facts.change(Peer, "d", Peer(name="d", addresses=()))
        question = agent.intents.trace_on
        packet = Traced(*WORLD_TO_HOST, port=80, protocol="tcp")
        under_way = [asyncio.create_task(question("d", packet)) for _ in range(16)]
        await until(lambda: len(asked) == 16)
        with pytest.raises(Unavailable, match="host 'h' is asked too much at once"):
            await question("d", packet)
        go_on.set()
        assert [[]] * 16 == await asyncio.gather(*under_way)
        assert [] == await question("d", packet)

    agents.run(tmp_path, scenario)


async def ends(agent):
    """A host with published ports, and two networks in which somebody is called `a`."""
    await agent.intents.create_network(NewNetwork(name="web"))
    first = await agent.attach("blue", name="a")
    await agent.attach("green", name="a", network="web")
    return first


@pytest.mark.parametrize(
    ("source", "to", "kind", "complaint"),
    [
        ("z", web("default/a"), NotFound, "there is no endpoint 'z'"),
        ("default/a", web("web/z"), NotFound, "there is no endpoint and no service 'web/z'"),
        ("a", web("world"), Conflict, "'a' means several endpoints: default/a on h, web/a on h"),
        ("world", web("203.0.113.7"), Invalid, "neither 'world' nor '203.0.113.7' is of this"),
        ("default/a", Target("web/a", 0, "tcp"), Invalid, "port 0 is out of range"),
        ("default/a", Target("web/a", 1, "sctp"), Unsupported, "'sctp' cannot be traced"),
    ],
)
def test_what_cannot_be_traced_says_why(tmp_path, source, to, kind, complaint):
    async def scenario(agent):
        await ends(agent)
        with pytest.raises(kind, match=complaint):
            await agent.intents.trace(source, to)

    agents.run(tmp_path, scenario)


def test_families_that_do_not_meet_are_told(tmp_path):
    async def scenario(agent):
        await ends(agent)
        with pytest.raises(Invalid, match="no family of addresses in common"):
            await agent.intents.trace("fd00::1", web("192.0.2.1"))
        six = await agent.intents.trace("default/a", web("2001:db8::1"))
        assert 6 == six.steps[0].source.version

    agents.run(tmp_path, scenario)


def test_an_address_of_nobody_is_traced_from_where_its_block_is(tmp_path):
    async def scenario(agent):
        first = await ends(agent)
        free = first.addresses[0].ip + 7
        for source, to in ((str(free), "default/a"), ("world", str(free))):
            report = await agent.intents.trace(source, web(to))
            assert "dropped" == report.verdict
        assert ip_address("10.208.0.0") < free
        assert 2 == len(agent.intents.facts.all(Endpoint))

    agents.run(tmp_path, scenario)
