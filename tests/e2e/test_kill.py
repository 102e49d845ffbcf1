"""The agent is killed without warning, again and again, under ADD, DEL and traffic.

┌──────────────────────── host1 ─────────────────────────┐
│ ┌─ one ─┐ ┌─ two ─┐ ┌─ three ─┐   hold connections     │      ┌── host2 ──┐
│ └───────┘ └───────┘ └─────────┘   two's port published ┼─wire─┼─ too      │
│                                                        │      └───────────┘
│ ┌─ c0 … ─┐ ┌─ d0 … ─┐    come and go, by CNI and API   │
│ └────────┘ └────────┘                                  │
│ agent: started, killed, started, killed …              │
└────────────────────────────────────────────────────────┘
"""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.evidence import Evidence, differences
from tests.flow import PORT
from tests.flows import Place, assert_unharmed, flowing
from tests.libcni import PluginFailed, Runtime
from tests.used import agent_cpu
from tests.waiting import span, wait

from seaway import names
from seaway.errors import NotFound, SeawayError
from seaway.lab import Lab, LabHost
from seaway.lab.containerd import install_plugins
from seaway.model.requests import NewEndpoint

pytestmark = pytest.mark.long

STABLE = ("one", "two", "three")
EACH = 3  # namespaces of one caller
STARTED = 0.5  # seconds of CPU, about, after which an agent serves
CALM = 60.0  # seconds until all must be as it was
NETWORK = {"cniVersion": "1.1.0", "name": "net", "plugins": [{"type": "seaway"}]}


