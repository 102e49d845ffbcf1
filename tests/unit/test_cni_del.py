"""CNI DEL and GC, against real intents over a fake kernel."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cni_caller import Caller, endpoints, kept, play
from seaway.model.facts import endpoint_id


def test_a_del_leaves_nothing_and_may_be_repeated(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        before = kept(caller)
        await caller.call("ADD")

        assert {} == await caller.call("DEL")
        assert before == kept(caller)
        assert {} == await caller.call("DEL")

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    "options",
    [
        {"env": {"CNI_NETNS": ""}},
        {"netns": "/run/netns/seaway-none"},
        {"conf": {"prevResult": None}},
        {"conf": {"prevResult": {"ips": "broken"}}},
        {"conf": {"runtimeConfig": {"portMappings": [{"hostPort": 80}]}}},
        {"conf": {"colour": "blue", "mtu": "big"}},
        {"conf": {"network": "gone"}},
        {"env": {"CNI_ARGS": "="}},
    ],
)
def test_a_del_succeeds_whatever_else_is_gone_or_was_refused(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    async def scenario(caller: Caller) -> None:
        before = kept(caller)
        await caller.call("ADD")

        assert {} == await caller.call("DEL", **options)
        assert before == kept(caller)

    play(tmp_path, scenario)


def test_a_del_takes_its_own_attachment_only(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        await caller.call("ADD", "c1")
        await caller.call("ADD", "c2")
        await caller.call("ADD", "c1", env={"CNI_IFNAME": "eth1"})

        await caller.call("DEL", "c1")

        assert ["c1-eth1", "c2"] == sorted(e.name for e in endpoints(caller))

    play(tmp_path, scenario)


def test_an_endpoint_that_is_named_as_an_attachment_is_not_taken_for_it(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        other = await caller.agent.attach("other", name=endpoint_id("c1", "eth0"))
        previous = {"interfaces": [{"name": "eth0", "sandbox": "/x"}]}

        assert 100 == (await caller.call("CHECK", conf={"prevResult": previous}))["code"]
        assert {} == await caller.call("DEL")
        assert [other] == endpoints(caller)

    play(tmp_path, scenario)


def test_calls_of_one_attachment_are_served_one_after_another(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        before = kept(caller)
        calls = [caller.call(verb) for verb in ["ADD", "DEL"] * 5]

        answers = await asyncio.gather(*calls)

        assert [] == [a for a in answers if "code" in a]
        assert before == kept(caller)

    play(tmp_path, scenario)


def test_a_gc_frees_what_is_not_listed_of_this_configuration_alone(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        for container in ("c1", "c2", "c3"):
            await caller.call("ADD", container)
        await caller.call("ADD", "c4", conf={"name": "other"})
        await caller.agent.attach("by-hand")
        valid = [{"containerID": "c1", "ifname": "eth0"}, {"containerID": "c2", "ifname": "eth1"}]

        assert {} == await caller.call("GC", conf={"cni.dev/valid-attachments": valid})

        assert ["by-hand", "c1", "c4"] == sorted(e.name for e in endpoints(caller))

    play(tmp_path, scenario)


def test_a_gc_without_its_list_frees_nothing(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        await caller.call("ADD")
        assert 7 == (await caller.call("GC"))["code"]
        assert 1 == len(endpoints(caller))

    play(tmp_path, scenario)
