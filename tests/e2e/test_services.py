"""Services of a cluster: asked by real sockets of containers and of hosts, while backends go.

┌───── host1 ─────┐   ┌───── host2 ─────┐   ┌───── host3 ─────┐
│ client1    web1 │   │ client2    web2 │   │ client3    web3 │   web1, web2 and web3 stand behind
└────────┬────────┘   └────────┬────────┘   └────────┬────────┘   `web`, port 80. One lab for all:
─────────┴────────────── wire ─┴─────────────────────┴─────────   each test leaves it as it was
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import Bare

from seaway import names
from seaway.lab import Lab, LabHost
from seaway.lab.hosts import SEAWAY
from waiting import wait

TESTS = Path(__file__).parents[1]
ASKING, GREETER, GREETED = (str(TESTS / f"{n}.py") for n in ("asking", "greeter", "greeted"))
PORT, TARGET = "80", "8080"
WEBS = {"web1", "web2", "web3"}
RESOLV = Path("/run/resolv.conf")
# Nobody has the address any more, and who asks is told so by the kernel, or by our programs.
NOBODY = {"ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH"}
# A socket of datagrams was ended: so who waits for an answer is told, and who asks then.
ENDED = {"ECONNABORTED", "EDESTADDRREQ"}
MANIFEST = """\
apiVersion: v1
kind: Service
metadata: {name: sliced, namespace: default}
spec:
  ipFamilies: [IPv4]
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: sliced-1
  namespace: default
  labels: {kubernetes.io/service-name: sliced}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints:
