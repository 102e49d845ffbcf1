"""Who sees whom in a lab, changed while it runs.

host1 ── host2 ── host3      the wire passes nothing between host1 and host3
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator

import pytest

from seaway import lab as labs
from seaway.lab import Lab

NAME = f"links-{os.getpid()}"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    made = labs.up(NAME, hosts=3, topology="line")
    yield made
    assert labs.down(NAME)


def reaches(lab: Lab, one: int, other: int) -> bool:
    target = lab.hosts[other - 1]
    four, six = (lab.hosts[one - 1].reaches(a) for a in (target.address4, target.address6))
    assert four == six
    return four


def milliseconds(lab: Lab, one: int, other: int) -> list[float]:
    """Round trips of pings after one that asks for the neighbour."""
    here, there = lab.hosts[one - 1], lab.hosts[other - 1].address4
    told = here.run("ping", "-nc4", "-i0.1", "-W2", str(there))
    return [float(found) for found in re.findall(r"time=([\d.]+)", told)][1:]


def change(one: int, other: int, what: str, value: str = "") -> str:
    return str(labs.link((f"host{one}", f"host{other}"), what, value, NAME))


def test_hosts_see_each_other_as_the_topology_says(lab):
    assert (True, True, False) == (reaches(lab, 1, 2), reaches(lab, 2, 3), reaches(lab, 1, 3))


def test_a_link_goes_down_and_comes_again_and_the_others_stay(lab):
    assert "host1 - host2, down" == change(2, 1, "down")
    assert (False, True) == (reaches(lab, 1, 2), reaches(lab, 2, 3))
    assert "host1 - host2, up" == change(1, 2, "up")
    assert reaches(lab, 2, 1)
    assert ["host1 - host2, up", "host2 - host3, up"] == [str(k) for k in labs.status(NAME).links]


def test_a_link_is_late_both_ways(lab):
    change(1, 2, "delay", "20")
    assert all(40 <= taken < 200 for taken in milliseconds(lab, 1, 2))
    assert all(taken < 20 for taken in milliseconds(lab, 2, 3))
    change(1, 2, "delay", "0")
    assert all(taken < 20 for taken in milliseconds(lab, 1, 2))


def test_a_late_link_loses_nothing_while_others_change(lab):
    change(1, 2, "delay", "5")
    there = str(lab.hosts[1].address4)
    with lab.hosts[0].popen("ping", "-nqc40", "-i0.05", there, stdout=subprocess.PIPE) as ping:
        change(2, 3, "down")
        change(2, 3, "up")
        assert " 0% packet loss" in ping.communicate(timeout=20)[0]
    change(1, 2, "delay", "0")


def test_a_late_link_carries_a_stream(lab):
    """Frames that the kernel has yet to cut, too."""
    change(1, 2, "delay", "5")
    server, client = lab.hosts[1], lab.hosts[0]
    with server.popen("iperf3", "-s", "-1", stdout=-3) as listening:
        server.wait_for("iperf3", lambda: "5201" in server.run("ss", "-ltn"))
        told = client.run("iperf3", "-c", str(server.address4), "-n", "20M", "-J", timeout=60)
        listening.wait(10)
    assert '"bytes":\t20' in told
    change(1, 2, "delay", "0")


def test_a_link_loses_what_it_is_told_to(lab):
    change(1, 2, "loss", "100")
    assert not lab.hosts[0].reaches(lab.hosts[1].address4)
    change(1, 2, "loss", "0")
    assert reaches(lab, 1, 2)


def test_hosts_may_be_linked_that_were_not(lab):
    assert "host1 - host3, up" == change(3, 1, "up")
    assert reaches(lab, 1, 3)
    change(1, 3, "down")
    assert not reaches(lab, 1, 3)
