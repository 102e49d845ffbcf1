"""All backends of a service are replaced, one after the other, under load: nobody notices.

┌───── host1 ─────┐   ┌───── host2 ─────┐   ┌───── host3 ─────┐   ┌── world ──┐
│ client1    web1 │   │            web2 │   │ client3    web3 │   │           │
└────────┬────────┘   └────────┬────────┘   └────────┬────────┘   └─────┬─────┘
─────────┴──────────────────── wire ─────────────────┴──────────────────┴──────

Each web is drained, and goes, when a new one is ready.
Clients are containers, hosts, and the world, by the service's address, name, and published port.
Nothing that they ask is ever tried again.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.e2e.conftest import Bare
from tests.evidence import Evidence

from seaway import names
from seaway.client import Client as Agent
from seaway.lab import Lab, LabHost
from seaway.lab.hosts import SEAWAY
from seaway.model.requests import NewEndpoint
from waiting import wait

LOADING = str(Path(__file__).parents[1] / "loading.py")
PORT, TARGET, PUBLISHED = "80", "8080", "30080"
MADE = (
    *("--selector=app=web", "--check=tcp,interval=1s"),
    *(f"--port={PORT}:{TARGET}", f"--publish={PUBLISHED}:{PORT}"),
)
NAME = "web.default.seaway"
RESOLV = Path("/run/resolv.conf")
BOUND = f'mount --bind {RESOLV} /etc/resolv.conf; exec "$0" "$@"'
LEAST = 2000  # requests

Who = Bare | LabHost


@dataclass
class Client:
    """Asks by each of its ways, all the time."""

    process: subprocess.Popen[str]
    failures: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def told(self) -> dict[str, Counter[str]]:
        """Who answered since the last time, by way."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        answers, self.failures = json.loads(self.process.stdout.readline())
        return {way: Counter(counts) for way, counts in answers.items()}


@dataclass
class Load:
    """What all clients saw."""

    clients: list[Client]
    ways: int
    answers: Counter[tuple[int, str, str]] = field(default_factory=Counter)  # lately
    before: int = 0  # so many

    def listen(self) -> Counter[str]:
        """Who answered since the last `begin`."""
        for number, client in enumerate(self.clients):
            for way, counts in client.told().items():
                self.answers.update({(number, way, name): n for name, n in counts.items()})
        found = Counter[str]()
        for (_, _, name), n in self.answers.items():
            found[name] += n
        return found

    def begin(self) -> None:
        self.listen()
        self.before += self.answers.total()
        self.answers.clear()

    def total(self) -> int:
        self.listen()
        return self.before + self.answers.total()

    def failures(self) -> str:
        """By clients."""
        return "; ".join(str(client.failures) for client in self.clients if client.failures)

    def answered_by(self, *backends: str) -> bool:
        """From now on by these alone; in the end by all of them, whichever way was taken."""
        self.begin()

        def all_were() -> bool:
            assert self.listen().keys() <= {*backends}
            ways = {(number, way) for number, way, _ in self.answers}
            return len(ways) == self.ways and self.listen().keys() == {*backends}

        return wait(all_were)


