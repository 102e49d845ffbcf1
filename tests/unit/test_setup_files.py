"""What init writes on a host, and what it takes for its own; nothing of others is touched."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys

import pytest

from seaway import config, daemons
from seaway.setup import files


def conflist(path, *types):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"name": "x", "plugins": [{"type": t} for t in types]}))
    return path


def test_the_configuration_is_written_once_and_never_over_the_users(tmp_path):
    path = tmp_path / "etc" / "seaway.toml"

    assert files.put_config(path)
    assert config.TEMPLATE == path.read_text()
    path.write_text("[agent]\n")
    assert not files.put_config(path)
    assert "[agent]\n" == path.read_text()


def test_a_network_for_runtimes_is_written_beside_those_of_others(tmp_path):
    other = conflist(tmp_path / "20-bridge.conflist", "bridge", "portmap")
    path = tmp_path / "10-seaway.conflist"

    assert path == files.put_conflist("default", path)
    written = json.loads(path.read_text())
    (plugin,) = written["plugins"]
    assert ("seaway", "default") == (plugin["type"], plugin["network"])
    assert plugin["capabilities"]["portMappings"]
    assert ("1.0.0", "1.1.0") == (written["cniVersion"], written["cniVersions"][-1])
    assert ([path], [other]) == (files.our_conflists(tmp_path), files.other_conflists(tmp_path))


def test_a_network_of_ours_under_another_name_is_enough(tmp_path):
    conflist(tmp_path / "05-mine.conflist", "seaway", "tuning")

    assert files.put_conflist("default", tmp_path / "10-seaway.conflist") is None
    assert [tmp_path / "05-mine.conflist"] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '"seaway"', '{"plugins": 1}', '{"plugins": ["seaway"]}', "\xff"]
)
def test_what_is_no_configuration_is_not_ours(tmp_path, text):
    (tmp_path / "1.conf").write_text(text, encoding="latin-1")

    assert [] == files.our_conflists(tmp_path)


def test_a_single_configuration_is_known_by_its_type(tmp_path):
    (tmp_path / "1.conf").write_text('{"type": "seaway"}')
    (tmp_path / "README").write_text('{"type": "seaway"}')

    assert [tmp_path / "1.conf"] == files.our_conflists(tmp_path)


def test_files_appear_whole_and_leave_no_remains(tmp_path):
    files.put_config(tmp_path / "seaway.toml")
    (tmp_path / "full").mkdir()
    with pytest.raises(OSError, match="full"):
        files.put_conflist("default", tmp_path / "full")

    assert ["full", "seaway.toml"] == sorted(p.name for p in tmp_path.iterdir())


def test_the_unit_runs_the_command_that_wrote_it(tmp_path):
    for daemon in (daemons.AGENT, daemons.ROUTED):
        assert daemon.put_unit("/opt/venv/bin/seaway", tmp_path)
        assert not daemon.put_unit("/opt/venv/bin/seaway", tmp_path)
        text = (tmp_path / daemon.unit).read_text()
        assert f"\nExecStart=/opt/venv/bin/seaway {daemon.word}\n" in text
        assert "/usr/bin" not in text


def test_the_unit_keeps_the_data_plane_and_comes_back():
    lines = daemons.AGENT.unit_text().splitlines()

    assert {"KillMode=process", "Restart=always", "RuntimeDirectoryPreserve=yes"} <= set(lines)


def test_the_unit_lets_docker_turn_forwarding_on_and_is_there_before_who_starts_containers():
    ordered = {
        (word, service)
        for line in daemons.AGENT.unit_text().splitlines()
        for word, _, services in [line.partition("=")]
        for service in services.split()
    }
    after = {service for word, service in ordered if word == "After"}
    before = {service for word, service in ordered if word == "Before"}

    assert {"docker.service", "containerd.service"} <= after  # Docker itself is after containerd
    assert {"podman-restart.service", "kubelet.service"} <= before
    assert not after & before


def test_a_running_agent_is_the_one_that_holds_the_lock(tmp_path):
    path = tmp_path / "agent.pid"
    path.write_text(f"{os.getpid()}\n")
    assert daemons.running(path) is None

    with path.open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert os.getpid() == daemons.running(path)

    assert daemons.running(path) is None
    assert daemons.running(tmp_path / "none") is None


HOLDER = """
import fcntl, os, signal, sys
with open(sys.argv[1], "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print(os.getpid(), file=file, flush=True)
    print("held", flush=True)
    signal.pause()
"""


def test_the_agent_is_ended_by_the_lock_that_it_holds(tmp_path):
    path = tmp_path / "agent.pid"
    argv = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as agent:
        assert b"held\n" == agent.stdout.readline()
        daemons.end(daemons.running(path))

    assert -15 == agent.returncode


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("daemon", [daemons.AGENT, daemons.ROUTED], ids=lambda d: d.word)
def test_systemd_understands_the_unit(tmp_path, daemon):
    daemon.put_unit(sys.executable, tmp_path)

    argv = ["systemd-analyze", "verify", "--man=no", str(tmp_path / daemon.unit)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)

    assert (0, "") == (done.returncode, done.stderr)
