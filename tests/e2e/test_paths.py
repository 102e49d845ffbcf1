"""Hosts in a ring find the way to each other, and another one where a link or host is dead.

host1 ── host2        The wire passes nothing between host1 and host3, nor between host2 and host4,
  │        │          and nothing but IPv6 at all. Everything is real: agents, `routed`, TLS, probes
host4 ── host3        that from_wire answers. One lab for all, in this order: the last takes a host.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.damage import change_entry, delete_entry, plant_entry
from tests.evidence import Evidence

import placed
from routing import Follower
from seaway import lab as labs
from seaway import names
from seaway.bench.failover import FELT, beating
from seaway.bench.heartbeat import PATIENCE
from seaway.bench.ours import attach
from seaway.bench.runner import Runner, ask
from seaway.bench.systems import make_netns, netns_path
from seaway.daemons import running
from seaway.errors import Unavailable
from seaway.lab import Lab, LabHost
from seaway.lab.hosts import SEAWAY
from seaway.model.routing import RoutedReport
from seaway.routed.packet import PORT, QUESTION, Packet
from waiting import span, wait

PROMISED = 1.0  # seconds from a dead link to another path
LATE = 10.0  # seconds: what that may take on a machine that others use too
CALM = 2.0  # seconds without another path: none turns by itself now, as links' times change
RING = ("host1 host2", "host2 host3", "host3 host4", "host4 host1")


@dataclass
class Ring:
    lab: Lab
    follower: Follower

    def __getitem__(self, name: str) -> LabHost:
        return self.lab.host(name)

    def link(self, one: str, other: str, how: str) -> float:
        """When that began."""
        begun = time.monotonic()
        labs.link((one, other), how, name=self.lab.name)
        return begun

    def links(self, name: str) -> RoutedReport:
        """As far as its `routed` answers."""
        try:
            return placed.client(self[name]).links()
        except Unavailable:
            return RoutedReport(host=name)

    def sessions(self, name: str) -> dict[str, bool]:
        return {link.host: link.session for link in self.links(name).links if link.up}

    def routed(self, name: str) -> int:
        """Its number on its own host; 0: it does not run."""
        return running(placed.inside(self[name], names.ROUTED_PID_FILE)) or 0

    def kill(self, name: str, pid: int) -> None:
        self[name].run("kill", "-KILL", str(pid))


@dataclass
class Answering:
    """Where `routed` of a lab host answers, for a follower."""

    host: LabHost

    @property
    def socket(self) -> Path:
        return placed.inside(self.host, names.ROUTED_SOCKET)

    def log(self) -> str:
        return self.host.read(names.ROUTED_LOG_FILE)


@pytest.fixture(scope="module")
def ring(
    make_module_lab: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ring]:
    file = tmp_path_factory.mktemp("lab") / "ring"
    file.write_text("\n".join(RING))
    lab = make_module_lab(hosts=4, topology=str(file))
    for host in lab.hosts:
        host.run("ip", "-4", "addr", "flush", "dev", "eth0")
    placed.cluster(lab.hosts, families=(6,))
    with closing(Follower(Answering(lab.hosts[0]))) as follower:
        yield Ring(lab, follower)


@pytest.fixture
def one(ring: Ring) -> Follower:
    """What host1 knows; all links are up."""
    follower = ring.follower
    assert wait(lambda: is_whole(follower.vias.get("hops", {})), 60), follower.vias
    return follower


whole = pytest.mark.usefixtures("one")


def is_whole(vias: dict[str, str]) -> bool:
    """As host1 sees it: to host3 by whichever is the shorter way now."""
    expected = {"host2": "host2", "host3": vias.get("host3"), "host4": "host4"}
    return vias == expected and vias["host3"] in {"host2", "host4"}


def told(host: LabHost, *words: str) -> Any:
    return json.loads(host.seaway(*words, "-o", "json"))


@whole
def test_who_does_not_see_each_other_is_reached_through_others(ring):
    (route,) = told(ring["host1"], "route", "ls", "--to", "host3")
    detours = [detour["path"] for detour in route["detours"] if detour["path"]]
    shared = [[relay, "host3"] for relay in route["equal"]]
    ways = [route["path"], *shared, *detours]
    assert [["host2", "host3"], ["host4", "host3"]] == sorted(ways)
    assert 2 == route["hops"]
    assert "not taken: " in ring["host1"].seaway("route", "ls", "--to", "host3")

    lost = {d["via"]: d["lost"] for d in route["detours"] if not d["path"]}
    assert {"host3"} == lost.keys()
    told_by = ring["host1"].seaway("status")
    assert "link: host2 is up, " in told_by
    assert "link: host3 is down" in told_by


@whole
def test_doctor_says_which_links_are_down_and_that_probes_are_forged(ring):
    found = ring["host1"].call(SEAWAY, "doctor", "-o", "json").stdout
    assert "refused of what came" not in found
    by_check = {finding["check"]: finding for finding in json.loads(found)}
    assert "2 of 3 links are up, by UDP and TCP 8481" == by_check["routed"]["found"]
    assert "off" == by_check["link"]["level"]
    assert "host3 does not answer by UDP 8481; reached through " in by_check["link"]["found"]

    send = f"echo nonsense > /dev/udp/{ring['host1'].address6}/{PORT}"
    ring["host2"].run("bash", "-c", send)
    doctor, words = (SEAWAY, "doctor"), f"refused of what came by UDP {PORT}: no_probe 1"
    assert wait(lambda: words in ring["host1"].call(*doctor).stdout)


@pytest.fixture(scope="module")
def heart(ring: Ring) -> Iterator[Runner]:
    """A container on host1 that hears one on host3 every 10 ms."""
    ends = ring["host1"], ring["host3"]
    for host in ends:
        make_netns(host, "end")
    client, server = (netns_path(host, "end") for host in ends)
    _, address = [attach(host, "end", 4) for host in ends]
    with beating(client, server, address) as beats:
        yield beats


@pytest.fixture
def judge(tell, sharp):
    """Judges seconds from the death of a host's link: until another path was told, and felt."""

    def judge(end, told, felt):
        seen = f"told in {told:.2f} s, packets lost for {felt:.2f} s, < {PROMISED}"
        tell(f"a dead link of {end}: {seen}")
        latest = PROMISED if sharp else LATE
        assert told < latest
        assert FELT / 1000 < felt < latest

    return judge