class Agent:
    """Started as often as it is killed."""

    def __init__(self, host: LabHost) -> None:
        self.host = host
        self.kills = 0
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = (sys.executable, "-m", "seaway", "agent")
        with Path(f"/proc/{self.host.pid}/root{names.LOG_FILE}").open("a") as log:
            self._process = self.host.popen(*command, stdout=log, stderr=log)

    def cpu(self) -> float:
        return agent_cpu(self.host)

    def kill(self) -> None:
        """The agent itself, at once; what started it ends with it."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self.kills += 1

    def close(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()


@dataclass
class Addresses:
    """Who has which, as their callers were told."""

    held: dict[str, str] = field(default_factory=dict)
    twice: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def give(self, holder: str, addresses: list[str]) -> None:
        with self.lock:
            for address in addresses:
                if address in self.held:
                    self.twice.append(f"{address}: {self.held[address]} and {holder}")
                self.held[address] = holder

    def take(self, holder: str) -> None:
        with self.lock:
            self.held = {a: h for a, h in self.held.items() if h != holder}


@dataclass
class Caller:
    """Attaches and detaches as a runtime does: after a failed ADD, DEL until it is done."""

    name: str
    addresses: Addresses
    add: Callable[[str], list[str]]
    delete: Callable[[str], None]
    vanish: Callable[[str], None]
    seed: int
    done: int = 0
    refused: int = 0

    def run(self, stopped: threading.Event) -> None:
        rng = random.Random(self.seed)
        present: set[str] = set()
        spaces = [f"{self.name}{n}" for n in range(EACH)]
        while not stopped.is_set():
            space = rng.choice(spaces)
            if space in present:
                self._take(space, rng.random() < 0.2)
                present.discard(space)
            elif self._give(space):
                present.add(space)
        for space in present:
            self._take(space, gone=False)

    def _give(self, space: str) -> bool:
        try:
            self.addresses.give(space, self.add(space))
        except (SeawayError, PluginFailed):
            self.refused += 1
            self._delete(space)
            return False
        self.done += 1
        return True

    def _take(self, space: str, gone: bool) -> None:
        self.addresses.take(space)
        if gone:
            self.vanish(space)
        self._delete(space)

    def _delete(self, space: str) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                return self.delete(space)
            except (SeawayError, PluginFailed):
                self.refused += 1
                assert time.monotonic() < deadline, f"DEL of {space}"


@dataclass
class Scene:
    host: LabHost
    outside: LabHost
    evidence: Evidence
    agent: Agent
    addresses: Addresses = field(default_factory=Addresses)

    def by_cni(self, name: str, seed: int) -> Caller:
        runtime = Runtime(self.host, NETWORK)

        def add(space: str) -> list[str]:
            return [ip["address"].partition("/")[0] for ip in runtime.add(space)["ips"]]

        return Caller(name, self.addresses, add, runtime.delete, self.vanish, seed)

    def by_api(self, name: str, seed: int) -> Caller:
        client = self.evidence.client

        def add(space: str) -> list[str]:
            new = NewEndpoint(network="default", netns=space, container=space, name=space)
            return [str(i.ip) for i in client.attach(new).addresses]

        def delete(space: str) -> None:
            try:
                client.detach(space)
            except NotFound:
                return

        return Caller(name, self.addresses, add, delete, self.vanish, seed)

    def vanish(self, space: str) -> None:
        """The container's namespace goes, and another of its name comes."""
        self.host.run("ip", "netns", "del", space)
        self.host.run("ip", "netns", "add", space)

    def place(self, name: str, family: int = 0) -> Place:
        return Place(name, str(self.evidence.client.endpoint(name).endpoint.addresses[family].ip))

    def own(self, family: int = 0) -> Place:
        return Place("", str(self.evidence.client.status().addresses[family]))

    def pairs(self) -> list[tuple[Place, Place]]:
        one, two, three = (self.place(name) for name in STABLE)
        six = self.place("two", 1)
        return [
            (one, two),
            (one, six),
            (two, self.own()),
            (self.own(), three),
            (three, self.own(1)),
            *self.published(),
        ]

    def published(self) -> list[tuple[Place, Place]]:
        """To the port of two that is published: from outside, from the host, from neighbours."""
        four, six = (Place("two", str(a)) for a in (self.host.address4, self.host.address6))
        outside = Place("", "", self.outside)
        loopback = Place("two", "127.0.0.1")
        neighbours = [(Place(name, ""), four) for name in ("one", "two")]
        return [(outside, four), (outside, six), (Place("", ""), loopback), *neighbours]

    def calm(self, before: dict[str, object]) -> None:
        """With an agent again, all must come to be as it was."""
        self.host.wait_for("the agent", self.host.agent_is_ready, within=CALM)
        deadline = time.monotonic() + CALM
        while differing := differences(before, self.evidence.all()):
            assert time.monotonic() < deadline, differing
        spool = self.host.run("find", str(names.SPOOL_FOLDER), "-type", "f")
        assert ("", []) == (spool, self.addresses.twice)
        assert "Traceback" not in self.host.read(names.LOG_FILE)
        assert 0 == self.evidence.client.status().drift_total


@pytest.fixture
def way() -> str:
    """How programs are attached (docs/cli.md, `attach`)."""
    return "auto"


@pytest.fixture
def scene(make_lab: Callable[..., Lab], way: str) -> Iterator[Scene]:
    lab_host, outside = make_lab(hosts=2).hosts
    install_plugins(lab_host)
    spaces = [f"{caller}{n}" for caller in "cdef" for n in range(EACH)]
    batch = "".join(f"netns add {name}\n" for name in (*STABLE, *spaces))
    lab_host.run("ip", "-batch", "-", stdin=batch)
    lab_host.write(names.CONFIG_FILE, f'[agent]\nattach = "{way}"\n')
    lab_host.start_agent()
    for name in STABLE:
        lab_host.seaway("attach", name, "--name", name)
    lab_host.seaway("endpoint", "publish", "two", f"{PORT}:{PORT}")
    lab_host.wait_for("addresses", lambda: "tentative" not in lab_host.run("ip", "-6", "a"))
    lab_host.kill_agent()
    agent = Agent(lab_host)
    agent.start()
    lab_host.wait_for("the agent", lab_host.agent_is_ready, within=CALM)
    try:
        yield Scene(lab_host, outside, Evidence(lab_host), agent)
    finally:
        agent.close()


