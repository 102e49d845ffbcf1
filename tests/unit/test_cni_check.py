"""CNI CHECK, STATUS and VERSION, against real intents over a fake kernel."""

from __future__ import annotations

import asyncio
import errno
import json
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from cni_caller import POD, SSHD, Caller, endpoints, kept, play, published
from seaway.doors.cni_result import SUPPORTED
from seaway.errors import NotReady
from seaway.model.requests import NetworkChange, NewNetwork, Publications
from seaway.model.wire import CniCall
from seaway.names import link_name


@pytest.mark.parametrize("version", SUPPORTED[1:])
def test_a_check_is_silent_while_all_is_there(tmp_path: Path, version: str) -> None:
    async def scenario(caller: Caller) -> None:
        told = await caller.call("ADD", conf={"cniVersion": version})

        conf = {"cniVersion": version, "prevResult": told}
        assert {} == await caller.call("CHECK", conf=conf)

    play(tmp_path, scenario)


def test_a_check_tells_what_is_missing(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        told = await caller.call("ADD")
        caller.agent.host.problems = ["address 10.208.0.1/32 is missing"]

        failed = await caller.call("CHECK", conf={"prevResult": told})

        assert 106 == failed["code"]
        assert "address 10.208.0.1/32 is missing" in failed["msg"]

    play(tmp_path, scenario)


def test_ports_are_published_by_an_add_checked_and_gone_with_a_del(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        before = kept(caller)
        conf = published(hostPort=8080, containerPort=80, protocol="TCP")["conf"]
        told = await caller.call("ADD", conf=conf)
        assert 2 == len(caller.agent.kernel["publications"].read())
        assert {} == await caller.call("CHECK", conf=conf | {"prevResult": told})

        ref, gone = endpoints(caller)[0].id, Publications(ports=endpoints(caller)[0].ports)
        await caller.agent.intents.unpublish(ref, gone)
        failed = await caller.call("CHECK", conf=conf | {"prevResult": told})
        assert 106 == failed["code"]
        assert "port 8080:80/tcp is not published" in failed["msg"]

        await caller.agent.intents.publish(ref, gone)
        assert {} == await caller.call("DEL", conf=conf)
        assert before == kept(caller)

    play(tmp_path, scenario)


def test_each_network_of_a_container_is_asked_for_all_ports_and_one_publishes_them(
    tmp_path: Path,
) -> None:
    async def scenario(caller: Caller) -> None:
        before = kept(caller)
        conf = published(hostPort=8080, containerPort=80)["conf"]
        both = [{"CNI_IFNAME": name} for name in ("eth0", "eth1")]

        told = [caller.call("ADD", conf=conf, env=env) for env in both]
        results = await asyncio.gather(*told)

        assert ["eth0", "eth1"] == [result["interfaces"][1]["name"] for result in results]
        assert [0, 1] == sorted(len(e.ports) for e in endpoints(caller))
        for env, result in zip(both, results, strict=True):
            assert {} == await caller.call("CHECK", conf=conf | {"prevResult": result}, env=env)
        assert 101 == (await caller.call("ADD", "c2", conf=conf))["code"]
        for env in both:
            await caller.call("DEL", conf=conf, env=env)
        assert before == kept(caller)

    play(tmp_path, scenario)


def test_a_port_that_a_runtime_keeps_for_a_container_is_published_for_it(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        caller.agent.host.held = [SSHD]
        caller.agent.host.keepers = {"c2": SSHD.holder}
        conf = published(hostPort=22, containerPort=22)["conf"]

        assert 101 == (await caller.call("ADD", "c1", conf=conf))["code"]
        assert "ips" in await caller.call("ADD", "c2", conf=conf)

    play(tmp_path, scenario)


def test_an_endpoint_is_called_as_podman_calls_the_container(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        named = {"CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAME=web"}
        await caller.call("ADD", "a" * 64, env=named)
        await caller.call("ADD", "a" * 64, env=named | {"CNI_IFNAME": "eth1"})
        await caller.call("ADD", "b" * 64, env=named)  # it was renamed, and the name used again
        await caller.call("ADD", "c" * 64, env={"CNI_ARGS": f"{POD};K8S_POD_NAME=web-0"})

        assert ["b" * 12, "c" * 12, "web", "web-eth1"] == [e.name for e in endpoints(caller)]

    play(tmp_path, scenario)


def test_a_check_waits_a_moment_for_the_kernel_to_converge(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        told = await caller.call("ADD")
        caller.agent.host.problems = ["not yet"]
        loop = asyncio.get_running_loop()
        loop.call_later(0.3, caller.agent.host.problems.clear)

        assert {} == await caller.call("CHECK", conf={"prevResult": told})

    play(tmp_path, scenario)


def test_a_check_looks_only_for_what_the_last_result_lists(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        told = await caller.call("ADD")
        told["interfaces"][1]["mac"] = "02:00:00:00:00:99"
        told["ips"] = told["ips"][:1]
        told["routes"] = [{"dst": "::/0"}]
        endpoint = endpoints(caller)[0]
        looked = caller.agent.host.looked

        assert {} == await caller.call("CHECK", conf={"prevResult": told})

        assert "02:00:00:00:00:99" == looked[0].mac
        assert endpoint.addresses[:1] == looked[0].addresses
        assert [ip_network("::/0")] == [r.dst for r in looked[0].routes]
        assert not looked[0].default_route

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    ("code", "previous"),
    [
        (7, None),
        (7, {}),
        (7, {"interfaces": [{"name": "eth9", "sandbox": "/x"}]}),
        (7, {"interfaces": [{"name": "eth0"}]}),
        (6, {"interfaces": "x"}),
        (100, {"interfaces": [{"name": "eth0", "sandbox": "/x"}]}),
    ],
)
def test_a_check_needs_the_result_of_an_add_that_was(
    tmp_path: Path, code: int, previous: Any
) -> None:
    async def scenario(caller: Caller) -> None:
        assert code == (await caller.call("CHECK", conf={"prevResult": previous}))["code"]

    play(tmp_path, scenario)


async def lose(caller: Caller, link: str) -> None:
    """Somebody removes a link, and the kernel will not make it again."""
    links, convergence = caller.agent.kernel["links"], caller.agent.intents.convergence
    links.refuses = {link: OSError(errno.ENOMEM, "no memory")}
    del links.objects[link]
    convergence.audit("links")
    await convergence.settle([("links", link)])


def test_status_is_silent_while_an_add_can_be_served(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        assert {} == await caller.call("STATUS")

    play(tmp_path, scenario)


def test_status_says_50_while_no_add_can_be_served_and_51_if_containers_suffer(
    tmp_path: Path,
) -> None:
    async def scenario(caller: Caller) -> None:
        caller.agent.intents.serving = False
        assert 50 == (await caller.call("STATUS"))["code"]
        caller.agent.intents.serving = True
        assert 50 == (await caller.call("STATUS", conf={"network": "nowhere"}))["code"]
        await caller.agent.intents.create_network(
            NewNetwork(name="tiny", subnets=(ip_network("192.0.2.0/30"),))
        )
        assert {} == await caller.call("STATUS", conf={"network": "tiny"})
        await caller.call("ADD", "c1", conf={"network": "tiny"})
        await caller.call("ADD", "c2", conf={"network": "tiny"})
        assert 50 == (await caller.call("STATUS", conf={"network": "tiny"}))["code"]
        assert 7 == (await caller.call("STATUS", conf={"ipMasq": False}))["code"]
        assert 2 == (await caller.call("STATUS", conf={"colour": "blue"}))["code"]

        await lose(caller, link_name(endpoints(caller)[0].id))
        told = await caller.call("STATUS")
        assert 51 == told["code"]
        assert "no memory" in told["msg"]

    play(tmp_path, scenario)


@pytest.mark.parametrize(("length", "room"), [(30, 2), (31, 2), (32, 1)])
def test_status_says_that_a_network_is_full_when_an_add_would(
    tmp_path: Path, length: int, room: int
) -> None:
    async def scenario(caller: Caller) -> None:
        subnets = (ip_network(f"198.51.100.0/{length}"),)
        await caller.agent.intents.create_network(NewNetwork(name="tiny", subnets=subnets))
        conf = {"network": "tiny"}
        for n in range(room):
            assert {} == await caller.call("STATUS", conf=conf)
            assert "code" not in await caller.call("ADD", f"c{n}", conf=conf)

        assert 50 == (await caller.call("STATUS", conf=conf))["code"]
        assert 102 == (await caller.call("ADD", "late", conf=conf))["code"]

    play(tmp_path, scenario)


@pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK", "GC"])
def test_an_agent_that_is_not_ready_leaves_the_answer_to_the_front(
    tmp_path: Path, verb: str
) -> None:
    async def scenario(caller: Caller) -> None:
        caller.agent.intents.serving = False
        conf = {
            "cni.dev/valid-attachments": [],
            "prevResult": {"interfaces": [{"name": "eth0", "sandbox": "/x"}]},
        }
        with pytest.raises(NotReady):
            await caller.call(verb, conf=conf if verb != "ADD" else {})

    play(tmp_path, scenario)


def test_version_needs_no_more_than_its_command(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        answer = await caller.door.answer(CniCall(env={"CNI_COMMAND": "VERSION"}, stdin=""))
        assert list(SUPPORTED) == json.loads(answer.stdout)["supportedVersions"]

    play(tmp_path, scenario)


def test_the_networks_masquerading_is_what_ip_masq_is_held_to(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        await caller.agent.intents.update_network("default", NetworkChange(masquerade=False))
        assert 7 == (await caller.call("ADD", conf={"ipMasq": True}))["code"]
        assert "code" not in await caller.call("ADD", conf={"ipMasq": False})

    play(tmp_path, scenario)
