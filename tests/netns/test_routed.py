"""`routed` on hosts that are linked as a line, a ring, a mesh: paths, and what becomes of them.

┌ a ┐   ┌ b ┐   ┌ c ┐      each host a network namespace with an address of its own, each link a
│   ├───┤   ├───┤   │      veth pair; nobody forwards, so that hosts reach their neighbours alone.
└───┘   └───┘   └───┘      Probes are answered by a double of from_wire (tests/answerer.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest

from authority import Authority
from flooder import MANY
from routing import Cluster, clusters
from seaway.model import codec
from seaway.model.routing import ORDERS_KEY, Told
from seaway.names import ROUTED_PORT
from seaway.routed.orders_file import OrdersTarget
from seaway.routed.packet import ANSWER, PORT, Packet
from waiting import span, wait

PROMISED = {"default": 1.0, "fast": 0.3}  # seconds from a dead link to other paths
LATE = 10.0  # seconds: what they may take on a machine that others use too
IDLE = 5.0  # seconds
STEADY = 4.0  # seconds: more than three looks at quality
FORGED = 21  # messages until who sends them at once is cut off
ENDED = 'event="session ended" peer=a'


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with clusters(tmp_path) as made:
        yield made


@pytest.fixture
def line(cluster):
    cluster.add("a", "b", "c")
    cluster.link("a", "b")
    cluster.link("b", "c")
    cluster.start()
    return cluster


def ring(cluster, **more):
    cluster.add("a", "b", "c", "d")
    for one, other in (("a", "b"), ("b", "c"), ("c", "d"), ("a", "d")):
        cluster.link(one, other)
    cluster.start(**more)
    follower = cluster.follow("a")
    assert wait(lambda: is_ring(follower.vias.get("hops", {})), 60), follower.vias
    return follower


def is_ring(vias) -> bool:
    """As seen from a: to c by whichever is the shorter way now."""
    return vias == {"b": "b", "c": vias.get("c"), "d": "d"} and vias["c"] in {"b", "d"}


def test_a_line_is_one_network(line):
    a, b, c = (line.follow(name) for name in "abc")

    a.knows({"b": "b", "c": "b"})
    b.knows({"a": "a", "c": "c"})
    c.knows({"a": "b", "b": "b"})


def test_in_a_mesh_all_reach_each_other_directly_and_have_a_backup(cluster):
    cluster.add("a", "b", "c", "d")
    net = cluster.wire("a", "b", "c", "d")
    cluster.start(segments=(net,), routings=("hops", "latency"))
    a = cluster.follow("a")
    for routing in ("hops", "latency"):
        a.knows({name: name for name in "bcd"}, routing)
    (found,) = cluster["a"].ask(ask="routes", to="d")["routes"]

    assert ["d"] == found["path"]
    assert found["backup"] in {"b", "c"}
    assert {"b", "c"} == {detour["via"] for detour in found["detours"]}


@pytest.fixture
def judge(tell, sharp):
    """Judges seconds from a dead link to other paths."""

    def judge(seconds, probes="default"):
        tell(f"other paths {seconds:.2f} s after a death, < {PROMISED[probes]}, probes: {probes}")
        assert seconds < (PROMISED[probes] if sharp else LATE)

    return judge


@pytest.mark.parametrize("probes", ["default", "fast"])
def test_a_link_that_dies_silently_is_gone_around_in_time(cluster, probes, judge):
    """Three times, as a dead link may be anywhere between two probes."""
    a = ring(cluster, probes=probes)
    for _ in range(3):
        cut = cluster.silence("a", "b")
        judge(a.knows({"b": "d", "c": "d", "d": "d"}, within=LATE) - cut, probes)
        cluster.restore("a")
        assert wait(lambda: is_ring(a.vias["hops"]), 60), a.vias


def test_a_link_that_dies_elsewhere_is_gone_around_in_time(cluster, judge):
    a = ring(cluster)
    used = a.vias["hops"]["c"]
    (other,) = {"b", "d"} - {used}
    cut = cluster.silence(used, "c")
    judge(a.knows({"b": "b", "c": other, "d": "d"}, within=LATE) - cut)


def test_a_relay_that_dies_is_gone_around_in_time(cluster, judge):
    a = ring(cluster)
    cut = cluster.silence("b", "a", "c")
    judge(a.knows({"c": "d", "d": "d"}, within=LATE) - cut)


@pytest.mark.soak
def test_a_link_that_is_loaded_is_kept_away_from_and_not_run_back_to(cluster):
    """Two equal ways: by latency, paths move off the one that is busy, once. By hops they stay. A
    machine that is busy itself delays all probes, and moves floors.
    """
    a = ring(cluster, routings=("hops", "latency"))
    assert wait(lambda: is_ring(a.vias.get("latency", {})), 20), a.vias
    used = a.vias["latency"]["c"]
    (other,) = {"b", "d"} - {used}
    by_hops = dict(a.vias["hops"])
    with cluster.loaded("a", used):
        assert wait(lambda: other == a.vias["latency"]["c"], 20), a.vias
        began = len(a.turns)
        span(STEADY)
    span(STEADY)  # nobody is there any more; that is believed later

    assert {other} >= {p["via"] for p in paths(a.turns[began:], "latency") if p["host"] == "c"}
    assert by_hops == a.vias["hops"]


def paths(turns, routing):
    return [path for _, turn in turns if turn["routing"] == routing for path in turn["paths"]]


def test_hosts_that_are_cut_off_are_reached_again_when_they_are_back(line):
    a = line.follow("a")
    a.knows({"b": "b", "c": "b"})
    line.silence("b", "c")
    a.knows({"b": "b"})
    line.restore("b")
    a.knows({"b": "b", "c": "b"})


def test_a_host_whose_processes_are_dead_stays_a_relay_and_begins_anew_unnoticed(line):
    a = line.follow("a")
    a.knows({"b": "b", "c": "b"})
    turns = len(a.turns)
    line["b"].kill()
    assert wait(lambda: "session ended" in line["a"].log())
    assert wait(lambda: not any(link["session"] for link in line["a"].ask(ask="status")["links"]))
    line["b"].start()
    assert wait(lambda: line["a"].ask(ask="status")["links"][0]["session"], 60)

    assert turns == len(a.turns)
    assert {"b": "b", "c": "b"} == a.vias["hops"]


def test_a_host_that_begins_anew_alone_forwards_by_what_it_saw_last(line):
    """Its neighbour's processes are all dead, so nobody tells it anything."""
    line.follow("a").knows({"b": "b", "c": "b"})
    assert wait(lambda: kept(line["a"]) > 1000)
    for name in ("a", "b"):
        line[name].kill()
    line["a"].start()

    a = line.follow("a")
    a.knows({"b": "b", "c": "b"})