@dataclass
class Scene:
    """What it makes is gone with its stack."""

    lab: Lab
    hosts: tuple[LabHost, ...]
    stack: ExitStack
    attached: dict[str, ExitStack] = field(default_factory=dict)
    backends: set[str] = field(default_factory=set)
    agents: dict[str, Agent] = field(default_factory=dict)

    def agent(self, host: LabHost) -> Agent:
        """Asked from here, which costs the machine no command."""
        if host.name not in self.agents:
            self.agents[host.name] = Evidence(host).client
        return self.agents[host.name]

    def attach(self, host: LabHost, name: str, **labels: str) -> Bare:
        host.run("ip", "netns", "add", name)
        new = NewEndpoint(network="default", netns=name, container=name, name=name, labels=labels)
        self.agent(host).attach(new)
        self.attached[name] = self.stack.enter_context(ExitStack())
        self.attached[name].callback(host.run, "ip", "netns", "del", name)
        self.attached[name].callback(self.agent(host).detach, name)
        return Bare(host, name)

    def serve(self, host: LabHost, name: str) -> None:
        """A new backend, which is one at once, and answers only then."""
        made = self.attach(host, name, app="web")
        server = host.popen(*inside(made, "serve", TARGET, name), stdout=subprocess.PIPE)
        self.backends.add(name)
        self.attached[name].callback(end, server)
        assert server.stdout is not None
        assert "ready" == json.loads(server.stdout.readline())

    def remove(self, name: str) -> None:
        """Its container ends, as containers do: at once."""
        self.backends.remove(name)
        self.attached.pop(name).close()

    def create(self) -> list[str]:
        """The service; its addresses, IPv4 first."""
        made = self.hosts[0].seaway("service", "create", "web", *MADE, "-o", "json")
        self.stack.callback(self.agent(self.hosts[0]).remove_service, "web")
        return sorted(json.loads(made)["service"]["addresses"], key=lambda a: ":" in a)

    def chooses(self, *backends: str, dead: LabHost | None = None) -> bool:
        """Whether, in the end, the first host does whose agent is not dead."""
        return wait(lambda: self._chosen(self.typed_at(dead)) == set(backends))

    def _chosen(self, host: LabHost) -> set[str]:
        backends = self.agent(host).service("web").backends
        return {backend.name for backend in backends if backend.chosen}

    def typed_at(self, dead: LabHost | None) -> LabHost:
        """Where, of what may be typed anywhere."""
        return next(host for host in self.hosts if host != dead)

    def draining(self, name: str, dead: LabHost | None = None) -> subprocess.Popen[str]:
        words = (SEAWAY, "service", "drain", "web", name, "--within=100s")
        return self.typed_at(dead).popen(*words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def replace(self, host: LabHost, old: str, new: str, dead: LabHost | None = None) -> None:
        """`dead`: whose agent is killed first, and started again when all others know. Its host
        leads clients to the old one until then.
        """
        others = self.backends - {old}
        if dead:
            dead.kill_agent()
        self.serve(host, new)
        assert self.chooses(old, new, *others, dead=dead)
        with self.draining(old, dead) as drain:
            if dead:
                assert self.chooses(new, *others, dead=dead)
                assert drain.poll() is None
                dead.start_agent()
            may_go(drain)
        self.remove(old)


def may_go(drain: subprocess.Popen[str]) -> None:
    told, _ = drain.communicate(timeout=120)
    assert 0 == drain.returncode, told


def inside(who: Who, *command: str) -> list[str]:
    """Where it is, and with a resolver as containers find theirs."""
    space = [] if isinstance(who, LabHost) else ["nsenter", f"--net=/run/netns/{who.name}"]
    bound = ("unshare", "--mount", "sh", "-c", BOUND)
    return [*space, *bound, sys.executable, LOADING, *command]


def end(process: subprocess.Popen[str]) -> None:
    with process:  # which closes its pipes
        process.kill()


@contextmanager
def loaded(asked: Sequence[tuple[Who, Sequence[str]]]) -> Iterator[Load]:
    """Who asks, by which ways. In the end nothing has failed, of requests that are many."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with ExitStack() as stack:
        clients = []
        for who, ways in asked:
            host = who if isinstance(who, LabHost) else who.host
            process = host.popen(*inside(who, "load", *ways), **pipes)
            stack.callback(end, process)
            clients.append(Client(process))
        made = Load(clients, sum(len(ways) for _, ways in asked))
        yield made
        assert wait(lambda: made.total() >= LEAST)
        made.begin()
        assert not made.failures()


def at(address: object) -> str:
    """A published port of a host, as a way has it."""
    return f"{address},{PUBLISHED}"


@pytest.fixture(scope="module")
def lab(make_module_lab: Callable[..., Lab]) -> Lab:
    """The first host alone is a cluster, until the others join."""
    made = make_module_lab(hosts=3, world=True)
    made.hosts[0].start_agent()
    for host in made.everyone:
        host.write(RESOLV, f"nameserver {names.RESOLVER4}\n")
    return made


@pytest.fixture
def scene(lab: Lab) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(lab, lab.hosts[:1], stack)


@pytest.fixture(scope="module")
def joined(lab: Lab) -> Lab:
    first, *others = lab.hosts
    token = json.loads(first.seaway("token", "create", "-o", "json"))["token"]
    for other in others:
        other.seaway("join", token, str(first.address4), timeout=60)
    return lab


@pytest.fixture
def scene3(joined: Lab) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(joined, joined.hosts, stack)


def test_on_one_host_no_request_fails(scene: Scene, tell: Callable[[str], None]) -> None:
    """Its agent is killed while it drains."""
    (host,) = scene.hosts
    client = scene.attach(host, "client")
    for old in ("web1", "web2"):
        scene.serve(host, old)
    vip4, vip6 = scene.create()
    assert scene.chooses("web1", "web2")
    asked = [
        (client, [f"fresh,{vip4},80", f"kept,{vip6},80", f"fresh,{NAME},80", f"kept,{NAME},80"]),
        (host, [f"fresh,{vip6},80", f"kept,{at('127.0.0.1')}", f"fresh,{at('::1')}"]),
        (scene.lab.world, [f"{how},{at(host.address4)}" for how in ("fresh", "kept")]),
        (scene.lab.world, [f"{how},{at(host.address6)}" for how in ("fresh", "kept")]),
    ]
    with loaded(asked) as load:
        assert load.answered_by("web1", "web2")
        scene.replace(host, "web1", "new1")
        scene.serve(host, "new2")
        assert scene.chooses("new1", "new2", "web2")
        with scene.draining("web2"):
            assert scene.chooses("new1", "new2")
            host.kill_agent()
        host.start_agent()
        with scene.draining("web2") as drain:
            may_go(drain)
        scene.remove("web2")
        assert load.answered_by("new1", "new2")
    tell(f"of {load.before} requests none failed")


@contextmanager
def loaded_hosts(scene: Scene) -> Iterator[Load]:
    """With a backend on each."""
    first, second, third = scene.hosts
    client1, client3 = (scene.attach(host, f"client{host.name[-1]}") for host in (first, third))
    for host in scene.hosts:
        scene.serve(host, f"web{host.name[-1]}")
    vip4, vip6 = scene.create()
    assert scene.chooses("web1", "web2", "web3")
    asked = [
        (client1, [f"fresh,{vip4},80", f"kept,{vip6},80", f"kept,{NAME},80"]),
        (client1, [f"fresh,{at(second.address4)}", f"kept,{at(third.address6)}"]),
        (client3, [f"kept,{vip4},80", f"fresh,{vip6},80", f"fresh,{NAME},80"]),
        (client3, [f"fresh,{at(first.address4)}", f"kept,{at(second.address4)}"]),
        (second, [f"fresh,{vip4},80", f"kept,{at('127.0.0.1')}"]),
        (scene.lab.world, [f"fresh,{at(host.address4)}" for host in scene.hosts]),
        (scene.lab.world, [f"kept,{at(host.address6)}" for host in scene.hosts]),
    ]
    with loaded(asked) as load:
        assert load.answered_by("web1", "web2", "web3")
        yield load


def test_across_three_hosts_no_request_fails(scene3: Scene, tell: Callable[[str], None]) -> None:
    """The third one's agent is killed meanwhile."""
    first, second, third = scene3.hosts
    with loaded_hosts(scene3) as load:
        scene3.replace(first, "web1", "new1")
        scene3.replace(second, "web2", "new2", dead=third)
        scene3.replace(third, "web3", "new3")
        assert load.answered_by("new1", "new2", "new3")
    tell(f"of {load.before} requests none failed")


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_whichever_agent_is_killed_no_request_fails(
    scene3: Scene, request: pytest.FixtureRequest, tell: Callable[[str], None]
) -> None:
    """But for that of the first one: it keeps the records of all."""
    seed = request.config.getoption("--seed") or random.randrange(1 << 30)
    rng, backends = random.Random(seed), ["web1", "web2", "web3"]
    with loaded_hosts(scene3) as load:
        for turn in range(30):
            place, host = turn % 3, scene3.hosts[turn % 3]
            dead = rng.choice([None, *(other for other in scene3.hosts[1:] if other != host)])
            old, backends[place] = backends[place], f"web{turn + 4}"
            scene3.replace(host, old, backends[place], dead=dead)
        assert load.answered_by(*backends)
    tell(f"of {load.before} requests none failed (seed {seed})")
