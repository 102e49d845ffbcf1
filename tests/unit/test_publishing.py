"""Ports published and taken back against a fake kernel: what is refused changes nothing."""

from __future__ import annotations

import asyncio
import errno
import time
from ipaddress import ip_address
from pathlib import Path

import pytest
from tests.agents import Agent
from tests.unit.test_intents import run

from seaway.bpf import abi
from seaway.desired.transport.publications import publications_of
from seaway.errors import Conflict, Exhausted, Invalid, NotFound, SeawayError, SystemFailed
from seaway.model.facts import Endpoint, Publication
from seaway.model.publications import HeldPort, parse_mapping
from seaway.model.requests import NewNetwork, Publications


def mapped(*mappings: str) -> tuple[Publication, ...]:
    return tuple(port for text in mappings for port in parse_mapping(text))


def asked(*mappings: str) -> Publications:
    return Publications(ports=mapped(*mappings))


async def attach(agent: Agent, name: str, *mappings: str) -> Endpoint:
    return await agent.attach(name, ports=mapped(*mappings))


async def publish(agent: Agent, name: str, *mappings: str) -> Endpoint:
    return await agent.intents.publish(name, asked(*mappings))


WAYS = {"attach": attach, "publish": publish}


def test_ports_are_published_with_the_endpoint_and_go_with_it(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        before = agent.state()
        endpoint = await agent.attach("web", ports=mapped("8080:80", "53:53/udp"))

        assert 4 == len(agent.kernel["publications"].read())
        assert [2, 2] == list(map(len, agent.kernel["origins"].read().values()))
        records = agent.kernel["endpoints"].read().values()
        assert all(record.flags & abi.ENDPOINT_PUBLISHED for record in records)
        assert mapped("8080:80", "53:53/udp") == agent.intents.endpoint("web").endpoint.ports
        await agent.intents.detach(endpoint.id)
        assert before == agent.state()

    run(tmp_path, scenario)


def test_ports_are_published_and_taken_back_while_the_endpoint_lives(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        await agent.attach("web")
        before = agent.state()
        await agent.intents.publish("web", asked("8080:80"))
        one = agent.state()
        told = await agent.intents.publish("default/web", asked("192.0.2.1:8081-8082:81-82"))
        assert 3 == len(told.ports)
        assert 4 == len(agent.kernel["publications"].read())

        await agent.intents.unpublish("web", asked("192.0.2.1:8081-8082:81-82"))
        assert one == agent.state()
        left = await agent.intents.unpublish("web", asked("8080:80"))
        assert () == left.ports
        assert before == agent.state()

    run(tmp_path, scenario)


def test_published_ports_are_there_again_after_a_restart(tmp_path: Path) -> None:
    async def first(agent: Agent) -> None:
        await agent.attach("web", ports=mapped("8080:80"))

    async def second(agent: Agent) -> None:
        assert mapped("8080:80") == agent.intents.endpoint("web").endpoint.ports
        assert 2 == len(agent.kernel["publications"].read())
        with pytest.raises(Conflict, match="taken by endpoint 'web'"):
            await agent.attach("other", ports=mapped("8080:80"))

    run(tmp_path, first)
    run(tmp_path, second)


SSHD = HeldPort("tcp", ip_address("0.0.0.0"), 22, "sshd (process 812)")
RESOLVER = HeldPort("udp", ip_address("127.0.0.53"), 53, "systemd-resolve (process 7)")
BAD: list[tuple[list[str], type[SeawayError], str]] = [
    (["8080:81"], Conflict, "port 8080/tcp is taken by endpoint 'first' of network 'default'"),
    (["0.0.0.0:8080:80"], Conflict, "port 8080/tcp of 0.0.0.0 is taken by endpoint 'first'"),
    (["192.0.2.1:8080:80"], Conflict, "port 8080/tcp of 192.0.2.1 is taken by endpoint"),
    (["[::1]:8000-8080:8000-8080"], Conflict, "port 8080/tcp of ::1 is taken by endpoint"),
    (["9090:90/udp"], Conflict, "port 9090/udp is taken by endpoint 'first'"),
    (["22:22"], Conflict, r"port 22/tcp is taken by sshd \(process 812\) \(choose another"),
    (["192.0.2.1:22:22"], Conflict, "port 22/tcp of 192.0.2.1 is taken by sshd"),
    (["0.0.0.0:53:53/udp"], Conflict, "port 53/udp of 0.0.0.0 is taken by systemd-resolve"),
    (["192.0.2.9:80:80"], Invalid, r"no address 192.0.2.9 \(it has 127.0.0.1, 192.0.2.1\)"),
    (["[2001:db8::9]:80:80"], Invalid, "this host has no address 2001:db8::9"),
    (["[fe80::5]:80:80"], Invalid, r"link-local address fe80::5 \(publish it on another address"),
    (["169.254.7.7:80:80"], Invalid, "link-local address 169.254.7.7"),
    (["[::ffff:169.254.7.7]:80:80"], Invalid, "link-local address 169.254.7.7"),
    (["80:80", "80:80"], Invalid, r"80:80/tcp is given twice \(give it once\)"),
    (["80:80", "80:81"], Conflict, "port 80/tcp is taken by 80:80/tcp, which is asked for too"),
    (["80:80", "127.0.0.1:80:81"], Conflict, "port 80/tcp of 127.0.0.1 is taken by 80:80/tcp"),
]


@pytest.mark.parametrize(("mappings", "kind", "words"), BAD, ids=lambda v: str(v)[:40])
@pytest.mark.parametrize("way", WAYS)
def test_a_port_that_cannot_be_had_is_refused_and_changes_nothing(
    tmp_path: Path, way: str, mappings: list[str], kind: type[SeawayError], words: str
) -> None:
    async def scenario(agent: Agent) -> None:
        agent.host.held = [SSHD, RESOLVER]
        await agent.attach("first", ports=mapped("8080:80", "192.0.2.1:9090:80/udp"))
        if way == "publish":
            await agent.attach("second")
        before = agent.state(), (await agent.store.load()).items
        with pytest.raises(kind, match=words) as caught:
            await WAYS[way](agent, "second", *mappings)
        assert "\n" not in str(caught.value)
        assert before == (agent.state(), (await agent.store.load()).items)

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    "mapping",
    ["8080:80/udp", "8081:80", "[::1]:22:22", "192.0.2.1:53:53/udp", "[2001:db8::1]:9090:90/udp"],
)
def test_the_same_port_elsewhere_is_another_one(tmp_path: Path, mapping: str) -> None:
    async def scenario(agent: Agent) -> None:
        agent.host.held = [SSHD, RESOLVER]
        await agent.attach("first", ports=mapped("8080:80", "192.0.2.1:9090:80/udp"))
        await agent.attach("second", ports=mapped(mapping))

    run(tmp_path, scenario)


def test_a_port_that_it_has_already_is_not_published_again(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        await agent.attach("web", ports=mapped("8000-8009:80-89", "7:7"))
        with pytest.raises(Conflict, match="published for this endpoint already") as caught:
            await agent.intents.publish("web", asked("8005:85"))
        assert "it has 7:7/tcp, 8000-8009:80-89/tcp" == caught.value.hint

    run(tmp_path, scenario)


def test_what_is_not_published_cannot_be_taken_back(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        await agent.attach("web", ports=mapped("8080:80"))
        for mapping in ("8080:81", "8080:80/udp", "192.0.2.1:8080:80"):
            with pytest.raises(NotFound, match="does not publish") as caught:
                await agent.intents.unpublish("web", asked("8080:80", mapping))
            assert "it has 8080:80/tcp" == caught.value.hint
        assert mapped("8080:80") == agent.intents.endpoint("web").endpoint.ports
        for intent in (agent.intents.publish, agent.intents.unpublish):
            with pytest.raises(Invalid, match="no port was given"):
                await intent("web", asked())
            with pytest.raises(NotFound, match="no endpoint 'none'"):
                await intent("none", asked("1:1"))

    run(tmp_path, scenario)


def test_a_family_that_the_endpoint_does_not_have_is_refused(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        await agent.intents.create_network(NewNetwork(name="four", families=(4,)))
        await agent.attach("web", network="four", ports=mapped("8080:80"))
        assert 1 == len(agent.kernel["publications"].read())
        for mapping in ("[::1]:81:81", "[::]:81:81"):
            with pytest.raises(Invalid, match="endpoint 'web' has no IPv6 address"):
                await agent.intents.publish("web", asked(mapping))

    run(tmp_path, scenario)


@pytest.mark.parametrize("way", WAYS)
def test_a_port_that_the_kernel_refuses_is_taken_back(tmp_path: Path, way: str) -> None:
    async def scenario(agent: Agent) -> None:
        if way == "publish":
            await agent.attach("web")
        before = agent.state()
        key = abi.PortKey(bytes(16), b"\x1f\x90", 6)
        agent.kernel["publications"].refuses = {key: OSError(errno.E2BIG, "no room")}
        with pytest.raises(SystemFailed, match="no room"):
            await WAYS[way](agent, "web", "8080:80", "8081:81")
        agent.kernel["publications"].refuses = {}
        assert before == agent.state()

    run(tmp_path, scenario)


def test_a_port_that_the_kernel_does_not_let_go_of_is_no_success_and_is_tried_again(
    tmp_path: Path,
) -> None:
    async def scenario(agent: Agent) -> None:
        await agent.attach("web")
        before = agent.state()
        await agent.intents.publish("web", asked("8080:80"))
        key = abi.PortKey(bytes(16), b"\x1f\x90", 6)
        agent.kernel["publications"].refuses = {key: OSError(errno.EBUSY, "not now")}
        with pytest.raises(SystemFailed, match="not now") as told:
            await agent.intents.unpublish("web", asked("8080:80"))
        assert "tried again" in told.value.hint
        assert () == agent.intents.endpoint("web").endpoint.ports
        (failure,) = agent.intents.status().failures
        assert "publications" == failure.target

        agent.kernel["publications"].refuses = {}
        agent.intents.convergence.retry()
        while agent.intents.status().failures:  # noqa: ASYNC110, a retry tells no event
            await asyncio.sleep(0)
        assert before == agent.state()

    run(tmp_path, scenario)


def test_a_thousand_ports_at_once_are_published_in_a_moment(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        used = time.process_time()
        endpoint = await agent.attach("web", ports=mapped("10000-10999:10000-10999"))
        assert 3.0 > time.process_time() - used  # seconds of CPU; it takes 0.2
        assert 2000 == len(agent.kernel["publications"].read())
        await agent.intents.unpublish(endpoint.id, asked("10000-10999:10000-10999"))
        assert {} == agent.kernel["publications"].read()

    run(tmp_path, scenario)


def test_more_ports_than_the_map_holds_are_refused(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        with pytest.raises(Exhausted, match="no room for 32769 more"):
            await agent.attach("web", ports=mapped("10000-42768:10000-42768"))
        assert [] == agent.intents.endpoints()

    run(tmp_path, scenario)


def test_of_two_who_want_the_same_port_at_once_one_gets_it(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        wishes = [agent.attach(f"c{i}", ports=mapped("8080:80")) for i in range(20)]
        found = await asyncio.gather(*wishes, return_exceptions=True)
        assert 19 == sum(isinstance(answer, Conflict) for answer in found)

    run(tmp_path, scenario)


def test_an_endpoint_that_published_meanwhile_is_forgotten_all_the_same(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        before = agent.state()
        endpoint = await agent.attach("web")
        await agent.intents.publish("web", asked("8080:80"))
        await agent.intents.forget_endpoint(endpoint)
        assert [] == agent.intents.endpoints()
        assert before == agent.state()

    run(tmp_path, scenario)


def test_while_thousands_of_ports_are_published_others_are_answered(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        await agent.attach("web")
        wish = asyncio.ensure_future(publish(agent, "web", "10000-11999:10000-11999"))
        answered = 0
        while not wish.done():
            await asyncio.sleep(0)
            answered += bool(agent.intents.convergence._facts.stale and agent.intents.status())
        await wish
        assert answered > 5

    run(tmp_path, scenario)


def test_a_check_reads_back_whether_the_ports_lead_somewhere(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        endpoint = await agent.attach("web", ports=mapped("8080:80"))
        assert [] == await agent.intents.check_endpoint("web")
        key = next(iter(publications_of(endpoint)))
        del agent.kernel["publications"].objects[key]

        (told,) = await agent.intents.check_endpoint("web")
        assert told.startswith("1 of the host's publications missing or changed")
        await agent.intents.convergence.settle([("publications", key)])
        assert [] == await agent.intents.check_endpoint("web")
        assert ["publications"] == [drift.target for drift in agent.intents.status().drift]

    run(tmp_path, scenario)