def outage(heart: Runner) -> float:
    """Seconds. On a busy machine it takes a while until no answer is late."""
    answers = (ask(heart, "outage") / 1000 for _ in range(4))
    return next((felt for felt in answers if felt < PATIENCE), PATIENCE)


WALK = """
import socket, sys
made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
made.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, int(sys.argv[2]))
made.sendto(b"", (sys.argv[1], 9))
"""


def ended(ring: Ring) -> dict[str, int]:
    """By host: how many packets had no TTL left there."""
    drops = {host.name: placed.client(host).status().drops for host in ring.lab.hosts}
    return {
        name: sum(drop.packets for drop in found if drop.reason == "ttl_exceeded")
        for name, found in drops.items()
    }


def walked(ring: Ring, address: str) -> list[str]:
    """The hosts that packets from the container on host1 visit: with a small TTL one ends there."""
    before = ended(ring)
    for ttl in ("1", "2", "3"):
        ring["host1"].run("ip", "netns", "exec", "end", "python3", "-c", WALK, address, ttl)
    assert wait(lambda: sum(ended(ring).values()) == sum(before.values()) + 3)
    return [name for name, count in ended(ring).items() for _ in range(count - before[name])]


def goes_by(ring: Ring, relay: str) -> bool:
    """To the container on host3: what is told, and what real packets do."""
    (there,) = placed.client(ring["host3"]).endpoints()
    address = str(there.endpoint.addresses[0].ip)
    trace = told(ring["host1"], "trace", "default/end", f"{address}:9/udp")
    steps = [(step["host"], step["decision"]) for step in trace["steps"]]
    assert [("host1", "send"), (relay, "send"), ("host3", "deliver")] == steps
    *_, other = trace["steps"][0]["why"].partition("flows are shared with ")
    ways = [["host1", by, "host3"] for by in (relay, other) if by]
    assert walked(ring, address) in map(sorted, ways)
    return trace["verdict"] == "delivered"


