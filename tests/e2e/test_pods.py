"""Pods as Kubernetes asks containerd for them, with published ports, by the file of `init`.

┌────────────── host1 ───────────────┐
│ ┌── web-0, a pod ──┐   containerd  │      ┌── host2 ──┐
│ │ 80               │   with CRI    │─wire─┤           │
│ └──────────────────┘               │      └───────────┘
└────────────────────────────────────┘
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import OneHost, telling

from cri import Pods, Port, Refused
from seaway.lab import Lab, LabHost, images
from seaway.lab.containerd import Containerd

ASKING = str(Path(__file__).parents[1] / "asking.py")
IMAGES = Path(__file__).parents[2] / "build" / "images"


@dataclass(frozen=True)
class Scene:
    one: OneHost
    outside: LabHost
    pods: Pods

    def ask(self, who: LabHost, address: object, port: int, case: str = "tcp") -> object:
        return json.loads(who.run(sys.executable, ASKING, case, str(address), str(port)))

    def endpoints(self) -> list[dict[str, Any]]:
        return [report["endpoint"] for report in self.one.told("endpoint", "ls")]

    def telling(self, netns: str) -> AbstractContextManager[None]:
        return telling(self.one.host, netns, "80")


@pytest.fixture(scope="module")
def scene(make_module_lab: Callable[..., Lab]) -> Scene:
    lab = make_module_lab(hosts=2)
    one, outside = lab.hosts
    for tables in ("iptables", "ip6tables"):
        one.run(tables, "-P", "FORWARD", "DROP")
    one.start_agent()
    Containerd(one).start(images.pause(IMAGES))
    tentative = ("ip", "-6", "addr", "show", "tentative")
    one.wait_for("addresses that stay", lambda: not one.run(*tentative))
    return Scene(OneHost(one), outside, Pods(one))


def test_a_pod_has_its_ports_published_while_it_lives(scene):
    host = scene.one.host
    before = scene.one.state()

    pod = scene.pods.run("web-0", Port(8080, 80), Port(5353, 80, "udp"), Port(0, 443))

    (found,) = scene.endpoints()
    assert (pod[:12], pod) == (found["name"], found["container"])
    told = {key.rpartition(".")[2]: value for key, value in found["labels"].items()}
    assert {"namespace": "shop", "name": "web-0", "uid": "uid-web-0"} == told
    with scene.telling(found["netns"]):
        for own, public in zip(_addresses(scene.outside), _addresses(host), strict=True):
            assert [own, public] == scene.ask(scene.outside, public, 8080)
            assert [own, public] == scene.ask(scene.outside, public, 5353, "udp")
        for local in ("127.0.0.1", "::1"):
            assert local == scene.ask(host, local, 8080)[1]

    scene.pods.stop(pod)
    assert [] == scene.endpoints()
    scene.pods.remove(pod)
    assert before == scene.one.state()


def test_a_port_may_be_published_on_one_address_of_the_host(scene):
    pod = scene.pods.run("web-0", Port(8080, 80, host_ip="127.0.0.1"))
    (found,) = scene.endpoints()
    with scene.telling(found["netns"]):
        assert "127.0.0.1" == scene.ask(scene.one.host, "127.0.0.1", 8080)[1]
        public = scene.one.host.address4
        assert "ECONNREFUSED" == scene.ask(scene.outside, public, 8080)
    scene.pods.remove(pod)


@pytest.mark.parametrize(
    ("port", "told"),
    [(Port(8080, 80), "taken by endpoint"), (Port(9090, 80, "sctp"), "SCTP ports")],
)
def test_a_pod_whose_port_cannot_be_had_is_refused_in_our_words(scene, port, told):
    pod = scene.pods.run("web-0", Port(8080, 80))
    before = scene.one.state()

    with pytest.raises(Refused, match=told):
        scene.pods.run("web-1", port)

    assert [pod] == [found["container"] for found in scene.endpoints()]
    assert before == scene.one.state()
    scene.pods.remove(pod)


def test_a_pod_that_goes_while_the_agent_is_dead_is_gone_with_the_next(scene):
    pod = scene.pods.run("web-0", Port(8080, 80))
    scene.one.host.kill_agent()

    scene.pods.remove(pod)
    scene.one.host.start_agent()
    again = scene.pods.run("web-0", Port(8080, 80))

    assert [again] == [found["container"] for found in scene.endpoints()]
    scene.pods.remove(again)


def _addresses(host: LabHost) -> tuple[str, str]:
    return str(host.address4), str(host.address6)
