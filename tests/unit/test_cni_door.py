"""Every CNI verb against real intents over a fake kernel, and against other IPAM plugins."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from tests.unit.test_intents import Agent, run

from seaway.doors.cni import CniDoor
from seaway.doors.cni_result import SUPPORTED
from seaway.errors import NotReady, SystemFailed
from seaway.model.facts import Endpoint, endpoint_id
from seaway.model.publications import HeldPort
from seaway.model.requests import NetworkChange, NewNetwork, Publications
from seaway.model.wire import CniCall
from seaway.names import link_name
from seaway.records import store_key

IPAM = """#!/bin/sh
# An IPAM plugin that notes each call and its input, and fails where its folder says so.
here=$(dirname "$0")
cat > "$here/stdin"
echo "$CNI_COMMAND $CNI_CONTAINERID $THEIRS" >> "$here/calls"
test -e "$here/fail-$CNI_COMMAND" && {
    echo "it is broken" >&2
    echo '{"cniVersion": "1.0.0", "code": 123, "msg": "no lease", "details": "ask again"}'
    exit 1
}
test -e "$here/mute-$CNI_COMMAND" && exit 3
test -e "$here/hang-$CNI_COMMAND" && exec tail -f /dev/null
test "$CNI_COMMAND" = ADD && cat "$here/result"
exit 0
"""
RESULT = {
    "cniVersion": "1.0.0",
    "ips": [{"address": "10.208.3.5/24", "gateway": "10.208.3.1"}],
    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "192.0.2.0/24", "gw": "10.208.3.9"}],
    "dns": {"nameservers": ["10.208.3.2"]},
}


@dataclass
class Caller:
    """A container runtime: it calls the door as the front would."""

    agent: Agent
    door: CniDoor
    folder: Path

    def netns(self, name: str) -> str:
        path = self.folder / name
        path.touch()
        self.agent.host.namespaces[str(path)] = path.stat().st_ino
        return str(path)

    async def call(self, verb: str, container: str = "c1", **options: Any) -> dict[str, Any]:
        """The answer's JSON; {} for none. `env` and `conf` override what a runtime would pass."""
        env = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": options.get("netns") or self.netns(container),
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(self.folder / "bin"),
            "THEIRS": "x",
        }
        conf = {"cniVersion": "1.1.0", "name": "net", "type": "seaway"} | options.get("conf", {})
        tried = int(options.get("tried", 0) * 1e9)
        call = CniCall(env=env | options.get("env", {}), stdin=json.dumps(conf), tried=tried)
        answer = await self.door.answer(call)
        told: dict[str, Any] = json.loads(answer.stdout) if answer.stdout else {}
        assert (answer.exit != 0) == ("code" in told)
        self.stderr = answer.stderr
        return told

    def install_ipam(self) -> Path:
        folder = self.folder / "bin"
        folder.mkdir()
        (folder / "other").write_text(IPAM)
        (folder / "other").chmod(0o755)
        (folder / "result").write_text(json.dumps(RESULT))
        return folder


OTHER = {"ipam": {"type": "other"}}
Scenario = Callable[[Caller], Awaitable[None]]


def play(tmp_path: Path, scenario: Scenario) -> None:
    async def whole(agent: Agent) -> None:
        agent.intents.serving = True
        folder = tmp_path / "host"
        folder.mkdir()
        await scenario(Caller(agent, CniDoor(agent.intents, tmp_path / "spool"), folder))

    run(tmp_path, whole)


def endpoints(caller: Caller) -> list[Endpoint]:
    return [report.endpoint for report in caller.agent.intents.endpoints()]


def kept(caller: Caller) -> dict[str, Any]:
    """All that an attachment could leave behind: records and kernel objects."""
    return caller.agent.state() | {"records": endpoints(caller)}


# ── ADD ──


@pytest.mark.parametrize("version", SUPPORTED)
def test_an_add_tells_what_was_made(tmp_path: Path, version: str) -> None:
    async def scenario(caller: Caller) -> None:
        told = await caller.call("ADD", conf={"cniVersion": version})

        endpoint = endpoints(caller)[0]
        assert version == told["cniVersion"]
        assert "eth0" == told["interfaces"][1]["name"]
        assert endpoint.mac == told["interfaces"][1]["mac"]
        assert str(caller.folder / "c1") == told["interfaces"][1]["sandbox"]
        assert [str(a) for a in endpoint.addresses] == [ip["address"] for ip in told["ips"]]
        assert [1, 1] == [ip["interface"] for ip in told["ips"]]
        assert [
            {"dst": "0.0.0.0/0", "gw": "169.254.1.1"},
            {"dst": "::/0", "gw": "fe80::1"},
        ] == told["routes"]
        assert ("cni", "net", "c1", "c1") == (
            endpoint.door, endpoint.door_network, endpoint.container, endpoint.name,
        )  # fmt: skip

    play(tmp_path, scenario)