@whole
@pytest.mark.usefixtures("heart")
def test_a_trace_tells_the_hosts_that_packets_visit(ring, one):
    assert goes_by(ring, one.vias["hops"]["host3"])


@pytest.mark.parametrize("end", ["host1", "host3"])
def test_a_dead_link_is_gone_around_in_time_and_taken_again(ring, one, heart, end, judge):
    """Where the near end died there is a backup; where it died elsewhere, there is none."""
    told = felt = 0.0
    while told <= 0:  # of two ways that are as near, round trips may choose the other just then
        assert wait(lambda: is_calm(one), 60), one.vias
        used = one.vias["hops"]["host3"]
        (other,) = {"host2", "host4"} - {used}
        shared = is_shared(ring)
        ask(heart, "mark")
        cut = ring.link(end, used, "down")
        expected = {used: other if end == "host1" else used, "host3": other, other: other}
        told = one.knows(expected, within=LATE) - cut
        felt = outage(heart)
        assert goes_by(ring, other)
        ring.link(end, used, "up")
        assert wait(lambda: is_restored(ring, one), 60), one.vias

    if shared and felt < FELT / 1000:
        felt = outage_of(ring, heart, end, other)  # the heart's packets took the other one
        assert wait(lambda: is_restored(ring, one), 60), one.vias
    judge(end, told, felt)


def is_calm(one: Follower) -> bool:
    return time.monotonic() - one.turns[-1][0] > CALM


def outage_of(ring: Ring, heart: Runner, end: str, relay: str) -> float:
    """Seconds, as the link between these is dead for a while."""
    ask(heart, "mark")
    ring.link(end, relay, "down")
    felt = outage(heart)
    ring.link(end, relay, "up")
    return felt


def is_restored(ring: Ring, one: Follower) -> bool:
    return is_whole(one.vias["hops"]) and len(ring.sessions("host3")) == 2


def is_shared(ring: Ring) -> bool:
    """Whether some flows between the containers go by one relay, and some by the other."""
    ends = (("host1", "host3"), ("host3", "host1"))
    routes = [told(ring[one], "route", "ls", "--to", other) for one, other in ends]
    return any(route["equal"] for (route,) in routes)


SWALLOW = """
table netdev swallow {{
  chain out {{
    type filter hook egress device "eth0" priority 0;
    ip6 daddr {} meta length > 1400 drop;
  }}
}}
"""


@pytest.mark.soak
def test_a_black_hole_is_found_by_its_host_told_by_both_and_gone_around(ring, one):
    """Questions of full size are answered by from_wire, so who finds it is known."""
    host1, host2 = ring["host1"], ring["host2"]
    host1.run("nft", "-f", "-", stdin=SWALLOW.format(host2.address6))
    try:
        one.knows({"host2": "host4", "host3": "host4", "host4": "host4"}, within=20)
        words = "do not pass from host1 to host2"
        assert all(wait(lambda h=host: words in h.seaway("status")) for host in (host1, host2))
        assert words not in ring["host3"].seaway("status")
        assert words in host1.call(SEAWAY, "doctor").stdout
        assert words in host1.seaway("route", "ls", "--to", "host2")
    finally:
        host1.run("nft", "delete", "table", "netdev", "swallow")
    assert wait(lambda: is_whole(one.vias["hops"]), 20), one.vias
    assert words not in host1.seaway("status")


