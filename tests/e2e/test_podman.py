"""Podman's containers and pods on Seaway networks, by the file that `seaway init` writes.

┌─────────────────── host1 ────────────────────┐
│ ┌── web ──┐   ┌────── shop, a pod ──────┐    │      ┌── host2 ──┐
│ │ 80      │   │ front 80      back 81   │ ---│-wire─┼─          │
│ └─────────┘   └─────────────────────────┘    │      └───────────┘
└──────────────────────────────────────────────┘
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import OneHost

from seaway import names
from seaway.lab import Lab, LabHost
from seaway.lab.images import Image
from seaway.lab.podman import CONFIG, Podman

ASKING, TELLING = (Path(__file__).parents[1] / f"{n}.py" for n in ("asking", "telling"))
NETWORK = ("--network", "seaway")
TELLS = ("--volume", f"{TELLING}:/telling.py:ro")


@dataclass(frozen=True)
class Scene:
    one: OneHost
    outside: LabHost
    podman: Podman
    python: Image
    busybox: Image

    @property
    def public(self) -> tuple[str, str]:
        return str(self.one.host.address4), str(self.one.host.address6)

    def tell(self, name: str, *options: str, port: str = "80") -> str:
        """Start a container that tells its clients their addresses."""
        inside = ("python3", "/telling.py", port)
        return self.podman.run(name, self.python, *inside, options=(*options, *TELLS))

    def ask(self, who: LabHost, address: str, port: str, case: str = "tcp") -> object:
        return json.loads(who.run(sys.executable, str(ASKING), case, address, port))

    def reached(self, port: str) -> bool:
        """Whether another host is served, by IPv4."""
        own = str(self.outside.address4)
        return [own, self.public[0]] == self.ask(self.outside, self.public[0], port)

    def served(self, port: str) -> bool:
        """Whether the host and another one are served by IPv4 and IPv6, and known."""
        one = self.one.host
        ours = [self.ask(one, a, port) for a in ("127.0.0.1", "::1", *self.public)]
        theirs = [self.ask(self.outside, a, port) for a in self.public]
        own = [str(self.outside.address4), str(self.outside.address6)]
        return all(isinstance(a, list) for a in ours) and theirs == [
            list(pair) for pair in zip(own, self.public, strict=True)
        ]

    def wait_until_served(self, port: str) -> None:
        self.one.host.wait_for(f"an answer at {port}", lambda: self.reached(port))
        assert self.served(port)

    def endpoints(self) -> dict[str, dict[str, Any]]:
        return {r["endpoint"]["name"]: r["endpoint"] for r in self.one.told("endpoint", "ls")}

    def state(self) -> dict[str, str]:
        blocks = self.one.told("ipam", "show")
        held = [holder for block in blocks for holder in block["holders"]]
        return self.one.state() | {"held": str(held), "endpoints": str(self.endpoints())}


@pytest.fixture(scope="module")
def hosts(make_module_lab: Callable[..., Lab], python_image: Image, busybox: Image) -> Scene:
    lab = make_module_lab(hosts=2)
    one, outside = lab.hosts
    for tables in ("iptables", "ip6tables"):
        one.run(tables, "-P", "FORWARD", "DROP")
    one.start_agent()
    podman = Podman(one)
    podman.start(python_image, busybox)
    tentative = ("ip", "-6", "addr", "show", "tentative")
    one.wait_for("addresses that stay", lambda: not one.run(*tentative))
    return Scene(OneHost(one), outside, podman, python_image, busybox)


@pytest.fixture
def scene(hosts: Scene) -> Iterator[Scene]:
    """Whatever a test starts is removed as a user removes it, and then nothing is left."""
    before = hosts.state()
    yield hosts
    # Its own cleaning up after a container that ended may be at work as well, and hold a mount.
    hosts.one.host.wait_for("all to be removed", hosts.podman.clear)
    for report in hosts.one.told("network", "ls"):
        if report["network"]["name"] != "default":
            hosts.one.seaway("network", "rm", report["network"]["name"])
    hosts.one.host.run("sh", "-c", f"rm -f {names.CNI_CONF}/20-*")
    hosts.one.host.wait_for("the host to be as it was", lambda: before == hosts.state())


def test_a_published_port_is_reached_and_the_client_known_by_its_own_address(scene):
    scene.tell("web", *NETWORK, "-p", "8080:80", "-p", "8080:80/udp")

    scene.wait_until_served("8080")
    for public in scene.public:
        own = scene.outside.address6 if ":" in public else scene.outside.address4
        for case in ("udp", "connected"):
            assert [str(own), public] == scene.ask(scene.outside, public, "8080", case)
    for local in ("127.0.0.1", "::1"):
        assert local == scene.ask(scene.one.host, local, "8080", "udp")[1]
    assert "8080:80/tcp, 8080:80/udp" in scene.one.seaway("endpoint", "inspect", "web")


def test_an_address_a_mac_and_names_are_as_podman_was_told(scene):
    (network,) = scene.one.told("network", "ls")
    four, six = (str(ip_network(s)[77]) for s in network["network"]["subnets"])
    mac = "02:00:00:00:00:77"
    idle = (scene.busybox, "sleep", "600")

    scene.podman.run("a", *idle, options=(*NETWORK, "--ip", four, "--mac-address", mac))
    given = [e["addresses"][0] for e in scene.endpoints().values() if e["mac"] == mac]
    assert [f"{four}/32"] == given
    scene.podman.call("rm", "--force", "--time", "0", "a")
    both = f"seaway:ip={four},ip={six},mac={mac},alias=front"
    scene.podman.run("a", *idle, options=("--network", both))

    (found,) = scene.endpoints().values()
    assert ("a", [f"{four}/32", f"{six}/128"]) == (found["name"], found["addresses"])
    assert "front" in found["aliases"]
    told = scene.podman.inspect("a")["NetworkSettings"]["Networks"]["seaway"]
    wanted = ("IPAddress", "GlobalIPv6Address", "MacAddress")
    assert (four, six, mac) == tuple(told[key] for key in wanted)


def test_containers_learn_the_resolver_and_find_each_other_by_name(scene):
    scene.podman.run("a", scene.busybox, "sleep", "600", options=NETWORK)
    scene.podman.run("b", scene.busybox, "sleep", "600", options=NETWORK)

    told = scene.podman.call("exec", "a", "cat", "/etc/resolv.conf")
    assert f"nameserver {names.RESOLVER4}" in told.splitlines()
    assert "search default.seaway" in told.splitlines()
    (address, _) = (a.partition("/")[0] for a in scene.endpoints()["b"]["addresses"])
    assert address in scene.podman.call("exec", "a", "nslookup", "b.default.seaway")


def test_labels_are_those_of_the_configuration_file(scene):
    scene.one.seaway("network", "create", "back")
    scene.podman.add_network("back", args={"cni": {"labels": [{"key": "tier", "value": "back"}]}})

    own = ("--network", "back", "--label", "podmans=own")
    scene.podman.run("a", scene.busybox, "sleep", "600", options=own)

    assert {"tier": "back", "io.kubernetes.pod.name": "a"} == scene.endpoints()["a"]["labels"]


def test_containers_of_a_pod_are_one_endpoint_with_its_ports(scene):
    scene.podman.make_pod("shop", *NETWORK, "-p", "8080:80", "-p", "8081:81")
    scene.tell("front", "--pod", "shop")
    scene.tell("back", "--pod", "shop", port="81")
    scene.tell("other", *NETWORK)

    assert {"shop", "other"} == scene.endpoints().keys()
    for port in ("8080", "8081"):
        scene.wait_until_served(port)
    scene.podman.call("restart", "--time", "0", "back")  # not the pod's namespace
    for port in ("8080", "8081"):
        scene.wait_until_served(port)

    scene.podman.call("pod", "kill", "shop")
    scene.one.host.wait_for("the release", lambda: ["other"] == list(scene.endpoints()))
    scene.podman.call("pod", "start", "shop")
    for port in ("8080", "8081"):
        scene.wait_until_served(port)


def test_a_container_is_restarted_at_once_and_keeps_its_ports(scene):
    scene.tell("web", *NETWORK, "-p", "8080:80", "-p", "127.0.0.1:8081:80/udp")
    for _ in range(4):
        scene.podman.call("restart", "--time", "0", "web")
        scene.one.host.wait_for("an answer", lambda: scene.reached("8080"))

    scene.podman.call("stop", "--time", "0", "web")
    assert {} == scene.endpoints()
    assert "ECONNREFUSED" == scene.ask(scene.outside, scene.public[0], "8080")
    scene.podman.call("start", "web")
    scene.wait_until_served("8080")


def test_a_port_goes_from_one_container_to_the_next(scene):
    for name in ("a", "b", "c"):
        scene.tell(name, *NETWORK, "-p", "8080:80")
        scene.one.host.wait_for("an answer", lambda: scene.reached("8080"))
        scene.podman.call("rm", "--force", "--time", "0", name)
        assert {} == scene.endpoints()


def test_podmans_own_reload_of_the_network_takes_nothing_away(scene):
    scene.tell("web", *NETWORK, "-p", "8080:80")
    before = scene.endpoints()

    scene.podman.call("network", "reload", "web")

    assert before["web"]["addresses"] == scene.endpoints()["web"]["addresses"]
    scene.wait_until_served("8080")


def test_a_port_that_is_taken_is_refused_with_its_owner_and_nothing_is_left(scene):
    scene.tell("web", *NETWORK, "-p", "8080:80")
    groups = f"ff00::/8 dev {names.LINK_PREFIX}"  # routes that the agent takes away a little later
    scene.one.host.wait_for("it to settle", lambda: groups not in scene.state()["routes6"])
    before = scene.state()

    with pytest.raises(subprocess.CalledProcessError) as refused:
        scene.tell("other", *NETWORK, "-p", "8080:80")

    assert "8080/tcp is taken by endpoint 'web'" in " ".join(refused.value.__notes__)
    assert {"web"} == scene.endpoints().keys()
    assert before == scene.state()


def test_a_container_of_two_networks_has_its_ports_once(scene):
    scene.one.seaway("network", "create", "back")
    scene.podman.add_network("back")

    scene.tell("web", *NETWORK, "--network", "back", "-p", "8080:80")
    scene.wait_until_served("8080")
    assert [0, 1] == sorted(len(e["ports"]) for e in scene.endpoints().values())
    scene.podman.call("rm", "--force", "--time", "0", "web")
    scene.tell("web", *NETWORK, "-p", "8080:80")
    scene.podman.call("network", "connect", "back", "web")
    assert {"web", "web-eth1"} == scene.endpoints().keys()
    scene.podman.call("network", "disconnect", "back", "web")

    scene.wait_until_served("8080")
    assert {"web"} == scene.endpoints().keys()


def test_a_container_with_users_of_its_own_has_ports_that_podman_holds_before(scene):
    scene.tell("web", "--uidmap", "0:100000:65536", *NETWORK, "-p", "8080:80")

    scene.wait_until_served("8080")


def test_a_container_that_is_removed_while_the_agent_is_dead_is_gone_with_the_next(scene):
    scene.tell("web", *NETWORK, "-p", "8080:80")
    scene.wait_until_served("8080")
    scene.one.host.kill_agent()
    assert scene.served("8080")

    scene.podman.call("rm", "--force", "--time", "0", "web")
    scene.one.host.start_agent()
    scene.tell("web", *NETWORK, "-p", "8080:80")

    assert {"web"} == scene.endpoints().keys()
    scene.wait_until_served("8080")


def test_our_network_may_be_podmans_default(scene):
    settings = scene.one.host.read(CONFIG)
    scene.one.host.write(CONFIG, settings + 'default_network = "seaway"\n')
    try:
        scene.tell("web", "-p", "8080:80")
        scene.wait_until_served("8080")
        assert {"web"} == scene.endpoints().keys()
    finally:
        scene.one.host.wait_for("its removal", scene.podman.clear)
        scene.one.host.write(CONFIG, settings)