- {addresses: [ADDRESS]}
"""

Asker = Bare | LabHost


@dataclass
class Process:
    """A client that goes on beside the test."""

    process: subprocess.Popen[str]

    def told(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "it ended"
        return json.loads(line)

    def ask(self) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.told()


@dataclass
class Scene:
    lab: Lab
    stack: ExitStack
    containers: dict[str, Bare] = field(default_factory=dict)
    servers: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    @property
    def hosts(self) -> tuple[LabHost, ...]:
        return self.lab.hosts

    @property
    def clients(self) -> list[Bare]:
        return [self.containers[f"client{n}"] for n in (1, 2, 3)]

    @property
    def askers(self) -> list[Asker]:
        return [*self.clients, *self.hosts]

    def attach(self, host: LabHost, name: str, *options: str) -> Bare:
        host.run("ip", "netns", "add", name)
        host.seaway("attach", name, "--name", name, *options)
        self.containers[name] = Bare(host, name)
        return self.containers[name]

    def serve(self, host: LabHost, name: str, app: str) -> Bare:
        """A backend, which answers by its name."""
        made = self.attach(host, name, "--label", f"app={app}")
        server = host.popen(*inside(made, GREETER, TARGET, name), stdout=subprocess.PIPE)
        self.stack.callback(end, server)
        assert server.stdout is not None
        assert "ready\n" == server.stdout.readline()
        self.servers[name] = server
        return made

    def create(self, host: LabHost, name: str, app: str, *options: str) -> list[str]:
        """A service; its addresses, IPv4 first."""
        ports = (f"--port=tcp={PORT}:{TARGET}", f"--port=udp={PORT}:{TARGET}/udp")
        made = ("service", "create", name, *ports, f"--selector=app={app}", *options)
        return sorted(told(host, *made)["service"]["addresses"], key=lambda a: ":" in a)

    def is_chosen(self, service: str, wanted: int) -> bool:
        """Whether every host chooses so many backends."""
        found = [known(host, service) for host in self.hosts]
        return all(one is not None and one["chosen"] == wanted for one in found)


def told(host: LabHost, *words: str) -> Any:
    return json.loads(host.seaway(*words, "-o", "json"))


def known(host: LabHost, service: str) -> Any:
    """What a host knows of a service; None: nothing."""
    done = host.call(SEAWAY, "service", "inspect", service, "-o", "json")
    return None if done.returncode else json.loads(done.stdout)


def inside(who: Asker, *command: str) -> list[str]:
    space = [] if isinstance(who, LabHost) else ["nsenter", f"--net=/run/netns/{who.name}"]
    return [*space, sys.executable, *command]


def of_host(who: Asker) -> LabHost:
    return who if isinstance(who, LabHost) else who.host


def ask(who: Asker, case: str, address: str, port: str = PORT) -> Any:
    """The name of who answered, and whom the asker takes for him; or why nobody did."""
    return json.loads(of_host(who).run(*inside(who, ASKING, case, address, port)))


def spread(who: Asker, address: str, times: int) -> dict[str, int]:
    """Who answered how often."""
    command = inside(who, GREETED, "spread", address, PORT, str(times))
    found: dict[str, int] = json.loads(of_host(who).run(*command))
    return found


def end(process: subprocess.Popen[str]) -> None:
    with process:  # which closes its output
        process.kill()


@contextmanager
def greeted(who: Asker, case: str, address: str, *more: str, port: str = PORT) -> Iterator[Process]:
    pipe = subprocess.PIPE
    command = inside(who, GREETED, case, address, port, *more)
    with of_host(who).popen(*command, stdin=pipe, stdout=pipe) as process:
        try:
            yield Process(process)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def scene(make_module_lab: Callable[..., Lab]) -> Iterator[Scene]:
    lab = make_module_lab(hosts=3)
    first, *others = lab.hosts
    first.start_agent()
    token = told(first, "token", "create")["token"]
    for other in others:
        other.seaway("join", token, str(first.address4), timeout=60)
    with ExitStack() as stack:
        made = Scene(lab, stack)
        for number, host in enumerate(lab.hosts, 1):
            made.attach(host, f"client{number}")
            made.serve(host, f"web{number}", "web")
        yield made


@pytest.fixture(scope="module")
def vips(scene: Scene) -> list[str]:
    """Of `web`, IPv4 first. It is made on another host than the first."""
    made = scene.create(scene.hosts[1], "web", "web")
    assert wait(lambda: scene.is_chosen("web", 3))
    return made


@pytest.mark.parametrize("case", ["tcp", "udp", "connected"])
def test_containers_and_hosts_are_answered_and_take_the_vip_for_who_answers(scene, vips, case):
    for who in scene.askers:
        for vip in vips:
            name, answerer = ask(who, case, vip)
            assert (vip, True) == (answerer, name in WEBS), who.name


def test_packets_that_no_hook_sees_are_led_to_backends_of_all_hosts(scene, vips):
    for client in scene.clients:
        for vip in vips:
            seen: set[str] = set()
            while WEBS != seen:
                name, answerer = ask(client, "raw", vip)
                assert (vip, True) == (answerer, name in WEBS), client.name
                seen.add(name)


def test_backends_of_all_hosts_are_chosen_on_each_host(scene, vips):
    for who in scene.askers:
        assert WEBS == spread(who, vips[0], 60).keys(), who.name


@pytest.mark.parametrize("algorithm", ["round-robin", "least-connections"])
def test_each_has_as_many_connections_as_any_other(scene, vips, algorithm):
    host, client = scene.hosts[0], scene.clients[0]
    host.seaway("service", "update", "web", f"--algorithm={algorithm}")
    try:
        for who in (client, host):
            assert dict.fromkeys(WEBS, 10) == spread(who, vips[0], 30)
            assert dict.fromkeys(WEBS, 10) == spread(who, vips[1], 30)
    finally:
        host.seaway("service", "update", "web", "--algorithm=random")


def test_least_connections_makes_up_for_what_others_have(scene, vips):
    host, client = scene.hosts[0], scene.clients[0]
    host.seaway("service", "update", "web", "--algorithm=least-connections")
    try:
        with greeted(host, "hold", vips[0], "web2") as one:
            assert "web2" == one.told()
            assert {"web1": 10, "web2": 9, "web3": 10} == spread(client, vips[0], 29)
            assert "web2" == one.ask()
    finally:
        host.seaway("service", "update", "web", "--algorithm=random")


def trace(who: Asker, to: str, *, source: str = "") -> Any:
    """From who asks: a container by its name, a host by its own address."""
    own = f"default/{who.name}" if isinstance(who, Bare) else str(who.address4)
    return told(of_host(who), "trace", source or own, to)


def test_a_trace_tells_whom_a_service_leads_to_and_by_which_way(scene, vips):
    """As it then happens: whoever is told is asked, and nobody else."""
    for name in ("web", "web.default.seaway", "default/web", vips[0]):
        found = trace(scene.clients[0], f"{name}:{PORT}")
        assert "delivered" == found["verdict"], found
    for who in scene.askers:
        (hook,) = trace(who, f"web:{PORT}")["steps"]
        asked = hook["service"]
        assert ("connect4", "choose", "random") == (
            hook["at"],
            hook["decision"],
            asked["algorithm"],
        )
        chosen = {one["name"] for one in asked["candidates"] if one["chosen"]}
        assert chosen == spread(who, vips[0], 60).keys()
        for way, host in zip(asked["ways"], asked_in_order(who), strict=True):
            last = way["steps"][-1]
            assert (host, "delivered", int(TARGET)) == (way["host"], way["verdict"], last["port"])
            assert (host, f"default/{way['name']}") == (last["host"], last["to"])


def asked_in_order(who: Asker) -> list[str]:
    here = of_host(who).name
    return [here, *(f"host{n}" for n in (1, 2, 3) if f"host{n}" != here)]


def test_a_trace_tells_what_a_service_refuses(scene, vips):
    first, *_ = scene.hosts
    client = scene.clients[0]
    (step,) = trace(client, "web:81")["steps"]
    assert "service default/web has other ports: 80/tcp, 80/udp" == step["why"]
    assert "ECONNREFUSED" == ask(client, "tcp", vips[0], "81")

    vip, *_ = scene.create(first, "tied", "nobody", "--internal-policy=Local")
    assert wait(lambda: scene.is_chosen("tied", 0))
    assert ("refused", "refused") == outcome(client, "tied:80")
    assert "ECONNREFUSED" == ask(client, "tcp", vip)
    first.seaway("service", "update", "tied", "--selector=app=web", "--limit-connections=1")
    assert wait(lambda: scene.is_chosen("tied", 1))
    with greeted(client, "hold", vip, "web1") as holding:
        assert "web1" == holding.told()
        assert ("refused", "limited") == outcome(first, "tied:80")
        assert "EBUSY" == ask(first, "tcp", vip)
    first.seaway("service", "rm", "tied")


def outcome(who: Asker, to: str) -> tuple[str, str]:
    found = trace(who, to)
    return found["verdict"], found["reason"]


def test_a_trace_of_who_asks_a_port_of_any_host_from_outside(scene):
    first, second, _ = scene.hosts
    scene.create(first, "outer", "web", "--publish=30090:tcp")
    assert wait(lambda: scene.is_chosen("outer", 3))
    for asked in (first, second):
        found = trace(asked, f"{asked.address4}:30090", source="world")
        assert ("delivered", "from_wire") == (found["verdict"], found["steps"][0]["at"])
        ways = found["steps"][0]["service"]["ways"]
        assert [asked.name, *sorted({"host1", "host2", "host3"} - {asked.name})] == [
            way["host"] for way in ways
        ]
        assert {"203.0.113.1"} == {way["steps"][-1]["source"] for way in ways}
    first.seaway("service", "rm", "outer")


def test_every_address_of_a_host_answers_as_itself_at_a_port_of_all(scene):
    """Also one that comes later. What asks from another host comes from outside."""
    first, second, _ = scene.hosts
    scene.create(second, "outer", "web", "--publish=30090:tcp", "--publish=30090:udp")
    assert wait(lambda: scene.is_chosen("outer", 3))
    aliases = {"192.0.2.251": "32", "2001:db8:77::1": "128"}
    for alias, size in aliases.items():
        first.run("ip", "address", "add", f"{alias}/{size}", "dev", "lo")
        via = first.address6 if ":" in alias else first.address4
        second.run("ip", "route", "add", alias, "via", str(via))
    try:
        for alias in (*aliases, str(first.address4), str(first.address6)):
            assert wait(lambda alias=alias: ask(second, "tcp", alias, "30090")[0] in WEBS), alias
            for case in 6 * ("tcp", "connected"):
                name, answerer = ask(second, case, alias, "30090")
                assert (alias, True) == (answerer, name in WEBS)
    finally:
        for alias, size in aliases.items():
            first.run("ip", "address", "del", f"{alias}/{size}", "dev", "lo")
            second.run("ip", "route", "del", alias)
        first.seaway("service", "rm", "outer")


def test_a_service_is_reached_by_its_name(scene, vips):
    bound = f'mount --bind {RESOLV} /etc/resolv.conf; exec "$0" "$@"'
    for client in scene.clients:
        client.host.write(RESOLV, f"nameserver {names.RESOLVER4}\n")
        for name in ("web.default.seaway", "web.default.svc.cluster.local"):
            asking = (sys.executable, ASKING, "tcp", name, PORT)
            answered = client.run("unshare", "--mount", "sh", "-c", bound, *asking)
            answer, answerer = json.loads(answered)
            assert (True, True) == (answer in WEBS, answerer in vips)


def test_a_manifest_makes_a_service_of_addresses_and_takes_it_away(scene):
    first, _, last = scene.hosts
    manifest = MANIFEST.replace("ADDRESS", scene.containers["web3"].addresses()[0])
    first.run(SEAWAY, "apply", "-f", "-", stdin=manifest)
    assert wait(lambda: scene.is_chosen("sliced", 1))
    (vip,) = known(last, "sliced")["service"]["addresses"]
    for who in scene.askers:
        assert ["web3", vip] == ask(who, "tcp", vip)

    first.run(SEAWAY, "delete", "-f", "-", stdin=manifest)
    assert wait(lambda: all(known(host, "sliced") is None for host in scene.hosts))
    assert wait(lambda: ask(scene.clients[0], "tcp", vip) in NOBODY)


def test_a_service_without_a_backend_refuses_at_once_until_there_is_one(scene):
    first, second, _ = scene.hosts
    vip, *_ = scene.create(first, "empty", "nobody")
    assert wait(lambda: scene.is_chosen("empty", 0))
    for who in scene.askers:
        assert "ECONNREFUSED" == ask(who, "tcp", vip)
    second.seaway("service", "update", "empty", "--selector=app=web")
    assert wait(lambda: scene.is_chosen("empty", 3))
    assert ask(scene.clients[0], "tcp", vip)[0] in WEBS
    first.seaway("service", "rm", "empty")


def health(host: LabHost, port: str) -> tuple[int, int]:
    """What a load balancer is told of a host: the status, and how many backends it has."""
    done = host.run("curl", "-sg", "-w", "\n%{http_code}", f"http://[::1]:{port}/healthz")
    body, _, status = done.rpartition("\n")
    return int(status), json.loads(body)["localEndpoints"]


def reserved(host: LabHost) -> str:
    return host.run("sysctl", "-n", "net.ipv4.ip_local_reserved_ports").strip()


def test_a_published_port_is_that_of_one_service_on_every_host(scene):
    first, second, third = scene.hosts
    nowhere = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    held = third.popen(sys.executable, "-m", "http.server", "30099", **nowhere)
    scene.stack.callback(end, held)
    listens = ("ss", "-Hltn", "sport = 30099")
    assert wait(lambda: third.run(*listens))
    scene.serve(first, "front1", "front")
    published = ("--publish=30080:tcp", "--external-policy=Local", "--health-port=30081")
    scene.create(second, "front", "front", *published)
    assert wait(lambda: scene.is_chosen("front", 1))
    for host, expected in zip(scene.hosts, ((200, 1), (503, 0), (503, 0)), strict=True):
        assert wait(lambda host=host, expected=expected: health(host, "30081") == expected)
        assert wait(lambda host=host: reserved(host) == "30080-30081")

    owner = "service 'front' of network 'default'"
    second.seaway("endpoint", "publish", "web2", "30082:8080")
    for host, words, told_ in (
        (third, ("service", "create", "b", "--port=80", "--publish=30080:80"), owner),
        (third, ("service", "create", "b", "--port=80", "--publish=30081:80"), owner),
        (third, ("endpoint", "publish", "web3", "30080:8080"), owner),
        (first, ("service", "create", "b", "--port=80", "--publish=30082:80"), "host 'host2'"),
        (third, ("service", "create", "b", "--port=80", "--publish=30099:80"), "process"),
    ):
        done = host.call(SEAWAY, *words)
        assert (4, True) == (done.returncode, told_ in done.stderr), done.stderr
    second.seaway("endpoint", "unpublish", "web2", "30082:8080")
    first.seaway("service", "update", "front", "--publish=30080:tcp", "--publish=30099:udp")
    first.seaway("service", "update", "front", "--publish=30099:tcp")  # which host3 has
    assert wait(
        lambda: "30099/tcp of service 'default/front'" in third.call(SEAWAY, "doctor").stdout
    )

    third.kill_agent()
    first.seaway("service", "rm", "front")
    third.start_agent()
    for host in scene.hosts:
        assert wait(lambda host=host: reserved(host) == ""), host.name
        assert wait(lambda host=host: not host.run("ss", "-Hltn", "sport = 30081"))
    first.seaway("detach", "front1")


def test_over_its_limit_a_host_refuses_at_once_and_says_how_often(scene):
    first, second, _ = scene.hosts
    here, there, _ = scene.clients
    vip, *_ = scene.create(first, "narrow", "web", "--limit-connections=1")
    assert wait(lambda: scene.is_chosen("narrow", 3))
    with greeted(here, "hold", vip, "web2") as holding:
        assert "web2" == holding.told()
        assert ["EBUSY", "EBUSY"] == [ask(who, "tcp", vip) for who in (here, first)]
        assert ask(there, "tcp", vip)[0] in WEBS
        assert {"open": 1, "full": 2, "fast": 0} == told(first, "service", "inspect", "narrow")[
            "use"
        ]
        assert 2 == told(first, "status")["limited"]
        second.seaway("service", "update", "narrow", "--limit-connections=0")
        assert wait(lambda: ask(here, "tcp", vip)[0] in WEBS)
    first.seaway("service", "rm", "narrow")


def test_over_its_limit_a_port_of_hosts_refuses_until_a_connection_is_over(scene):
    """That of the host that is asked, by whomever; the backend is on another one."""
    first, second, third = scene.hosts
    scene.serve(third, "tight3", "tight")
    scene.create(first, "tight", "tight", "--publish=30075:tcp", "--limit-connections=1")
    assert wait(lambda: scene.is_chosen("tight", 1))
    asked = str(second.address4)
    with greeted(first, "hold", asked, "tight3", port="30075") as holding:
        assert "tight3" == holding.told()
        assert ["ECONNREFUSED"] * 2 == [ask(who, "tcp", asked, "30075") for who in (first, third)]
        assert "tight3" == ask(first, "tcp", str(third.address4), "30075")[0]
        use = told(second, "service", "inspect", "tight")["use"]
        assert {"open": 1, "full": 2, "fast": 0} == use
        assert "tight3" == holding.ask()
    assert wait(lambda: told(second, "service", "inspect", "tight")["use"]["open"] == 0)
    assert "tight3" == ask(third, "tcp", asked, "30075")[0]
    first.seaway("service", "rm", "tight")
    third.seaway("detach", "tight3")


def test_a_drained_backend_ends_no_connection_and_gets_no_new_one(scene, vips):
    first, second, third = scene.hosts
    with (
        greeted(scene.clients[0], "load", vips[0]) as one,
        greeted(third, "load", vips[1]) as other,
        greeted(scene.clients[1], "hold", vips[0], "web2") as holding,
    ):
        assert "web2" == holding.told()
        words = (SEAWAY, "service", "drain", "web", "web2", "--within=60s")
        with first.popen(*words, stdout=subprocess.PIPE) as draining:
            shown = iter(draining.stdout)
            counted = next(line for line in shown if line.startswith("1 connection"))
            assert counted.startswith("1 connection to web2")
            assert wait(lambda: scene.is_chosen("web", 2))
            for load in (one, other):
                load.ask()  # what was asked before
                assert "web2" not in {name for _ in range(20) for name in load.ask()[0]}
            assert "web2" == holding.ask()  # which goes on

            holding.process.stdin.close()
            assert ["endpoint web2 may go\n"] == list(shown)[-1:]
        assert 0 == draining.returncode
        second.seaway("service", "drain", "web", "web2", "--undo")
        assert wait(lambda: scene.is_chosen("web", 3))
        assert wait(lambda: "web2" in one.ask()[0])
        assert [{}, {}] == [load.ask()[1] for load in (one, other)]


@pytest.mark.parametrize("family", [4, 6])
def test_an_answer_by_udp_that_is_under_way_is_not_lost_by_a_drain(scene, vips, family):
    """By the way of a container, and of a process of a host."""
    first, _, third = scene.hosts
    vip = vips[family == 6]
    place = scene.containers["web2"].addresses()[family == 6]
    with (
        greeted(scene.clients[0], "wait", vip, "web2") as one,
        greeted(third, "wait", vip, "web2") as other,
    ):
        assert ["web2", "web2"] == [one.told(), other.told()]
        words = (SEAWAY, "service", "drain", "web", "web2", "--within=60s")
        with first.popen(*words, stdout=subprocess.PIPE) as draining:
            shown = iter(draining.stdout)
            assert any(line == "2 connections to web2\n" for line in shown)
            assert wait(lambda: scene.is_chosen("web", 2))
            assert "web2" == ask(scene.clients[0], "udp", place, TARGET)[0]
            assert ["web2", "web2"] == [one.told(), other.told()]
            assert ["web2", "web2"] == [one.ask(), other.ask()]
            one.process.stdin.close()
            assert any(line == "1 connection to web2\n" for line in shown)
            other.process.stdin.close()
            assert ["endpoint web2 may go\n"] == list(shown)[-1:]
        assert 0 == draining.returncode
    first.seaway("service", "drain", "web", "web2", "--undo")
    assert wait(lambda: scene.is_chosen("web", 3))


def test_who_came_by_a_published_port_is_waited_for_and_outlives_the_service(scene):
    """The host that was asked is neither the client's nor the backend's."""
    first, second, third = scene.hosts
    scene.create(third, "front", "web", "--publish=30070:tcp", "--drain=60s")
    assert wait(lambda: scene.is_chosen("front", 3))
    asked = str(second.address4)
    with greeted(first, "hold", asked, "web3", port="30070") as holding:
        assert "web3" == holding.told()
        words = (SEAWAY, "service", "drain", "front", "web3", "--within=60s")
        with first.popen(*words, stdout=subprocess.PIPE) as draining:
            shown = iter(draining.stdout)
            assert any(line == "1 connection to web3\n" for line in shown)
            assert "web3" == holding.ask()
            holding.process.stdin.close()
            assert ["endpoint web3 may go\n"] == list(shown)[-1:]
        assert 0 == draining.returncode
    first.seaway("service", "drain", "front", "web3", "--undo")
    assert wait(lambda: scene.is_chosen("front", 3))

    with greeted(first, "hold", asked, "web3", port="30070") as holding:
        assert "web3" == holding.told()
        first.seaway("service", "rm", "front")
        assert wait(lambda: all(known(host, "front") is None for host in scene.hosts))
        assert wait(lambda: ask(first, "tcp", asked, "30070") == "ECONNREFUSED")
        assert "web3" == holding.ask()


def test_a_host_that_drains_is_waited_for_until_nobody_has_a_connection_to_it(scene, vips):
    first, _, third = scene.hosts
    with greeted(scene.clients[1], "hold", vips[0], "web3") as holding:
        assert "web3" == holding.told()
        words = (SEAWAY, "host", "drain", third.name, "--within=60s")
        with first.popen(*words, stdout=subprocess.PIPE) as draining:
            shown = iter(draining.stdout)
            assert any(line == f"1 connection of services to {third.name}\n" for line in shown)
            assert wait(lambda: scene.is_chosen("web", 2))
            assert "web3" == holding.ask()
            holding.process.stdin.close()
            assert f"{third.name} may go; " in list(shown)[-1]
        assert 0 == draining.returncode
    first.seaway("host", "drain", third.name, "--undo")
    assert wait(lambda: scene.is_chosen("web", 3))


def test_a_backend_whose_container_dies_is_chosen_no_more(scene):
    first, _, third = scene.hosts
    scene.serve(first, "stays", "mayfly")
    scene.serve(third, "mayfly", "mayfly")
    vip, *_ = scene.create(first, "mayfly", "mayfly")
    assert wait(lambda: scene.is_chosen("mayfly", 2))
    assert {"stays", "mayfly"} == spread(scene.clients[1], vip, 30).keys()

    end(scene.servers.pop("mayfly"))
    third.run("ip", "netns", "del", "mayfly")
    assert wait(lambda: scene.is_chosen("mayfly", 1))
    for who in scene.askers:
        assert {"stays": 10} == spread(who, vip, 10)
    first.seaway("service", "rm", "mayfly")
    first.seaway("detach", "stays")


def test_who_asks_by_udp_is_told_at_once_that_a_backend_goes_which_drains(scene):
    """From its host, and from another one whose agent was dead when the drain began."""
    first, second, third = scene.hosts
    scene.serve(first, "lasting", "brief")
    scene.serve(third, "brief", "brief")
    vip, *_ = scene.create(first, "brief", "brief", "--drain=300s")
    assert wait(lambda: scene.is_chosen("brief", 2))
    with (
        greeted(scene.clients[1], "wait", vip, "brief") as one,
        greeted(third, "wait", vip, "brief") as other,
    ):
        assert ["brief", "brief"] == [one.told(), other.told()]
        second.kill_agent()
        done = first.call(SEAWAY, "service", "drain", "brief", "brief", "--within=1s")
        assert done.returncode
        second.start_agent()
        assert wait(lambda: scene.is_chosen("brief", 1))
        assert "brief" == ask(first, "udp", scene.containers["brief"].addresses()[0], TARGET)[0]
        assert ["brief", "brief"] == [one.told(), other.told()]

        third.seaway("detach", "brief")
        for client in (one, other):
            assert wait(lambda client=client: client.ask() in ENDED)
    end(scene.servers.pop("brief"))
    first.seaway("service", "rm", "brief")
    first.seaway("detach", "lasting")


def test_connections_go_on_while_the_agent_is_dead_and_it_catches_up(scene, vips):
    _, second, third = scene.hosts
    client = scene.clients[2]
    with greeted(client, "load", vips[0]) as load:
        third.kill_agent()
        second.seaway("endpoint", "update", "web2", "--not-ready")
        assert WEBS == spread(client, vips[0], 60).keys()  # as it was when the agent died
        third.start_agent()
        assert wait(lambda: scene.is_chosen("web", 2))
        assert {"web1", "web3"} == spread(client, vips[0], 60).keys()
        second.seaway("endpoint", "update", "web2", "--ready")
        assert wait(lambda: scene.is_chosen("web", 3))
        assert {} == load.ask()[1]


def test_a_removed_service_frees_its_addresses_and_answers_nobody(scene):
    first, second, _ = scene.hosts
    vips = scene.create(first, "gone", "web")
    assert wait(lambda: scene.is_chosen("gone", 3))
    second.seaway("service", "rm", "gone")
    assert wait(lambda: all(known(host, "gone") is None for host in scene.hosts))
    for who in scene.askers:
        for vip in vips:
            assert wait(lambda who=who, vip=vip: ask(who, "tcp", vip) in NOBODY), who.name

    again = [f"--address={vip}" for vip in vips]
    assert vips == scene.create(first, "again", "web", *again)
    assert wait(lambda: scene.is_chosen("again", 3))
    assert ask(scene.clients[2], "tcp", vips[0])[0] in WEBS
    first.seaway("service", "rm", "again")
