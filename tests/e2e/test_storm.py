"""A cluster in a storm: links, hosts, agents, `routed` and etcd go and come back at random, under
traffic from every container to every other one.

        ┌── host2 ──┬── host3 ──┐    a container on each; from each to each a datagram and back
    host1: etcd                 │    every 40 ms, by IPv4 and IPv6. One lab for all tests, which
        └── host5 ──┴── host4 ──┘    go on where the one before ended.

What must get through is decided by an oracle that knows the wire alone (course.py). `make test`
forgives a busy machine some seconds; `make soak` holds it to the promise.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from pprint import pformat

import pytest
from tests.beating import Beaten, beating
from tests.beats import LATE
from tests.course import FLIGHT, Course
from tests.evidence import differences
from tests.rings import GUEST, KEEP_ADDRESSES, PROCESSES, Ring, made
from tests.storm import Storm
from tests.waiting import span

import placed
from seaway import lab as labs
from seaway import names
from seaway.lab import Lab, LabHost
from seaway.lab.hosts import SEAWAY
from seaway.routed.probes import DEFAULT, DOUBLED, HITS, SELDOM

pytestmark = pytest.mark.long

PROMISED = 1.0  # seconds until packets go another way
CALM = 30.0  # and until all must be as it was
FORGIVEN = 6.0  # the same where others are at work
# Seconds until a link that fell often, and that is probed seldom, is believed again.
YOUNG = (HITS << DOUBLED) * DEFAULT.interval + SELDOM * DEFAULT.interval + PROMISED


@pytest.fixture(scope="module")
def ring(make_module_lab: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Ring:
    return made(make_module_lab, tmp_path_factory.mktemp("lab"))


def load() -> str:
    return f"load {os.getloadavg()[0]:.1f}"


@pytest.fixture
def seed(request: pytest.FixtureRequest, tell: Callable[[str], None]) -> int:
    given = request.config.getoption("--seed")
    found = random.randrange(1 << 30) if given is None else int(given)
    tell(f"again by: --seed {found}")
    return found


@pytest.mark.timeout(480)
def test_who_is_connected_talks_through_a_minute_of_storm(ring, seed, tell):
    weather(ring, Storm(ring, seed, Course(ring.links, YOUNG, FORGIVEN)), 60.0, tell)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_who_is_connected_talks_in_time_through_ten_minutes_of_storm(ring, seed, tell):
    weather(ring, Storm(ring, seed, Course(ring.links, YOUNG, PROMISED)), 600.0, tell)


def weather(ring: Ring, storm: Storm, seconds: float, tell: Callable[[str], None]) -> None:
    before = ring.states()
    with beating(ring.hosts, ring.addresses) as heart:
        assert heart.is_heard(), heart.silent()
        until = time.monotonic() + seconds
        storm.blow(lambda: time.monotonic() < until)
        storm.calm()
        assert heart.is_heard(), heart.silent()
        beaten = heart.end()
    tell(told(storm, beaten))
    assert [] == storm.course.judge(beaten.losses)
    assert [] == storm.died
    as_it_was(ring, before)
    for host in ring.hosts:
        ring.begin_anew(host)
    as_it_was(ring, before)


def told(storm: Storm, beaten: Beaten) -> str:
    course = storm.course
    outages, waits = course.outages(beaten.losses), course.waits(beaten.losses)
    absences = [absence.ended - absence.begun for absence in course.absences]
    return (
        f"{counted(storm.done)}; refused: {counted(storm.refused)}; "
        f"{beaten.sent} beats, {beaten.lost} lost, the slowest back after {beaten.slowest:.2f} s; "
        f"another way after {figures(outages)} (1 s); connected again after {figures(waits)}; "
        f"a killed routed knows again after {figures(absences)}; {load()}"
    )


def counted(what: Counter[str]) -> str:
    return ", ".join(f"{times} x {one}" for one, times in sorted(what.items())) or "nothing"


def figures(seconds: list[float]) -> str:
    """Of sorted ones."""
    if not seconds:
        return "no such case"
    found = sorted(seconds)
    middle = found[len(found) // 2]
    return f"{middle:.2f} s, at most {found[-1]:.2f} s, of {len(found)}"


def as_it_was(ring: Ring, before: dict[str, object]) -> None:
    """Once all is settled, and what passes has passed."""
    ring.settle()
    deadline = time.monotonic() + CALM
    while differing := differences(before, ring.states()):
        assert time.monotonic() < deadline, pformat(differing, width=200)
    for host in ring.hosts:
        for log in (names.LOG_FILE, names.ROUTED_LOG_FILE):
            assert "Traceback" not in host.read(log)
    assert {host.name: [] for host in ring.hosts} == {
        host.name: errors(host) for host in ring.hosts
    }


def errors(host: LabHost) -> list[str]:
    """What doctor finds that keeps containers from their network."""
    found = json.loads(host.call(SEAWAY, "doctor", "-o", "json").stdout)
    return [finding["found"] for finding in found if finding["level"] == "error"]


# ── a host goes ──


@pytest.mark.timeout(240)
def test_nothing_is_lost_when_a_host_drains_and_then_dies(ring, tell):
    """It is the relay between its neighbours; what runs on it goes on until its death."""
    first, second, third = ring.hosts[:3]
    ring.settle()
    assert second.name == ring.vias(first)[third.name] == ring.vias(third)[first.name]
    with beating(ring.hosts, ring.addresses) as heart:
        assert heart.is_heard(), heart.silent()
        assert f"{second.name} may go" in first.seaway("host", "drain", second.name, timeout=90)
        assert not any(relays(ring, second, host) for host in ring.hosts)
        assert heart.is_heard(), heart.silent()
        died = time.monotonic()
        ring.kill(second, "agent", "routed")
        ring.device(second, "down")
        span(PROMISED + LATE)  # whatever is lost by then is known to be
        beaten = heart.end()
    tell(f"{beaten.sent} beats, {beaten.lost} lost, all of the host that died; {load()}")
    assert [] == [
        loss for loss in beaten.losses if second.name not in loss.pair or loss.first < died - FLIGHT
    ]

    ring.device(second, "up")
    first.seaway("host", "drain", second.name, "--undo")
    ring.settle()
    first.wait_for("its relaying again", lambda: relays(ring, second, first))


def relays(ring: Ring, relay: LabHost, host: LabHost) -> bool:
    """Whether this host reaches others through that one."""
    return any(relay.name == via != other for other, via in ring.vias(host).items())


# ── nothing lives but the data plane ──


@pytest.mark.timeout(480)
def test_nothing_is_lost_while_only_the_data_plane_lives(ring, tell):
    desert(ring, 20.0, tell)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_nothing_is_lost_in_ten_minutes_while_only_the_data_plane_lives(ring, tell):
    desert(ring, 600.0, tell)


def desert(ring: Ring, seconds: float, tell: Callable[[str], None]) -> None:
    """Then one host begins from its disk, without a store, between others that are still dead."""
    ring.settle()
    before = ring.states()
    with beating(ring.hosts, ring.addresses) as heart:
        assert heart.is_heard(), heart.silent()
        for host in ring.hosts:
            ring.kill(host, *PROCESSES)
        span(seconds)
        alive = [(h.name, what) for h in ring.hosts for what in PROCESSES if ring.pid(h, what)]
        beaten = heart.end()
    tell(f"{beaten.sent} beats, {beaten.lost} lost; {load()}")
    assert ([], []) == (alive, beaten.losses)

    third = ring.hosts[2]
    labs.reboot(third)
    third.run("sysctl", "-qw", KEEP_ADDRESSES)
    third.run("ip", "netns", "add", GUEST)
    placed.start(third)
    third.wait_for("its agent", lambda: placed.is_ready(third), within=CALM)
    assert "cannot be asked" in placed.client(third).status().store_lost
    ring.attach(third)
    with beating(ring.hosts, ring.addresses) as heart:
        assert heart.is_heard(), heart.silent()

    ring.settle()
    deletes_nothing(third, before, ring.states())


def deletes_nothing(
    rebooted: LabHost, before: dict[str, dict[str, object]], after: dict[str, dict[str, object]]
) -> None:
    """Of the others; but its own container is gone, with its namespace, and there is another."""
    for name, state in before.items():
        for what in state.keys() - {"records"} if name != rebooted.name else ():
            assert {} == differences(state[what], after[name][what]), (name, what)
        own = f"endpoints/{rebooted.name}/"
        kept = {key: v for key, v in state["records"].items() if not key.startswith(own)}
        assert kept.items() <= after[name]["records"].items()
