"""CNI ADD, against real intents over a fake kernel."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from cni_caller import SSHD, Caller, calls, endpoints, kept, play, published
from seaway.doors.cni_result import SUPPORTED
from seaway.model.facts import endpoint_id
from seaway.names import link_name


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


def test_who_says_nothing_of_dns_is_told_the_resolver(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        told = await caller.call("ADD")
        servers = ["169.254.83.53", "fd00:5ea:0:ffff:ffff:ffff:fffe:ff53"]
        assert {"nameservers": servers, "search": ["default.seaway"]} == told["dns"]

        behind = {
            "cniVersion": "1.1.0",
            "interfaces": [{"name": "net1", "sandbox": "/run/netns/c2"}],
            "ips": [{"address": "192.0.2.7/24", "interface": 0}],
            "routes": [{"dst": "0.0.0.0/0", "gw": "192.0.2.1"}],
        }
        told = await caller.call("ADD", "c2", conf={"prevResult": behind})
        assert "dns" not in told  # another interface leads to everywhere

    play(tmp_path, scenario)


def test_an_interface_that_the_chain_has_made_already_is_refused(tmp_path: Path) -> None:
    async def scenario(caller: Caller) -> None:
        before = {"interfaces": [{"name": "eth0", "sandbox": "/run/netns/c1"}]}
        told = await caller.call("ADD", conf={"prevResult": before})

        assert 101 == told["code"]
        assert "interface 'eth0' of container 'c1' is there already" in told["msg"]

    play(tmp_path, scenario)


REFUSED: list[tuple[int, dict[str, Any]]] = [
    (1, {"conf": {"cniVersion": "9.0.0"}}),
    (2, published(hostPort=80, containerPort=80, protocol="sctp")),
    (7, published(hostPort=0, containerPort=80)),
    (7, published(hostPort=80, containerPort=80, hostIP="192.0.2.99")),
    (101, published(hostPort=22, containerPort=22)),
    (7, {"conf": {"runtimeConfig": {"bandwidth": {"ingressRate": 1, "ingressBurst": 1}}}}),
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
