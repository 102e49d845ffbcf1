"""Calls that the front kept while no agent answered."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from cni_caller import LATE, NEVER, OTHER, Caller, calls, endpoints, play
from seaway.doors.cni import CniDoor
from seaway.errors import SystemFailed
from seaway.records import store_key


def spooled(caller: Caller, verb: str, at: float, **fields: Any) -> None:
    folder = caller.folder.parent / "spool"
    folder.mkdir(exist_ok=True)
    env = {"CNI_COMMAND": verb, "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0"}
    stdin = json.dumps({"cniVersion": "1.1.0", "name": "net"} | fields.pop("conf", {}))
    time = int(at * 1e9)
    told = {"env": env, "stdin": stdin, "time": time, "netns_inode": 0} | fields
    (folder / f"{time:020d}-0000000001").write_text(json.dumps(told))


def waiting(caller: Caller) -> list[str]:
    folder = caller.folder.parent / "spool"
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_spooled_del_is_done_before_the_next_add(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        await caller.call("ADD")
        first = endpoints(caller)[0]
        spooled(caller, "DEL", LATE)

        told = await caller.call("ADD", netns=caller.netns("again"))

        assert "code" not in told
        assert [] == waiting(caller)
        assert [first.id] == [e.id for e in endpoints(caller)]
        assert first.netns != endpoints(caller)[0].netns

    play(tmp_path, scenario)


def test_a_spooled_del_never_touches_a_later_add(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        await caller.call("ADD")
        spooled(caller, "DEL", NEVER)

        await caller.door.drain()

        assert 1 == len(endpoints(caller))
        assert [] == waiting(caller)

    play(tmp_path, scenario)


def test_a_spooled_del_of_the_same_namespace_is_done_whatever_the_clock_says(
    tmp_path: Path,
) -> None:
    async def scenario(caller: Caller) -> None:
        await caller.call("ADD")
        spooled(caller, "DEL", NEVER, netns_inode=endpoints(caller)[0].netns_inode)

        await caller.door.drain()

        assert [] == endpoints(caller)

    play(tmp_path, scenario)


def test_a_spooled_gc_frees_only_what_is_older(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        await caller.call("ADD")
        spooled(caller, "GC", NEVER, conf={"cni.dev/valid-attachments": []})
        await caller.door.drain()
        assert 1 == len(endpoints(caller))

        spooled(caller, "GC", LATE, conf={"cni.dev/valid-attachments": []})
        await caller.door.drain()
        assert [] == endpoints(caller)

    play(tmp_path, scenario)


def test_a_spooled_del_that_cannot_be_done_yet_holds_up_its_own_add_alone(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        await caller.call("ADD")
        spooled(caller, "DEL", LATE)
        record = store_key(endpoints(caller)[0])
        caller.agent.store.refuses = {record: SystemFailed("the disk is full")}

        with pytest.raises(Exception, match="an earlier DEL of this attachment is not done yet"):
            await caller.call("ADD")
        assert "code" not in await caller.call("ADD", "c2")

        caller.agent.store.refuses = {}
        assert "code" not in await caller.call("ADD")
        assert [] == waiting(caller)

    play(tmp_path, scenario)


def theirs(folder: Path) -> dict[str, Any]:
    """Of a spooled DEL that another IPAM is to hear of."""
    env = {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0"}
    return {"conf": OTHER, "env": env | {"CNI_PATH": str(folder)}}


@pytest.mark.parametrize("how", ["fail", "mute", "hang"])
def test_a_spooled_del_that_another_ipam_cannot_do_now_is_kept_for_it(
    tmp_path: Path, how: str
) -> None:
    async def scenario(caller: Caller) -> None:
        folder = caller.install_ipam()
        caller.door = CniDoor(caller.agent.intents, tmp_path / "spool", ipam_patience=0.5)
        await caller.call("ADD", conf=OTHER)
        spooled(caller, "DEL", LATE, **theirs(folder))
        (folder / f"{how}-DEL").touch()

        await caller.door.drain()
        assert ["."] == [str(Path(w).parent) for w in waiting(caller)]

        (folder / f"{how}-DEL").unlink()
        await caller.door.drain()
        assert [] == waiting(caller)

    play(tmp_path, scenario)


def test_a_spooled_del_that_is_slow_holds_up_no_add_of_others_again(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        folder = caller.install_ipam()
        spooled(caller, "DEL", LATE, **theirs(folder))
        (folder / "fail-DEL").touch()
        await caller.door.drain()
        (folder / "fail-DEL").unlink()
        (folder / "hang-DEL").touch()
        asked = len(calls(folder))

        async with asyncio.TaskGroup() as group:
            watching = group.create_task(caller.door.drain())
            while len(calls(folder)) == asked:  # noqa: ASYNC110, a process tells no event
                await asyncio.sleep(0)
            assert "code" not in await caller.call("ADD", "c2")
            assert not watching.done()
            watching.cancel()
        assert asked + 1 == len(calls(folder))

    play(tmp_path, scenario)


def test_what_a_front_that_was_killed_left_unfinished_is_removed(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        spooled(caller, "DEL", LATE)
        old, new = (caller.folder.parent / "spool" / f".new-{n}" for n in (7, 8))
        for path in (old, new):
            path.write_text("unfinished")
        os.utime(old, (1.0, 1.0))

        await caller.door.drain()

        assert [".new-8"] == waiting(caller)

    play(tmp_path, scenario)


def test_broken_files_of_the_spool_are_moved_aside_and_hold_up_nothing(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        await caller.call("ADD")
        spooled(caller, "DEL", LATE)
        folder = caller.folder.parent / "spool"
        (folder / "0-half").write_text('{"env": {')
        (folder / "0-link").symlink_to("/etc/passwd")
        (folder / "0-add").write_text(
            json.dumps({"env": {"CNI_COMMAND": "ADD"}, "stdin": "{}", "time": 1, "netns_inode": 0})
        )
        (folder / ".new-7").write_text("unfinished")

        await caller.door.drain()

        assert [] == endpoints(caller)
        aside = [".new-7", "broken/0-add", "broken/0-half", "broken/0-link"]
        assert aside == waiting(caller)

    play(tmp_path, scenario)


def test_a_gc_that_fails_is_not_tried_again(tmp_path: Path) -> None:
    """By then it would free what was attached after it."""

    async def scenario(caller: Caller) -> None:
        folder = caller.install_ipam()
        (folder / "fail-GC").touch()
        spooled(
            caller,
            "GC",
            LATE,
            conf=OTHER | {"cni.dev/valid-attachments": []},
            env={"CNI_COMMAND": "GC", "CNI_PATH": str(folder)},
        )

        await caller.door.drain()

        assert ["broken"] == [str(Path(w).parent) for w in waiting(caller)]

    play(tmp_path, scenario)


def test_an_address_that_another_ipam_gave_is_never_given_by_ours(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        folder = caller.install_ipam()
        await caller.call("ADD", "first")
        (folder / "result").write_text(json.dumps({"ips": [{"address": "10.208.0.2/24"}]}))
        await caller.call("ADD", "c1", conf=OTHER)

        told = [await caller.call("ADD", f"later-{n}") for n in range(4)]
        await caller.call("DEL", "c1", conf=OTHER)
        told += [await caller.call("ADD", f"last-{n}") for n in range(62)]

        given = [answer["ips"][0]["address"] for answer in told]
        assert len(set(given)) == len(given)
        assert "10.208.0.2/32" in given

    play(tmp_path, scenario)
