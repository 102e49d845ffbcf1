"""The agent is killed again and again while runtimes attach and detach: nothing leaks."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from libcni import PluginFailed, Runtime
from seaway.lab.containerd import install_plugins
from used import agent_cpu
from waiting import wait

RUNTIMES = 4
TRY_LATER = 11
NETWORK = {"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "seaway"}]}


def churn(one_host, number, ended):
    """As a runtime does: a DEL after every ADD, also after one that failed. What ADD told."""
    runtime = Runtime(one_host.host, NETWORK)
    told = []
    for name in (f"c{number}-{n}" for n in count()):
        if ended.is_set():
            break
        container = one_host.container(name)
        try:
            given = [ip["address"].partition("/")[0] for ip in runtime.add(name)["ips"]]
            told.append("added")
            assert given == container.addresses()
        except PluginFailed as failed:
            told.append(failed.told)
        runtime.delete(name)
        one_host.host.run("ip", "netns", "del", name)
    return told


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kills", [8, pytest.param(50, marks=pytest.mark.soak)])
def test_an_agent_that_is_killed_under_adds_and_dels_leaks_nothing(one_host, kills):
    install_plugins(one_host.host)
    host = one_host.host
    host.wait_for(
        "addresses that stay", lambda: not host.run("ip", "-6", "addr", "show", "tentative")
    )
    before = one_host.state()
    ended = threading.Event()
    moments = random.Random(8)

    with ThreadPoolExecutor(RUNTIMES) as pool:
        running = [pool.submit(churn, one_host, n, ended) for n in range(RUNTIMES)]
        try:
            for _ in range(kills):
                used = agent_cpu(host) + moments.uniform(0.02, 0.6)  # whatever it is at then
                assert wait(lambda: agent_cpu(host) >= used, within=60)  # noqa: B023
                host.kill_agent()
                host.start_agent()
        finally:
            ended.set()
        told = [one for future in running for one in future.result()]

    assert told.count("added") > 20
    assert {TRY_LATER} >= {one["code"] for one in told if one != "added"}
    host.wait_for("the spool to be drained", lambda: not host.run("ls", "/var/lib/seaway/spool"))
    assert [] == one_host.told("endpoint", "ls")
    assert [] == one_host.told("ipam", "check")
    host.wait_for("the host to be as it was", lambda: before == one_host.state())