def test_a_host_whose_processes_are_dead_stays_a_relay_and_begins_anew_unnoticed(ring, one):
    turns = len(one.turns)
    agent = ring["host2"].agent_pid()
    ring.kill("host2", agent)
    ring.kill("host2", ring.routed("host2"))
    assert wait(lambda: ring.sessions("host1") == {"host2": False, "host4": True}, 60)
    placed.start(ring["host2"])
    assert wait(lambda: ring.sessions("host1") == {"host2": True, "host4": True}, 60)

    assert [] == [turn for _, turn in one.turns[turns:] if turn["gone"]]
    assert "host2" == one.vias["hops"]["host2"]
    assert agent != ring["host2"].agent_pid()


@whole
def test_routed_goes_on_without_its_agent_and_is_adopted_by_the_next(ring):
    routed = ring.routed("host4")
    ring["host4"].kill_agent()
    placed.start(ring["host4"])
    assert wait(lambda: placed.is_ready(ring["host4"]), 60)
    assert routed == ring.routed("host4") != 0
    assert wait(lambda: {"host1", "host3"} == ring.sessions("host4").keys())


@whole
def test_a_host_without_an_agent_believes_a_relay_that_is_a_neighbour_again(ring, one, heart):
    """All packets to host3 come by host2 then, and host3's agent last knew host2 as far away."""
    host3 = ring["host3"]
    ring.link("host2", "host3", "down")
    assert wait(lambda: "host4" == via(host3, "host2"), 20)
    host3.kill_agent()
    ring.link("host2", "host3", "up")
    assert wait(lambda: is_whole(one.vias["hops"]), 60), one.vias
    ring.link("host3", "host4", "down")
    try:
        one.knows({"host2": "host2", "host3": "host2", "host4": "host4"}, within=60)
        ask(heart, "mark")
        assert outage(heart) < LATE
    finally:
        ring.link("host3", "host4", "up")
        placed.start(host3)


def via(host: LabHost, other: str) -> str:
    """The next hop, as its agent knows it."""
    return next(report.via for report in placed.client(host).hosts() if report.host.name == other)


@whole
def test_routed_that_was_killed_is_started_by_its_agent(ring):
    routed = ring.routed("host3")
    ring.kill("host3", routed)
    assert wait(lambda: ring.routed("host3") not in {0, routed}, 60)
    assert wait(lambda: ring.links("host3").hosts == 4, 60)


SEND = """
import socket, sys
made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
for text in sys.argv[3:]:
    made.sendto(bytes.fromhex(text), (sys.argv[1], int(sys.argv[2])))
"""


def test_forged_questions_are_refused_and_counted_and_nothing_else_happens(ring, one):
    before = forged(ring["host2"])
    probes = [Packet(QUESTION, 1, 2, number, 1) for number in range(7)]
    texts = [probe.encode().hex() for probe in probes]
    address = str(ring["host2"].address6)
    ring["host1"].run("python3", "-c", SEND, address, str(PORT), *texts)
    assert wait(lambda: forged(ring["host2"]) == before + 7)
    assert wait(lambda: {"host1", "host3"} == ring.sessions("host2").keys())
    assert "host2" == one.vias["hops"]["host2"]


def forged(host: LabHost) -> int:
    drops = placed.client(host).status().drops
    return sum(drop.packets for drop in drops if drop.reason == "probe_number")


@whole
def test_nothing_of_it_is_taken_for_a_change_by_others(ring):
    for host in ring.lab.hosts:
        status = placed.client(host).status()
        assert (0, ()) == (status.drift_total, status.failures), host.name


HARMS = {
    "tunnels": plant_entry,
    "members": delete_entry,
    "next_hops": change_entry,
    "paths": delete_entry,
    "remotes": plant_entry,
    "underlays": change_entry,
}
ROUTES = ("ip", "-4", "route", "show", "proto", str(names.ROUTE_PROTOCOL), "dev")