def test_an_add_passes_on_all_that_was_wished(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        told = await caller.call(
            "ADD",
            env={"CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAME=pod"},
            conf={
                "mtu": 1400,
                "dns": {"domain": "d"},
                "ipMasq": True,
                "runtimeConfig": {
                    "ips": ["10.208.0.77"],
                    "mac": "02:00:00:00:00:77",
                    "aliases": ["web"],
                    "dns": {"servers": ["10.0.0.2"]},
                },
                "args": {"cni": {"labels": [{"key": "app", "value": "web"}]}},
            },
        )

        endpoint = endpoints(caller)[0]
        assert "10.208.0.77/32" == told["ips"][0]["address"]
        assert (1400, "02:00:00:00:00:77", ("web",)) == (
            endpoint.mtu, endpoint.mac, endpoint.aliases,
        )  # fmt: skip
        assert {"app": "web", "io.kubernetes.pod.name": "pod"} == endpoint.labels
        assert {"nameservers": ["10.0.0.2"], "domain": "d"} == told["dns"]
        assert [1400, 1400] == [link["mtu"] for link in told["interfaces"]]

    play(tmp_path, scenario)


def test_an_address_is_taken_from_the_range_that_the_runtime_names(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        wanted = {"subnet": "10.208.0.0/24", "rangeStart": "10.208.0.50"}
        told = await caller.call("ADD", conf={"runtimeConfig": {"ipRanges": [[wanted]]}})

        assert "10.208.0.50/32" == told["ips"][0]["address"]

    play(tmp_path, scenario)


def test_a_gateway_of_a_range_is_read_and_ours_is_told(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        wanted = {"subnet": "10.208.0.0/24", "gateway": "10.208.0.9"}
        told = await caller.call("ADD", conf={"runtimeConfig": {"ipRanges": [[wanted]]}})
        assert ["169.254.1.1", "fe80::1"] == [ip["gateway"] for ip in told["ips"]]

        bad = {"runtimeConfig": {"ipRanges": [[wanted | {"gateway": "10.208.0.x"}]]}}
        assert 7 == (await caller.call("ADD", "c2", conf=bad))["code"]

    play(tmp_path, scenario)


def test_a_range_that_is_full_leads_to_the_next_of_its_set(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        full = {"subnet": "10.208.0.0/24", "rangeStart": "10.208.0.50", "rangeEnd": "10.208.0.50"}
        ranges = [[full, {"subnet": "10.208.1.0/24"}], [{"subnet": "fd00:5ea::/64"}]]
        conf = {"runtimeConfig": {"ipRanges": ranges}}

        told = [await caller.call("ADD", name, conf=conf) for name in ("c1", "c2")]
        assert ["10.208.0.50/32", "10.208.1.0/32"] == [t["ips"][0]["address"] for t in told]

        conf = {"runtimeConfig": {"ipRanges": [[full], [{"subnet": "fd00:5ea::/64"}]]}}
        assert 102 == (await caller.call("ADD", "c3", conf=conf))["code"]

    play(tmp_path, scenario)


def test_a_chained_add_hands_on_what_came_before_it(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        before = {
            "cniVersion": "1.1.0",
            "interfaces": [{"name": "net1", "sandbox": "/run/netns/c1"}],
            "ips": [{"address": "192.0.2.7/24", "interface": 0}],
            "routes": [{"dst": "0.0.0.0/0", "gw": "192.0.2.1"}],
            "dns": {"domain": "before"},
        }

        told = await caller.call("ADD", conf={"prevResult": before})

        assert ["net1", "eth0"] == [n["name"] for n in told["interfaces"] if "sandbox" in n]
        assert [0, 2, 2] == [ip["interface"] for ip in told["ips"]]
        assert before["routes"][0] == told["routes"][0]
        assert ["0.0.0.0/0", "10.208.0.0/18", "fd00:5ea::/64"] == [r["dst"] for r in told["routes"]]
        assert {"domain": "before"} == told["dns"]

    play(tmp_path, scenario)


def test_an_interface_that_the_chain_has_made_already_is_refused(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        before = {"interfaces": [{"name": "eth0", "sandbox": "/run/netns/c1"}]}
        told = await caller.call("ADD", conf={"prevResult": before})

        assert 101 == told["code"]
        assert "interface 'eth0' of container 'c1' is there already" in told["msg"]

    play(tmp_path, scenario)


def published(**mapping: Any) -> dict[str, Any]:
    return {"conf": {"runtimeConfig": {"portMappings": [mapping]}}}


POD = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop"
SSHD = HeldPort("tcp", ip_address("0.0.0.0"), 22, "sshd (process 812)")
REFUSED: list[tuple[int, dict[str, Any]]] = [
    (1, {"conf": {"cniVersion": "9.0.0"}}),
    (2, published(hostPort=80, containerPort=80, protocol="sctp")),
    (7, published(hostPort=0, containerPort=80)),
    (7, published(hostPort=80, containerPort=80, hostIP="192.0.2.99")),
    (101, published(hostPort=22, containerPort=22)),
    (2, {"conf": {"runtimeConfig": {"bandwidth": {"ingressRate": 1, "ingressBurst": 1}}}}),
    (2, {"conf": {"colour": "blue"}}),
    (3, {"netns": "/run/netns/seaway-none"}),
    (4, {"netns": "/proc/self/ns/net"}),
    (4, {"env": {"CNI_CONTAINERID": "-"}}),
    (4, {"env": {"CNI_IFNAME": "a/b"}}),
    (4, {"env": {"CNI_COMMAND": "MAKE"}}),
    (6, {"conf": {"mtu": "big"}}),
    (7, {"conf": {"ipMasq": False}}),
    (7, {"conf": {"mtu": 100}}),
    (7, {"conf": {"name": ""}}),
    (7, {"conf": {"runtimeConfig": {"ips": ["192.0.2.1"]}}}),
    (7, {"conf": {"ipam": {"type": "missing"}}}),
    (100, {"conf": {"network": "nowhere"}}),
]


@pytest.mark.parametrize(("code", "options"), REFUSED)
def test_a_bad_add_has_its_code_says_what_to_do_and_changes_nothing(
    tmp_path: Path, code: int, options: dict[str, Any]
) -> None:
    async def scenario(caller: Caller) -> None:
        caller.agent.host.held = [SSHD]
        before = kept(caller)
        told = await caller.call("ADD", **options)

        assert code == told["code"]
        assert told["msg"]
        assert told["details"]
        assert before == kept(caller)

    play(tmp_path, scenario)


@pytest.mark.parametrize("version", [*SUPPORTED, "9.0.0"])
def test_an_error_answers_in_the_version_of_the_call(tmp_path: Path, version: str) -> None:
    async def scenario(caller: Caller) -> None:
        told = await caller.call("ADD", conf={"cniVersion": version, "network": "nowhere"})
        assert version == told["cniVersion"]

    play(tmp_path, scenario)


def test_an_attachment_is_made_once(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        await caller.call("ADD")
        before = kept(caller)

        assert 101 == (await caller.call("ADD"))["code"]
        assert before == kept(caller)

    play(tmp_path, scenario)


def test_an_add_whose_agent_died_before_it_answered_is_done_again(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        await caller.call("ADD")
        lost = endpoints(caller)[0]

        told = await caller.call("ADD", tried=lost.created - 1)

        assert "code" not in told
        (endpoint,) = endpoints(caller)
        assert lost.created < endpoint.created
        assert [str(a) for a in endpoint.addresses] == [ip["address"] for ip in told["ips"]]

    play(tmp_path, scenario)


@pytest.mark.parametrize("conf", [{}, {"ipam": {"type": "other"}}])
def test_an_add_asked_again_leaves_alone_what_was_attached_before_it(
    tmp_path: Path, conf: dict[str, Any]
) -> None:
    async def scenario(caller: Caller) -> None:
        folder = caller.install_ipam()
        await caller.call("ADD", conf=conf)
        before, asked = kept(caller), calls(folder)

        told = await caller.call("ADD", conf=conf, tried=endpoints(caller)[0].created + 1)

        assert 101 == told["code"]
        assert (before, asked) == (kept(caller), calls(folder))

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    ("error", "code"), [(errno.EEXIST, 101), (errno.ENOENT, 3), (errno.ENOMEM, 5)]
)
def test_what_the_kernel_refuses_is_taken_back(tmp_path: Path, error: int, code: int) -> None:
    async def scenario(caller: Caller) -> None:
        before = kept(caller)
        link = link_name(endpoint_id("c1", "eth0"))
        caller.agent.kernel["links"].refuses = {link: OSError(error, "no")}

        told = await caller.call("ADD")

        assert code == told["code"]
        assert before == kept(caller)

    play(tmp_path, scenario)


def test_two_interfaces_of_a_container_in_one_network_have_two_names(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        await caller.call("ADD")
        told = await caller.call("ADD", env={"CNI_IFNAME": "eth1"})

        assert ["c1", "c1-eth1"] == [e.name for e in endpoints(caller)]
        assert ["10.208.0.0/18", "fd00:5ea::/64"] == [r["dst"] for r in told["routes"]]

    play(tmp_path, scenario)


def test_a_generated_container_id_is_shortened_as_people_do(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        await caller.call("ADD", "0123456789abcdef" * 4)
        await caller.call("ADD", "default-" + "fedcba9876543210" * 4)
        await caller.call("ADD", "container-number-1")
        await caller.call("ADD", "container-number-2")
        await caller.call("ADD", "x" * 200)

        found = sorted(e.name for e in endpoints(caller))
        told = ["0123456789ab", "container-number-1", "container-number-2", "fedcba987654"]
        assert told == [name for name in found if len(name) != 16]
        assert 5 == len(found)

    play(tmp_path, scenario)


# ── DEL ──


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


# ── CHECK ──


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


# ── GC ──


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


# ── STATUS, VERSION ──


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


# ── Another IPAM ──


def calls(folder: Path) -> list[str]:
    path = folder / "calls"
    return path.read_text().splitlines() if path.exists() else []


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


# ── Spooled calls ──


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


NEVER, LATE = 1.0, 4e9


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
