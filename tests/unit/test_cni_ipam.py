"""Every verb with another IPAM plugin, which is really executed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cni_caller import NEVER, OTHER, Caller, calls, endpoints, kept, play
from seaway.doors.cni import CniDoor


def test_another_ipam_gives_addresses_routes_and_dns(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        folder = caller.install_ipam()

        told = await caller.call("ADD", conf=OTHER | {"runtimeConfig": {"ips": ["10.9.9.9"]}})

        given = {"address": "10.208.3.5/24", "gateway": "10.208.3.1", "interface": 1}
        assert [given] == told["ips"]
        assert [
            {"dst": "0.0.0.0/0", "gw": "10.208.3.1"},
            {"dst": "192.0.2.0/24", "gw": "10.208.3.9"},
        ] == told["routes"]
        assert {"nameservers": ["10.208.3.2"]} == told["dns"]
        assert ["ADD c1 x"] == calls(folder)
        sent = json.loads((folder / "stdin").read_text())
        assert ("other", ["10.9.9.9"]) == (sent["ipam"]["type"], sent["runtimeConfig"]["ips"])
        assert ["10.208.3.5/24"] == [str(a) for a in endpoints(caller)[0].addresses]

    play(tmp_path, scenario)


def test_every_verb_is_forwarded_to_another_ipam(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        folder = caller.install_ipam()
        before = kept(caller)

        told = await caller.call("ADD", conf=OTHER)
        for verb in ("CHECK", "STATUS", "GC", "DEL", "DEL"):
            valid = [{"containerID": "c1", "ifname": "eth0"}]
            conf = OTHER | {"prevResult": told, "cni.dev/valid-attachments": valid}
            assert {} == await caller.call(verb, conf=conf)

        verbs = ["ADD", "CHECK", "STATUS", "GC", "DEL", "DEL"]
        assert verbs == [line.split()[0] for line in calls(folder)]
        assert before == kept(caller)

    play(tmp_path, scenario)


@pytest.mark.parametrize("verb", ["ADD", "CHECK", "STATUS", "GC", "DEL"])
def test_what_another_ipam_refuses_is_told_in_its_words_and_with_its_code(
    tmp_path: Path, verb: str
) -> None:
    async def scenario(caller: Caller) -> None:
        folder = caller.install_ipam()
        told = {} if verb == "ADD" else await caller.call("ADD", conf=OTHER)
        (folder / f"fail-{verb}").touch()

        conf = OTHER | {"prevResult": told, "cni.dev/valid-attachments": []}
        failed = await caller.call(verb, conf=conf)

        assert (5 if verb == "GC" else 123) == failed["code"]
        assert "IPAM plugin 'other': no lease" in failed["msg"]
        assert "it is broken\n" == caller.stderr

    play(tmp_path, scenario)


@pytest.mark.parametrize("how", ["fail", "mute"])
def test_an_add_that_another_ipam_fails_is_followed_by_its_del(tmp_path: Path, how: str) -> None:
    async def scenario(caller: Caller) -> None:
        folder = caller.install_ipam()
        before = kept(caller)
        (folder / f"{how}-ADD").touch()

        assert "code" in await caller.call("ADD", conf=OTHER)

        assert ["ADD c1 x", "DEL c1 x"] == calls(folder)
        assert before == kept(caller)

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    "result",
    [
        "",
        "[]",
        "{}",
        '{"ips": []}',
        '{"ips": [{"address": "10.208.3.x"}]}',
        '{"cniVersion": "0.2.0", "ip4": {"ip": "10.208.3.5/24"}}',
        '{"ips": [{"address": "192.0.2.5/24"}]}',
        '{"ips": [{"address": "10.208.3.5/24"}, {"address": "10.208.3.5/32"}]}',
    ],
)
def test_a_result_of_another_ipam_that_cannot_be_used_is_undone(
    tmp_path: Path, result: str
) -> None:
    async def scenario(caller: Caller) -> None:
        folder = caller.install_ipam()
        before = kept(caller)
        (folder / "result").write_text(result)

        assert "code" in await caller.call("ADD", conf=OTHER)

        assert ["ADD c1 x", "DEL c1 x"] == calls(folder)
        assert before == kept(caller)

    play(tmp_path, scenario)


def test_one_address_means_one_endpoint_also_with_another_ipam(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        folder = caller.install_ipam()
        await caller.call("ADD", "c1", conf=OTHER)

        told = await caller.call("ADD", "c2", conf=OTHER)

        assert 101 == told["code"]
        assert "address 10.208.3.5 is taken by endpoint 'c1'" in told["msg"]
        assert ["ADD c1 x", "ADD c2 x", "DEL c2 x"] == calls(folder)

    play(tmp_path, scenario)


def test_a_repeated_add_never_reaches_another_ipam(tmp_path: Path) -> None:
    """Its DEL after the failed ADD would free the address of the container that runs."""

    async def scenario(caller: Caller) -> None:
        folder = caller.install_ipam()
        await caller.call("ADD", conf=OTHER)

        assert 101 == (await caller.call("ADD", conf=OTHER))["code"]
        assert ["ADD c1 x"] == calls(folder)

    play(tmp_path, scenario)


@pytest.mark.parametrize("committed", [True, False])
def test_an_add_asked_again_has_another_ipam_take_back_its_address_first(
    tmp_path: Path, *, committed: bool
) -> None:
    """It gave one, whether or not the agent lived to make an endpoint of it."""

    async def scenario(caller: Caller) -> None:
        folder = caller.install_ipam()
        if committed:
            await caller.call("ADD", conf=OTHER)
            (folder / "calls").unlink()

        assert "code" not in await caller.call("ADD", conf=OTHER, tried=NEVER)

        assert ["DEL c1 x", "ADD c1 x"] == calls(folder)
        assert 1 == len(endpoints(caller))

    play(tmp_path, scenario)


def test_another_ipam_that_hangs_is_killed(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        folder = caller.install_ipam()
        caller.door = CniDoor(caller.agent.intents, tmp_path / "spool", ipam_patience=0.5)
        (folder / "hang-ADD").touch()

        told = await caller.call("ADD", conf=OTHER)

        assert 11 == told["code"]
        assert "IPAM plugin 'other' did not end within" in told["msg"]
        assert [] == endpoints(caller)

    play(tmp_path, scenario)
