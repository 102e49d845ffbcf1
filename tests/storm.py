"""Whatever befalls a cluster, at random but again by its seed: links and hosts are cut off,
processes killed, etcd stops or stands still, containers come and go.

What was done to the wire and to `routed` is written down for `course`.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from tests.course import Absence, Change, Course, Link
from tests.rings import GUEST, Ring, knows
from tests.waiting import wait

import placed
from seaway import lab as labs
from seaway.errors import NotFound, SeawayError
from seaway.lab import LabHost
from seaway.model.requests import NewEndpoint

ACTIONS = {
    "cut": 4,
    "cut off": 2,
    "kill agent": 3,
    "kill routed": 2,
    "kill both": 1,
    "kill etcd": 1,
    "stop etcd": 1,
    "pause etcd": 1,
    "attach": 3,
}
PAUSE = (0.5, 3.0)  # seconds between two of them
LASTS = (0.3, 8.0)  # seconds until it is undone
MOST = 4  # that are not undone yet
LOOK = 0.1  # seconds between two looks at `routed`


class Storm:
    def __init__(self, ring: Ring, seed: int, course: Course) -> None:
        self.ring = ring
        self.course = course
        self.done: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.died: list[str] = []  # processes that nobody killed
        self._rng = random.Random(seed)
        self._cut: set[Link] = set()
        self._off: set[str] = set()
        self._due: list[tuple[float, Callable[[], object]]] = []
        self._missing: dict[str, float] = {}  # since when a host has no `routed` that knows
        self._routed = {host.name: ring.pid(host, "routed") for host in ring.hosts}
        self._guests: set[str] = set()
        self._looked = 0.0

    def blow(self, going_on: Callable[[], bool]) -> None:
        while going_on():
            if len(self._due) < MOST:
                action = self._rng.choices([*ACTIONS], [*ACTIONS.values()])[0]
                self.done[action] += bool(self._act(action))
            self._pass(self._rng.uniform(*PAUSE))

    def calm(self) -> None:
        """All is undone, and all are there again."""
        for _, undo in sorted(self._due, key=lambda due: due[0]):
            undo()
        self._due = []
        self.ring.settle()
        for name in sorted(self._guests):
            self._part_with_guest(self._host(name))
        assert wait(self._are_back, 30), self._missing

    def _are_back(self) -> bool:
        self._look()
        return not self._missing

    def _pass(self, seconds: float) -> None:
        """Meanwhile what is due is undone."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            for due in [due for due in self._due if due[0] <= now]:
                self._due.remove(due)
                due[1]()
            wake = min([end, now + LOOK, *(at for at, _ in self._due)])
            wait(lambda wake=wake: time.monotonic() >= wake)
            self._look()

    def _later(self, undo: Callable[[], object]) -> bool:
        self._due.append((time.monotonic() + self._rng.uniform(*LASTS), undo))
        return True

    def _act(self, action: str) -> bool:
        """Whether it was possible."""
        host = self._rng.choice(self.ring.hosts)
        return {
            "cut": self._cut_one,
            "cut off": partial(self._cut_off, host),
            "kill agent": partial(self._kill, host, "agent"),
            "kill routed": partial(self._kill, host, "routed"),
            "kill both": partial(self._kill, host, "agent", "routed"),
            "kill etcd": partial(self._harm_etcd, "KILL"),
            "stop etcd": partial(self._harm_etcd, "TERM"),
            "pause etcd": partial(self._harm_etcd, "STOP"),
            "attach": partial(self._have_guest, host),
        }[action]()

    # ── the wire ──

    def _up(self) -> set[Link]:
        return {link for link in self.ring.links if link not in self._cut and not link & self._off}

    def _change(self, work: Callable[[], object], cut: set[Link], off: set[str]) -> None:
        """What is cut, and who is off, once the work is done."""
        before, begun = self._up(), time.monotonic()
        work()
        self._cut, self._off = cut, off
        done, after = time.monotonic(), self._up()
        for link in before ^ after:
            self.course.changes.append(Change(begun, done, link, link in after))

    def _link(self, link: Link, how: str) -> None:
        one, other = sorted(link)
        cut = self._cut - {link} if how == "up" else self._cut | {link}
        work = partial(labs.link, (one, other), how, name=self.ring.lab.name)
        self._change(work, cut, self._off)

    def _cut_one(self) -> bool:
        links = sorted(self._up(), key=sorted)
        if not links:
            return False
        link = self._rng.choice(links)
        self._link(link, "down")
        return self._later(partial(self._link, link, "up"))

    def _cut_off(self, host: LabHost) -> bool:
        """By its own device, or by the wire, which tells nobody."""
        mine = [link for link in self._up() if host.name in link]
        if len(mine) < 2:
            return False
        if self._rng.random() < 0.5:
            self._device(host, "down")
            return self._later(partial(self._device, host, "up"))
        for link in sorted(mine, key=sorted):
            self._link(link, "down")
        return self._later(lambda: [self._link(link, "up") for link in sorted(mine, key=sorted)])

    def _device(self, host: LabHost, how: str) -> None:
        off = self._off - {host.name} if how == "up" else self._off | {host.name}
        self._change(partial(self.ring.device, host, how), self._cut, off)

    # ── processes ──

    def _host(self, name: str) -> LabHost:
        return self.ring.lab.host(name)

    def _kill(self, host: LabHost, *whats: str) -> bool:
        if not all(self.ring.pid(host, what) for what in whats):
            return False
        if "routed" in whats:
            self._missing.setdefault(host.name, time.monotonic())
        for what in whats:
            self.ring.signal(host, what, "KILL")
        if "agent" in whats:
            return self._later(partial(self._start, host))
        return True  # its agent starts it again, once there is one

    def _start(self, host: LabHost) -> None:
        if not self.ring.pid(host, "agent"):
            placed.start(host)

    def _harm_etcd(self, signal: str) -> bool:
        first = self.ring.hosts[0]
        if not self.ring.signal(first, "etcd", signal):
            return False
        if signal == "STOP":
            return self._later(partial(self.ring.signal, first, "etcd", "CONT"))
        return True  # the agent starts it again

    def _look(self) -> None:
        """Whether each `routed` is the one that it was, and those that were killed are back."""
        if time.monotonic() - self._looked < LOOK:
            return
        self._looked = time.monotonic()
        for host in self.ring.hosts:
            pid = self.ring.pid(host, "routed")
            missing = self._missing.get(host.name)
            if missing is None and pid != self._routed[host.name]:
                self.died.append(f"routed of {host.name}")
                self._missing[host.name] = time.monotonic()
            elif missing is not None and pid not in {0, self._routed[host.name]} and knows(host):
                del self._missing[host.name]
                self._routed[host.name] = pid
                self.course.absences.append(Absence(host.name, missing, time.monotonic()))

    # ── containers ──

    def _have_guest(self, host: LabHost) -> bool:
        """It comes, or goes; what cannot be done now is not, or perhaps it is."""
        try:
            if host.name in self._guests:
                self._part_with_guest(host)
            else:
                self._guests.add(host.name)
                guest = NewEndpoint(network="default", netns=GUEST, name=GUEST)
                placed.client(host).attach(guest)
        except SeawayError as error:
            self.refused[error.message] += 1
            return False
        return True

    def _part_with_guest(self, host: LabHost) -> None:
        with suppress(NotFound):
            placed.client(host).detach(GUEST)
        self._guests.discard(host.name)
