"""Real containers on a Seaway network, started by containerd with the configuration of `init`.

┌────────────────── host1 ──────────────────┐
│ ┌── a ──┐    BPF      ┌── b ──┐  agent    │
│ │ eth0 ─┼─────────────┼─ eth0 │  containerd, runc, shims
│ └───────┘             └───────┘           │
└───────────────────────────────────────────┘
"""

from __future__ import annotations

import ipaddress
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from seaway.lab.containerd import LOG
from seaway.lab.hosts import SEAWAY
from seaway.names import LOG_FILE as AGENT_LOG
from waiting import DEADLINE

IDLE = ("sleep", "600")
RELEASED = (
    5.0  # seconds, within which a container that vanished is noticed, where nobody else works
)


@pytest.fixture
def engine(containerd):
    containerd.host.start_agent()
    return containerd


@pytest.fixture
def here(engine):
    """What the agent of this host says."""
    return lambda *command: json.loads(engine.host.seaway(*command, "-o", "json"))


def names(here, *options):
    return sorted(r["endpoint"]["name"] for r in here("endpoint", "ls", *options))


def reaches(engine, name, address):
    return engine.succeeds(name, "ping", "-c1", "-W2", str(address))


def serves(engine, who, address):
    """Whether a page of the web server there is read; busybox has none but says so."""
    url = f"http://[{address}]/" if ":" in address else f"http://{address}/"
    return "404" in engine.call(who, "sh", "-c", f"wget -qO- {url} 2>&1 || true")


def wait_for_release(engine, here, *left, within=DEADLINE):
    engine.host.wait_for("the release", lambda: list(left) == names(here), within)


def test_containers_reach_each_other_the_host_and_are_reached(engine, busybox, here):
    engine.run("a", busybox, "httpd", "-f", "-p", "80")
    engine.run("b", busybox, *IDLE)

    assert ["default-a", "default-b"] == names(here)
    assert [4, 6] == [ipaddress.ip_address(a).version for a in engine.addresses("a")]
    for address, own in zip(engine.addresses("a"), here("status")["addresses"], strict=True):
        assert reaches(engine, "b", address)
        engine.host.wait_for("an answer", partial(serves, engine, "b", address))
        assert reaches(engine, "b", own)
        assert engine.host.reaches(address)


def test_labels_of_the_configuration_and_the_runtimes_names_are_told(engine, busybox, here):
    labels = [{"key": "app", "value": "shop"}, {"key": "tier", "value": "front"}]
    engine.use({"type": "seaway", "args": {"cni": {"labels": labels}}})
    engine.run("a", busybox, *IDLE)

    found = here("endpoint", "inspect", "default-a")["endpoint"]

    assert {"app": "shop", "tier": "front"} == dict(found["labels"])
    assert ("default-a", "eth0", "cni") == tuple(
        found[k] for k in ("container", "interface", "door")
    )
    assert engine.addresses("a") == [a.partition("/")[0] for a in found["addresses"]]


def test_a_container_that_vanishes_without_del_is_released_and_its_name_used_again(
    engine, busybox, here
):
    for name in ("a", "b"):
        engine.run(name, busybox, *IDLE)

    engine.remove("a")  # as ctr does: without DEL
    wait_for_release(engine, here, "default-b")
    engine.run("a", busybox, *IDLE)

    assert reaches(engine, "b", engine.addresses("a")[0])
    assert [] == here("status")["drift"]
    assert [] == here("ipam", "check")


def test_a_process_that_ends_by_itself_is_a_container_that_vanished(engine, busybox, here, sharp):
    engine.run("a", busybox, "sleep", "0.2")

    wait_for_release(engine, here, within=RELEASED if sharp else DEADLINE)


def test_many_that_start_at_a_time_have_addresses_of_their_own(engine, busybox, here):
    many = [f"c{number}" for number in range(6)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda name: engine.run(name, busybox, *IDLE), many))

    given = [address for name in many for address in engine.addresses(name)]

    assert 2 * len(many) == len(set(given))
    assert all(reaches(engine, "c0", address) for address in given)
    assert [f"default-{name}" for name in many] == names(here)


def test_a_container_of_an_unknown_network_does_not_start_and_leaves_nothing(engine, busybox, here):
    before = here("ipam", "show")
    engine.use({"type": "seaway", "network": "nowhere"})

    with pytest.raises(subprocess.CalledProcessError) as failed:
        engine.run("a", busybox, *IDLE)

    assert "'nowhere'" in " ".join(failed.value.__notes__)
    assert [] == names(here)
    assert before == here("ipam", "show")


def test_containers_outlive_the_agent_and_are_released_by_the_next(engine, busybox, here):
    for name in ("a", "b"):
        engine.run(name, busybox, *IDLE)
    addresses = engine.addresses("a")
    engine.host.kill_agent()

    assert all(reaches(engine, "b", address) for address in addresses)
    engine.remove("a")
    engine.host.start_agent()

    wait_for_release(engine, here, "default-b")


def test_a_container_that_starts_while_the_agent_is_dead_waits_for_the_next(engine, busybox, here):
    engine.run("a", busybox, *IDLE)
    engine.host.kill_agent()

    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(engine.run, "b", busybox, *IDLE)
        asks = ("pgrep", "-f", "/opt/cni/bin/seaway")
        engine.host.wait_for("an ADD that waits", lambda: engine.host.call(*asks).stdout != "")
        assert not starting.done()
        engine.host.start(SEAWAY, "agent", log=AGENT_LOG)  # at once: an ADD waits 10 s
        starting.result()

    assert ["default-a", "default-b"] == names(here)
    assert all(reaches(engine, "a", address) for address in engine.addresses("b"))


def test_containers_of_one_namespace_are_one_endpoint_until_both_are_gone(engine, busybox, here):
    """As the containers of a Kubernetes pod."""
    engine.run("pause", busybox, *IDLE)
    engine.run("other", busybox, *IDLE)
    engine.run_inside("pause", "inmate", busybox, *IDLE)

    assert engine.addresses("pause") == engine.addresses("inmate")
    assert ["default-other", "default-pause"] == names(here)

    engine.remove("inmate")
    assert all(reaches(engine, "other", address) for address in engine.addresses("pause"))
    engine.remove("pause")
    wait_for_release(engine, here, "default-other")


def test_a_namespace_outlives_the_container_that_it_was_made_for(engine, busybox, here):
    engine.run("pause", busybox, *IDLE)
    engine.run("other", busybox, *IDLE)
    engine.run_inside("pause", "inmate", busybox, *IDLE)
    addresses = engine.addresses("inmate")

    engine.remove("pause")
    engine.host.kill_agent()
    engine.host.start_agent()

    assert all(reaches(engine, "other", address) for address in addresses)
    assert ["default-other", "default-pause"] == names(here)
    engine.remove("inmate")
    wait_for_release(engine, here, "default-other")


def test_containerd_starts_anew_and_the_network_does_not_notice(engine, busybox, here):
    engine.run("a", busybox, *IDLE)
    engine.run("b", busybox, *IDLE)
    before = here("endpoint", "ls")

    engine.host.run("sh", "-c", f"kill -KILL $(pidof containerd); : > {LOG}")
    engine.start()

    assert all(reaches(engine, "b", address) for address in engine.addresses("a"))
    after = here("endpoint", "ls")
    assert [r["endpoint"] for r in before] == [r["endpoint"] for r in after]
    engine.run("c", busybox, *IDLE)
    assert ["default-a", "default-b", "default-c"] == names(here)
