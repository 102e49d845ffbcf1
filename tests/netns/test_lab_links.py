"""Who sees whom in a lab, changed while it runs.

host1 ── host2 ── host3      the wire passes nothing between host1 and host3
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from itertools import combinations

import pytest
from msgspec.structs import replace

from seaway import lab as labs
from seaway.lab import Lab, LabHost
from seaway.lab.labs import WIRE
from waiting import wait

NAME = f"links-{os.getpid()}"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    made = labs.up(NAME, hosts=3, topology="line")
    yield made
    assert labs.down(NAME)


def answers(lab: Lab, one: int, other: int) -> set[bool]:
    """Whether one ping of each family is answered."""
    target = lab.hosts[other - 1]
    return {lab.hosts[one - 1].reaches(a, within=1) for a in (target.address4, target.address6)}


def reaches(lab: Lab, one: int, other: int) -> bool:
    """A neighbour that did not answer is asked for again a little later."""
    return wait(lambda: answers(lab, one, other) == {True})


def is_cut_off(lab: Lab, one: int, other: int) -> bool:
    return answers(lab, one, other) == {False}


def milliseconds(lab: Lab, one: int, other: int) -> float:
    """The best round trip of some pings after one that asks for the neighbour."""
    here, there = lab.hosts[one - 1], lab.hosts[other - 1].address4
    assert reaches(lab, one, other)
    told = here.run("ping", "-nc8", "-i0.1", "-W5", str(there))
    return min(float(found) for found in re.findall(r"time=([\d.]+)", told))


def change(one: int, other: int, what: str, value: str = "") -> str:
    return str(labs.link((f"host{one}", f"host{other}"), what, value, NAME))


def test_hosts_see_each_other_as_the_topology_says(lab):
    assert reaches(lab, 1, 2)
    assert reaches(lab, 2, 3)
    assert is_cut_off(lab, 1, 3)


def test_a_link_goes_down_and_comes_again_and_the_others_stay(lab):
    assert "host1 - host2, down" == change(2, 1, "down")
    assert is_cut_off(lab, 1, 2)
    assert reaches(lab, 2, 3)
    assert "host1 - host2, up" == change(1, 2, "up")
    assert reaches(lab, 2, 1)
    assert ["host1 - host2, up", "host2 - host3, up"] == [str(k) for k in labs.status(NAME).links]


def test_a_link_is_late_both_ways(lab):
    change(1, 2, "delay", "20")
    assert milliseconds(lab, 1, 2) >= 40
    assert milliseconds(lab, 2, 3) < 40
    change(1, 2, "delay", "0")
    assert milliseconds(lab, 1, 2) < 40


def test_a_late_link_loses_nothing_while_others_change(lab):
    change(1, 2, "delay", "5")
    there = str(lab.hosts[1].address4)
    with lab.hosts[0].popen("ping", "-nqc40", "-i0.05", there, stdout=subprocess.PIPE) as ping:
        change(2, 3, "down")
        change(2, 3, "up")
        assert " 0% packet loss" in ping.communicate(timeout=20)[0]
    change(1, 2, "delay", "0")


@pytest.fixture
def late(lab: Lab) -> Iterator[LabHost]:
    """All links are; the wire."""
    for one, other in ((1, 2), (2, 3)):
        change(one, other, "delay", "5")
    host = lab.hosts[0]
    yield replace(host, name=WIRE, cgroup=host.cgroup.parent / WIRE)
    for one, other in ((1, 2), (2, 3)):
        change(one, other, "delay", "0")


def test_a_port_of_the_wire_goes_down_and_up_and_late_links_are_carried(lab, late):
    late.run("ip", "link", "set", "host1", "down")
    assert is_cut_off(lab, 1, 2)
    assert milliseconds(lab, 2, 3) >= 10
    late.run("ip", "link", "set", "host1", "up")
    assert milliseconds(lab, 1, 2) >= 10


@pytest.mark.usefixtures("late")
def test_the_late_links_of_a_host_that_begins_anew_are_carried(lab):
    labs.reboot(lab.hosts[0])
    assert milliseconds(lab, 1, 2) >= 10
    assert milliseconds(lab, 2, 3) >= 10


def streamed(lab: Lab, *how: str) -> str:
    """What iperf3 tells of a stream from host1 to host2."""
    server, client = lab.hosts[1], lab.hosts[0]
    with server.popen("iperf3", "-s", "-1", stdout=-3) as listening:
        try:
            server.wait_for("iperf3", lambda: "5201" in server.run("ss", "-ltn"))
            return client.run("iperf3", "-c", str(server.address4), *how, "-J", timeout=60)
        finally:
            listening.kill()


def test_a_late_link_carries_a_stream(lab):
    """Frames that the kernel has yet to cut, too."""
    change(1, 2, "delay", "5")
    assert '"bytes":\t20' in streamed(lab, "-n", "20M")
    change(1, 2, "delay", "0")


def test_a_link_loses_what_it_is_told_to(lab):
    change(1, 2, "loss", "100")
    assert is_cut_off(lab, 1, 2)
    change(1, 2, "loss", "0")
    assert reaches(lab, 1, 2)


def test_a_link_loses_a_part_of_what_it_carries_each_way(lab):
    change(1, 2, "loss", "30")
    pings = ("ping", "-nqc300", "-i0.002", "-W1", str(lab.hosts[1].address4))
    told = lab.hosts[0].call(*pings).stdout
    change(1, 2, "loss", "0")
    lost = float(re.findall(r"([\d.]+)% packet loss", told)[0])
    assert 35 < lost < 67  # 51 % of what has to return


def test_a_link_carries_no_more_than_it_is_told_to(lab):
    change(1, 2, "rate", "8")
    told = streamed(lab, "-u", "-b", "40M", "-l", "1000", "-t", "3")
    change(1, 2, "rate", "0")
    end = json.loads(told)["end"]["sum"]
    carried = 8 * end["bytes"] * (1 - end["lost_percent"] / 100) / 1e6
    assert 8 * 2.5 < carried < 8 * 4.5, end  # what one second carries may pass at once besides


@pytest.mark.parametrize(
    ("topology", "linked"),
    [("star", {(1, 2), (1, 3), (1, 4)}), ("sites", {(1, 2), (3, 4), (1, 3)})],
)
def test_hosts_of_a_named_topology_see_each_other_by_it_alone(topology, linked):
    with labs.passing(topology, hosts=4, topology=topology) as made:
        for one, other in combinations(range(1, 5), 2):
            look = reaches if (one, other) in linked else is_cut_off
            assert look(made, one, other), (one, other)


def test_hosts_may_be_linked_that_were_not(lab):
    assert "host1 - host3, up" == change(3, 1, "up")
    assert reaches(lab, 1, 3)
    change(1, 3, "down")
    assert is_cut_off(lab, 1, 3)