def kept(host) -> int:
    """Bytes of link state that is kept for the next time."""
    file = host.folder / "link-state"
    return file.stat().st_size if file.exists() else 0


def test_a_host_that_drains_is_no_relay_and_is_reached(cluster):
    a = ring(cluster)
    cluster["b"].order(cluster.hosts.values(), relay=False)

    a.knows({"b": "b", "c": "d", "d": "d"})


def test_a_host_that_is_no_member_any_more_is_forgotten(line):
    a = line.follow("a")
    a.knows({"b": "b", "c": "b"})
    for name in "ab":
        line[name].order(host for host in line.hosts.values() if host.name != "c")

    a.knows({"b": "b"})
    assert wait(lambda: 2 == line["b"].ask(ask="status")["hosts"])


def test_a_host_with_a_certificate_of_another_ca_is_let_in_by_nobody(cluster):
    cluster.add("a", "b", "c")
    for one, other in combinations("abc", 2):
        cluster.link(one, other)
    stranger = Authority()
    (cluster["c"].folder / "ca.pem").write_bytes(stranger.pem)
    (cluster["c"].folder / "host.pem").write_bytes(stranger.host("c"))
    cluster.start()
    a = cluster.follow("a")

    a.knows({"b": "b"})
    assert not any(link["host"] == "c" for link in cluster["a"].ask(ask="status")["links"])


def test_forged_probes_are_refused_and_counted(line):
    a = line.follow("a")
    a.knows({"b": "b", "c": "b"})
    datagrams = {
        "no probe": b"hello",
        "forged": Packet(ANSWER, 1, 2, 3, 4).encode(),
        "of others": Packet(ANSWER, 9, 2, 3, 4).encode(),
    }
    for data in datagrams.values():
        line["b"].python(SEND, str(line["a"].address), str(PORT), data.hex())
    assert wait(lambda: datagrams.keys() <= line["a"].ask(ask="status")["refused"].keys())
    assert {"b": "b", "c": "b"} == a.vias["hops"]


def test_who_says_nothing_of_use_on_the_port_of_sessions_does_no_harm(line):
    a = line.follow("a")
    a.knows({"b": "b", "c": "b"})
    for _ in range(20):
        line["b"].python(CONNECT, str(line["a"].address), str(ROUTED_PORT))
    assert {"b": "b", "c": "b"} == a.vias["hops"]
    assert line["a"].routed.poll() is None


SEND = """
import socket, sys
made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
made.sendto(bytes.fromhex(sys.argv[3]), (sys.argv[1], int(sys.argv[2])))
"""
CONNECT = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as made:
    made.sendall(bytes(range(256)) * 40)
