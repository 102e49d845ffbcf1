"""What is done about links that went away: also where nothing can be found out or recorded."""

from __future__ import annotations

import errno
from pathlib import Path

from tests.agents import Agent, run

from seaway.errors import SystemFailed
from seaway.facts import Facts
from seaway.model.facts import Attached, Endpoint, Overlay, Shaped, Uplinks
from seaway.names import link_name
from seaway.records import store_key
from seaway.vigil import Vanished, devices


def test_an_endpoint_that_cannot_be_released_now_is_kept_and_released_later(
    tmp_path: Path,
) -> None:
    async def scenario(agent: Agent) -> None:
        web, other = await agent.attach("web"), await agent.attach("other")
        full = SystemFailed("cannot use the store: database or disk is full", "")
        agent.store.refuses = {store_key(web): full}
        vanished = vanish(agent, web, other)

        await vanished.release()
        assert vanished.unsure
        assert ["web"] == [r.endpoint.name for r in agent.intents.endpoints()]
        agent.store.refuses = {}
        await vanished.release()

        assert not vanished.unsure
        assert [] == agent.intents.endpoints()
        assert {} == agent.kernel["links"].read()

    run(tmp_path, scenario)


def test_an_endpoint_whose_container_cannot_be_looked_for_now_is_kept(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        vanished = vanish(agent, await agent.attach("web"))
        agent.host.unseen = OSError(errno.EMFILE, "too many open files")
        await vanished.release()
        assert vanished.unsure
        agent.host.unseen = None
        await vanished.release()

        assert [] == agent.intents.endpoints()

    run(tmp_path, scenario)


def test_every_device_is_kept_that_programs_count_for() -> None:
    """Also both ends of shapers that are there: `from_shaper` counts at one of them."""
    facts = Facts(())
    facts.change(Attached, "e", Attached(endpoint="e", ifindex=3))
    facts.change(Shaped, "swy1", Shaped(link="swy1", into=4, out=5))
    facts.change(Shaped, "swy2", Shaped(link="swy2", into=0, out=0))
    facts.change(Uplinks, "host", Uplinks(ipv6=True, devices=(("wan0", 6),)))
    facts.change(Overlay, "host", Overlay(ifindex=7))
    assert {3, 4, 5, 6, 7} == devices(facts)


def vanish(agent: Agent, *endpoints: Endpoint) -> Vanished:
    """Their namespaces go, and their links with them; what the agent has to think of that."""
    vanished = Vanished(agent.intents, lambda _: 0)
    for endpoint in endpoints:
        del agent.host.namespaces[endpoint.netns]
        del agent.kernel["links"].objects[link_name(endpoint.id)]
        vanished.suspect(link_name(endpoint.id))
    return vanished