@contextmanager
def calling(callers: list[Caller]) -> Iterator[None]:
    stopped = threading.Event()
    threads = [threading.Thread(target=caller.run, args=(stopped,)) for caller in callers]
    failures: list[threading.ExceptHookArgs] = []
    hook, threading.excepthook = threading.excepthook, failures.append
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopped.set()
        for thread in threads:
            thread.join(timeout=180)
        threading.excepthook = hook
    assert [] == [str(failure.exc_value) for failure in failures]
    assert not any(thread.is_alive() for thread in threads)


def kill_again_and_again(
    agent: Agent, rng: random.Random, refused: Callable[[], int], going_on: Callable[[], bool]
) -> None:
    """Most kills come while it serves, some while it starts: by the CPU that it has used. Some
    agents come only after calls were refused.
    """
    while going_on():
        used = rng.choice((rng.uniform(0.0, STARTED), *[rng.uniform(STARTED, 2.5)] * 3))
        assert wait(lambda: agent.cpu() >= used, within=60)  # noqa: B023
        agent.kill()
        missed = refused() + rng.choice((0, 0, rng.randrange(1000)))
        assert wait(lambda: refused() >= missed, within=60)  # noqa: B023
        agent.start()


def storm(
    scene: Scene, seed: int, going_on: Callable[[], bool], tell: Callable[[str], None]
) -> None:
    before = scene.evidence.all()
    callers = [
        scene.by_cni("c", seed),
        scene.by_cni("d", seed + 1),
        scene.by_api("e", seed + 2),
        scene.by_api("f", seed + 3),
    ]
    with flowing(scene.host, scene.pairs()) as flows:
        with calling(callers):
            rng = random.Random(seed)
            kill_again_and_again(scene.agent, rng, lambda: _refused(callers), going_on)
        seen = assert_unharmed(flows)
    done, refused = sum(c.done for c in callers), _refused(callers)
    messages, silence = sum(f["messages"] for f in seen), max(f["silence"] for f in seen)
    tell(
        f"{scene.agent.kills} kills (seed {seed}), {done} ADDs, {refused} calls refused; "
        f"{messages} messages on {len(seen)} connections, longest silence {silence} s"
    )
    assert done > scene.agent.kills / 2
    scene.calm(before)


def _refused(callers: list[Caller]) -> int:
    return sum(caller.refused for caller in callers)


@pytest.mark.timeout(600)
def test_an_agent_that_is_killed_for_half_a_minute_harms_nobody_and_leaks_nothing(scene, tell):
    until = time.monotonic() + 30
    storm(scene, random.randrange(1 << 30), lambda: time.monotonic() < until, tell)


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("way", ["auto", "tcx"])  # "auto" begins with filters
def test_an_agent_that_is_killed_fifty_times_harms_nobody_and_leaks_nothing(scene, tell):
    storm(scene, random.randrange(1 << 30), lambda: scene.agent.kills < 50, tell)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_ten_minutes_without_any_agent_harm_nobody(scene, tell):
    absence(scene, 600.0, tell)


def test_connections_and_detached_containers_do_without_an_agent(scene, tell):
    absence(scene, 10.0, tell)


def absence(scene: Scene, seconds: float, tell: Callable[[str], None]) -> None:
    """Containers end meanwhile: their runtime's DEL is kept, and done by the next agent."""
    before = scene.evidence.all()
    caller = scene.by_cni("c", 0)
    for n in range(EACH):
        scene.addresses.give(f"c{n}", caller.add(f"c{n}"))
    with flowing(scene.host, scene.pairs()) as flows:
        scene.agent.kill()
        caller.delete("c0")
        scene.vanish("c1")
        caller.delete("c1")
        scene.vanish("c2")
        span(seconds)
        seen = assert_unharmed(flows)
    scene.agent.start()
    scene.calm(before)
    silence = max(f["silence"] for f in seen)
    tell(f"{seconds:.0f} s without an agent: longest silence of a connection {silence} s")