"""


def test_members_that_flood_old_and_forged_link_state_are_cut_off_and_others_are_heard(cluster):
    """Around b: two that flood it, each in its own way, and one behind which there is another."""
    cluster.add("a", "b", "c", "d", "e")
    for one, other in (("a", "b"), ("b", "c"), ("b", "d"), ("a", "e")):
        cluster.link(one, other)
    cluster.start()
    b = cluster.follow("b")
    ways = {"a": "a", "c": "c", "d": "d", "e": "a"}
    b.knows(ways)
    for name in "cd":
        cluster[name].kill()
    assert wait(lambda: {"a"} == met(cluster["b"]))
    turns, ended = len(b.turns), cluster["b"].log().count(ENDED)
    with cluster.flooding("c", "b", "a", "old"), cluster.flooding("d", "b", "a", "forged"):
        assert wait(lambda: 2 == refused(cluster["b"]).get("cut off"))
        assert FORGED <= refused(cluster["b"])["forged"] < MANY["forged"]
        assert (ways, {"a"}) == (b.vias["hops"], met(cluster["b"]))
        assert not any(turn["gone"] for _, turn in b.turns[turns:])
        cluster.silence("a", "e")
        b.knows({"a": "a", "c": "c", "d": "d"})
    assert ended == cluster["b"].log().count(ENDED)


def met(host) -> set[str]:
    """With whom it has a session."""
    return {link["host"] for link in host.ask(ask="status")["links"] if link["session"]}


def refused(host) -> dict[str, int]:
    return host.ask(ask="status")["refused"]


def test_what_cannot_be_read_is_told_and_the_orders_before_hold(line):
    a = line.follow("a")
    a.knows({"b": "b", "c": "b"})
    (line["a"].folder / "routed.json").write_text("{")

    assert wait(lambda: "orders that cannot be read" in line["a"].log())
    assert {"b": "b", "c": "b"} == a.vias["hops"]


def test_a_question_that_cannot_be_read_is_answered_as_such(line):
    line.follow("a").knows({"b": "b", "c": "b"})
    assert "Undecodable" == line["a"].ask(ask="nonsense")["error"]["kind"]


def test_both_ends_of_a_link_know_its_number_and_nobody_else(line):
    for name in "abc":
        line.follow(name)
    line.follow("a").knows({"b": "b", "c": "b"})
    line.follow("c").knows({"a": "b", "b": "b"})
    assert wait(lambda: all(2 == len(numbers(host)) for host in line.hosts.values()))
    a, b, c = (numbers(line[name]) for name in "abc")

    assert (a["2"], a["3"], b["3"]) == (b["1"], c["1"], c["2"])
    assert 3 == len({a["2"], a["3"], b["3"]})


def numbers(host) -> dict[str, int]:
    return host.ask(ask="numbers")["numbers"]


def test_it_ends_when_told_to_and_keeps_what_it_knows(line):
    line.follow("a").knows({"b": "b", "c": "b"})
    routed = line["a"].routed
    routed.terminate()

    assert 0 == routed.wait(60)
    assert kept(line["a"]) > 1000


def test_it_ends_when_its_orders_are_taken_back(line):
    line.follow("a").knows({"b": "b", "c": "b"})
    OrdersTarget(line["a"].folder / "routed.json").delete({ORDERS_KEY})
    assert 0 == line["a"].routed.wait(60)


def test_what_it_told_last_is_left_for_an_agent_that_finds_nobody(line):
    line.follow("a").knows({"b": "b", "c": "b"})
    assert wait(lambda: {"b": "b", "c": "b"} == told(line["a"]) and 2 == len(numbers(line["a"])))
    line["a"].kill()
    file = line["a"].folder / "paths.json"
    assert 0o600 == file.stat().st_mode & 0o777
    assert {2, 3} == codec.decode(file.read_bytes(), Told).numbers.numbers.keys()


def told(host) -> dict[str, str]:
    """Ways, by the file that it leaves."""
    file = host.folder / "paths.json"
    turns = codec.decode(file.read_bytes(), Told).turns if file.exists() else ()
    return {path.host: path.via for turn in turns for path in turn.paths}


def test_one_that_begins_anew_takes_back_no_path_before_it_knows(line):
    follower = line.follow("a")
    follower.knows({"b": "b", "c": "b"})
    assert wait(lambda: kept(line["a"]) > 1000)
    line["a"].kill()
    line["a"].start()
    again = line.follow("a")
    again.knows({"b": "b", "c": "b"})
    assert {"b", "c"} == {path["host"] for path in again.turns[0][1]["paths"]}


def test_a_second_one_of_a_host_gives_way(line):
    line.follow("a").knows({"b": "b", "c": "b"})
    first = line["a"].routed
    line["a"].start()
    assert 0 != line["a"].routed.wait(60)
    assert "another routed runs on this host" in line["a"].log()
    assert None is first.poll()
    line["a"].routed = first


def test_it_needs_little(cluster):
    """Of memory, and of one CPU while nothing happens: nine neighbours."""
    names = [f"h{number}" for number in range(10)]
    cluster.add(*names)
    net = cluster.wire(*names)
    cluster.start(segments=(net,))
    follower = cluster.follow("h0")
    follower.knows({name: name for name in names[1:]})
    host = cluster["h0"]
    start = host.cpu()
    span(IDLE)

    assert (host.cpu() - start) / IDLE < 0.03
    assert host.memory() < 60
    assert [] == [turn for _, turn in follower.turns if turn["gone"]]
