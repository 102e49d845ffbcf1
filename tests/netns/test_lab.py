"""The lab itself: hosts that see each other, and nothing else.

┌─ host1 ─┐   ┌─ host2 ─┐   ┌─ world ─┐
│  eth0 ──┼───┼─  wire ─┼───┼── eth0  │
└─────────┘   └─────────┘   └─────────┘
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from seaway import lab as labs
from seaway.cli.root import root
from seaway.errors import Conflict, Invalid, NotFound
from seaway.lab import cgroups
from waiting import wait


def test_hosts_reach_each_other_and_the_world_in_both_families(lab):
    host1, host2 = lab.hosts
    targets = [host2.address4, host2.address6, lab.world.address4, "203.0.113.1"]
    targets += [lab.world.address6, "2001:db8:ffff::1"]

    assert all(wait(lambda target=target: host1.reaches(target)) for target in targets)


def test_a_lab_without_a_world_has_no_route_out(lab_host):
    assert not lab_host.reaches("203.0.113.1")
    assert "" == lab_host.run("ip", "route", "show", "default")


def test_what_a_host_writes_is_seen_by_no_other(lab):
    host1, host2 = lab.hosts
    mark = Path(f"/etc/{lab.name}")

    host1.write(mark, "mine")

    assert "mine" == host1.read(mark)
    assert 1 == host2.call("test", "-e", str(mark)).returncode
    assert not mark.exists()


def test_a_host_that_was_rebooted_has_its_disk_its_place_and_nothing_else(lab):
    host1, host2 = lab.hosts
    kept, lost = Path("/var/lib/seaway/kept"), Path("/run/lost")
    for file in (kept, lost):
        host1.write(file, "mine")
    host1.run("ip", "netns", "add", "blue")
    host1.run("nft", "add", "table", "inet", "blue")
    mac = host1.run("cat", "/sys/class/net/eth0/address")
    with host1.popen("cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        labs.reboot(host1)
        assert running.wait(10)

    assert "mine" == host1.read(kept)
    assert 1 == host1.call("test", "-e", str(lost)).returncode
    assert "" == host1.run("ip", "netns", "list") + host1.run("nft", "list", "ruleset")
    assert mac == host1.run("cat", "/sys/class/net/eth0/address")
    assert host2.reaches(host1.address4, within=5)
    assert host1.reaches(lab.world.address4)


def test_a_host_has_its_own_name_processes_and_cgroups(lab_host):
    first = lab_host.run("cat", "/proc/1/comm").strip()
    cgroup = lab_host.run("sh", "-c", "grep ^0:: /proc/self/cgroup").strip()

    assert "host1" == lab_host.run("hostname").strip()
    assert "sleep" == first
    assert "0::/init" == cgroup
    assert "cgroup2fs" == lab_host.run("stat", "-fc", "%T", "/sys/fs/cgroup").strip()
    assert "bpf_fs" == lab_host.run("stat", "-fc", "%T", "/sys/fs/bpf").strip()


def test_a_failing_command_says_where_and_why(lab_host):
    with pytest.raises(subprocess.CalledProcessError) as caught:
        lab_host.run("cat", "/nowhere")

    assert "host1: cat: /nowhere: No such file" in caught.value.__notes__[0]


def test_killing_a_command_kills_it_inside(lab_host):
    process = lab_host.popen("sleep", "600")
    lab_host.wait_for("sleep", lambda: "sleep" in _commands(lab_host))

    process.kill()
    process.wait()

    lab_host.wait_for("the end of sleep", lambda: "sleep" not in _commands(lab_host))


def test_down_leaves_no_process_no_cgroup_no_folder(make_lab):
    lab = make_lab(hosts=2)
    lab.hosts[0].start("sleep", "600", log=Path("/var/log/sleep"))
    lab.hosts[0].run("ip", "netns", "add", "container")

    assert labs.down(lab.name)

    assert not cgroups.of_lab(lab.name).exists()
    assert not (labs.labs.FOLDER / lab.name).exists()
    assert lab.name not in labs.names()
    assert not labs.down(lab.name)


def test_a_lab_that_lost_its_record_can_still_be_taken_down(make_lab):
    lab = make_lab(hosts=1)
    (labs.labs.FOLDER / lab.name / "lab.json").unlink()

    assert lab.name in labs.names()
    assert labs.down(lab.name)
    assert not cgroups.of_lab(lab.name).exists()


def test_a_lab_whose_maker_was_killed_half_way_can_be_taken_down(make_lab):
    name = f"{make_lab(hosts=1).name}-killed"
    script = f"from seaway import lab; lab.up({name!r}, hosts=20)"
    with subprocess.Popen([sys.executable, "-c", script]) as maker:
        begun = wait((cgroups.of_lab(name) / "host2").exists)
        maker.kill()

    assert labs.down(name)
    assert not cgroups.of_lab(name).exists()
    assert name not in labs.names()
    assert begun


def test_a_passing_lab_goes_with_its_process_or_before_the_next_one(make_lab):
    purpose = f"{make_lab(hosts=1).name}-passing"
    script = f"""
import signal
from seaway import lab
with lab.passing({purpose!r}):
    print("there", flush=True)
    signal.pause()
"""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as maker:
        assert "there\n" == maker.stdout.readline()
        maker.kill()
    assert f"{purpose}-{maker.pid}" in labs.names()

    with labs.passing(purpose) as lab:
        assert [lab.name] == [name for name in labs.names() if name.startswith(purpose)]
    assert lab.name not in labs.names()


def test_a_lab_is_found_again_by_its_name(make_lab):
    lab = make_lab(hosts=2, world=True)

    status = labs.status(lab.name)

    assert lab == status.lab
    assert {"world": True, "host1": True, "host2": True} == status.running
    assert {"host1": False, "host2": False} == status.agents
    assert 3 == labs.run(lab.name, "host2", ["sh", "-c", "exit 3"])
    with pytest.raises(NotFound, match=r"expected world or host1 or host2"):
        labs.run(lab.name, "host9", ["true"])


def test_a_command_runs_in_the_folder_of_its_caller(make_lab, tmp_path):
    here = ["test", ".", "-ef", str(tmp_path)]
    with contextlib.chdir(tmp_path):
        assert 0 == labs.run(make_lab(hosts=1).name, "host1", here)


def test_what_cannot_be_made_is_refused_and_leaves_nothing(make_lab):
    lab = make_lab(hosts=1)

    with pytest.raises(Conflict, match="already"):
        labs.up(lab.name)
    with pytest.raises(Invalid, match="name"):
        labs.up("../x")
    with pytest.raises(Invalid, match="0 hosts"):
        labs.up(f"{lab.name}-b", hosts=0)
    said = CliRunner().invoke(root, ["lab", "up", "--name", f"{lab.name}-b", "--hosts", "0"])
    assert said.stderr.startswith("seaway: a lab cannot have 0 hosts ")
    with pytest.raises(NotFound, match="no lab"):
        labs.load(f"{lab.name}-b")
    with pytest.raises(NotFound, match="host9"):
        labs.run(lab.name, "host9", ["true"])
    assert lab.hosts[0].run("echo", "alive") == "alive\n"


def _commands(host) -> list[str]:
    """The commands that run, but for the one that holds the host and zombies."""
    lines = host.run("ps", "-eo", "pid=,stat=,comm=").splitlines()
    rows = [line.split() for line in lines]
    return [comm for pid, stat, comm, *_ in rows if pid != "1" and not stat.startswith("Z")]