def held(evidence: Evidence) -> dict[str, dict[str, str]]:
    """But where paths lead, which may turn as links' times change."""
    found = {name: evidence.elements(name) for name in (*HARMS, "link_numbers")}
    return found | {"paths": dict.fromkeys(found["paths"], "")}


@whole
def test_what_somebody_does_to_the_overlay_by_hand_is_put_back_and_named(ring, one, heart):
    """Each map is harmed in a way; that each keeps its contract is tests/bpf/test_maps.py's."""
    host1, evidence = ring["host1"], Evidence(ring["host1"])
    before = held(evidence)
    expected = {(name, harm(evidence, name)) for name, harm in HARMS.items()}
    expected = {told for told in expected if told[0] != "paths"}  # that may be told anew, by chance
    assert wait(lambda: expected <= drift(host1), 60), expected - drift(host1)
    assert wait(lambda: before == held(evidence), 60)
    number = ("link_numbers", delete_entry(evidence, "link_numbers"))  # the link is dead meanwhile
    assert wait(lambda: number in drift(host1), 60)
    assert wait(lambda: before == held(evidence) and is_whole(one.vias["hops"]), 60)
    outage(heart)

    route, *_ = host1.run(*ROUTES, names.OVERLAY_DEVICE).split()
    host1.run("ip", "route", "del", route, "dev", names.OVERLAY_DEVICE)
    assert wait(lambda: ("routes", route) in drift(host1), 60)
    host1.run("ip", "link", "del", names.OVERLAY_DEVICE)
    assert wait(lambda: ("vxlan", names.OVERLAY_DEVICE) in drift(host1), 60)
    outage(heart)


def drift(host: LabHost) -> set[tuple[str, str]]:
    return {(told.target, told.key) for told in placed.client(host).status().drift}


@whole
def test_packets_of_full_size_pass_where_nothing_keeps_them(ring):
    """As from_wire answers them: else they would be missed by now."""
    for host in ring.lab.hosts:
        assert {()} == {link.holes for link in ring.links(host.name).links}


@whole
def test_what_only_root_may_read_is_so(ring):
    files = (names.ROUTED_FILE, names.ROUTED_SOCKET, names.PATHS_FILE, names.LINK_STATE_FILE)
    for path in (*files, names.ROUTED_LOG_FILE):
        assert wait(placed.inside(ring["host1"], path).exists), path
        assert 0 == placed.inside(ring["host1"], path).stat().st_mode & 0o077, path


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_ten_minutes_of_work_beside_it_are_no_false_alarm(one, tell):
    """Two who compute on each processor, beside four agents and four `routed`."""
    turns, began = len(one.turns), time.monotonic()
    with busy(2 * (os.cpu_count() or 1)):
        span(600)
    turned = [turn for _, turn in one.turns[turns:]]
    tell(f"in {time.monotonic() - began:.0f} s: {len(turned)} other ways, as links' times changed")

    assert [] == [turn for turn in turned if turn["gone"]]
    near = [p for turn in turned for p in turn["paths"] if p["host"] != "host3"]
    assert [] == [p for p in near if p["via"] != p["host"]]  # only with another backup


@contextmanager
def busy(processes: int) -> Iterator[None]:
    with ExitStack() as stack:
        for _ in range(processes):
            process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield


def test_a_host_that_is_taken_away_leaves_no_routed_and_no_path(ring, one):
    routed, host = ring.routed("host4"), ring["host4"]
    assert routed
    host.seaway("uninstall", "--yes", "--force", timeout=60)
    assert 0 != host.call("kill", "-0", str(routed)).returncode
    assert not placed.inside(host, names.RUN_FOLDER).exists()
    assert [] == list(placed.inside(host, names.STATE_FOLDER).iterdir())
    assert one.knows({"host2": "host2", "host3": "host2"}) > 0
