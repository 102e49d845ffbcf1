"""Real containers on a Seaway network, started by containerd with the configuration of `init`.

┌────────────── host1 ──────────────┐
│ ┌── a ──┐    BPF      ┌── b ──┐   │
│ │ eth0 ─┼─────────────┼─ eth0 │   │
│ └───────┘             └───────┘   │
└───────────────────────────────────┘
"""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def engine(containerd):
    containerd.host.start_agent()
    return containerd


def endpoints(engine):
    return json.loads(engine.host.seaway("endpoint", "ls", "-o", "json"))


def test_containers_talk_and_are_released_when_they_vanish_without_del(engine, busybox):
    engine.run("a", busybox, "httpd", "-f", "-p", "80")
    engine.run("b", busybox, "sleep", "600")

    assert ["default-a", "default-b"] == sorted(e["endpoint"]["name"] for e in endpoints(engine))
    for address in engine.addresses("a"):
        assert engine.succeeds("b", "ping", "-c1", "-W2", address)
        url = f"http://[{address}]/" if ":" in address else f"http://{address}/"
        told = engine.call("b", "sh", "-c", f"wget -qO- {url} 2>&1 || true")
        assert "404" in told  # httpd is there, and has no page

    engine.remove("a")  # as ctr does: without DEL
    engine.host.wait_for("a to be released", lambda: len(endpoints(engine)) == 1)
    engine.run("a", busybox, "sleep", "600")
    assert engine.succeeds("b", "ping", "-c1", "-W2", engine.addresses("a")[0])


def test_containers_outlive_the_agent_and_are_released_by_the_next(engine, busybox):
    for name in ("a", "b"):
        engine.run(name, busybox, "sleep", "600")
    address = engine.addresses("a")[0]
    engine.host.kill_agent()

    assert engine.succeeds("b", "ping", "-c1", "-W2", address)
    engine.remove("a")
    engine.host.start_agent()

    engine.host.wait_for("a to be released", lambda: len(endpoints(engine)) == 1)
    assert ["default-b"] == [e["endpoint"]["name"] for e in endpoints(engine)]
