"""One host, its real agent, bare containers: who reaches whom, and what is refused how.

┌────────────────────── host1 ──────────────────────┐
│ ┌── a ──┐  ┌── b ──┐        networks default, …   │      ┌── world ──┐
│ │ eth0  │  │ eth0  │  BPF, routes, nftables  eth0 ┼─wire─┼─ eth0     │
│ └───────┘  └───────┘                              │      └───────────┘
└───────────────────────────────────────────────────┘
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.e2e.conftest import Bare, OneHost

TELLS_THE_CALLER = """
import socket
server = socket.create_server(("", 9000), family=socket.AF_INET6, dualstack_ipv6=True)
print(server.accept()[1][0])
"""
SINK = """
import socket
with socket.create_server(("", 9000), family=socket.AF_INET6, dualstack_ipv6=True) as server:
    print("ready", flush=True)
    while True:
        with server.accept()[0] as taken:
            while taken.recv(1 << 20):
                pass
            taken.sendall(b".")
"""
STREAM = """
import socket, sys, time
begun = time.monotonic()
with socket.create_connection((sys.argv[1], 9000), 30) as client:
    client.sendall(bytes(int(sys.argv[2])))
    client.shutdown(socket.SHUT_WR)
    assert client.recv(1) == b"."
print(8 * int(sys.argv[2]) / (time.monotonic() - begun))
"""
RATE = 40_000_000  # bits a second
LONG = 4_000_000  # bytes: 0.8 s at that rate
TRIES = 10
FAMILIES = (0, 1)  # of a container's addresses: IPv4, IPv6


def test_containers_reach_each_other_and_the_host_and_the_host_them(one_host):
    a, b = one_host.attach("a"), one_host.attach("b")
    host4, host6 = one_host.told("status")["addresses"]

    for family, own in zip(FAMILIES, (host4, host6), strict=True):
        assert a.reaches(b.addresses()[family])
        assert b.reaches(a.addresses()[family])
        assert a.reaches(a.addresses()[family])
        assert a.reaches(own)
        assert one_host.host.reaches(a.addresses()[family])
    assert one_host.drops().keys() <= {"multicast", "neighbour", "address_probe", "not_here"}


def test_detach_leaves_the_host_as_it_was(one_host):
    before = one_host.state()
    one_host.attach("a")
    assert before != one_host.state()
    one_host.seaway("detach", "a")
    assert before == one_host.state()


def test_a_process_of_the_host_itself_is_no_container(one_host):
    before = one_host.state()
    pid = str(one_host.host.agent_pid())
    refused = one_host.host.call(sys.executable, "-m", "seaway", "attach", pid)

    assert 2 == refused.returncode
    assert "the host's own network namespace" in refused.stderr
    assert before == one_host.state()


def test_closed_networks_do_not_reach_each_other_until_they_are_connected(one_host):
    one_host.seaway("network", "create", "front")
    a, b = one_host.attach("a"), one_host.attach("b", "front")
    for family in FAMILIES:
        assert a.is_kept_from(b.addresses()[family])
    assert one_host.drops()["isolated"] >= 2

    one_host.seaway("network", "connect", "default", "front")
    for family in FAMILIES:
        assert a.reaches(b.addresses()[family])

    one_host.seaway("network", "disconnect", "default", "front")
    assert a.is_kept_from(b.addresses()[0])


def test_open_networks_reach_each_other(one_host):
    one_host.seaway("network", "create", "one", "--open")
    one_host.seaway("network", "create", "two", "--open")
    a, b, c = (one_host.attach(n, of) for n, of in (("a", "one"), ("b", "two"), ("c", "default")))
    assert a.reaches(b.addresses()[0])
    assert a.is_kept_from(c.addresses()[0])
    one_host.seaway("network", "update", "two", "--closed")
    assert a.is_kept_from(b.addresses()[0])


def test_a_network_may_close_the_host_and_open_link_local(one_host):
    one_host.seaway("network", "create", "shut", "--no-host-access")
    a = one_host.attach("a", "shut")
    host4, host6 = one_host.told("status")["addresses"]
    assert a.is_kept_from(host4)
    assert a.is_kept_from(host6)
    assert a.is_kept_from(one_host.host.address4)
    for address in a.addresses():
        assert one_host.host.reaches(address)  # what the host asks is answered
    one_host.seaway("network", "update", "shut", "--host-access")
    assert a.reaches(host4)


def test_the_metadata_address_is_closed_unless_the_network_opens_it(one_host):
    one_host.host.run("ip", "addr", "add", "169.254.169.254/32", "dev", "lo")
    a = one_host.attach("a")
    assert a.is_kept_from("169.254.169.254")
    assert one_host.drops()["link_local"] >= 1
    one_host.seaway("network", "update", "default", "--link-local")
    assert a.reaches("169.254.169.254")


def test_an_unknown_address_of_ours_is_refused_at_once(one_host):
    a = one_host.attach("a")
    told = a.call("ping", "-nc1", "-W2", "10.208.60.60").stdout
    assert "Destination Host Unreachable" in told
    six = re.sub(r"[^:]+$", "dead", a.addresses()[1])
    assert "Address unreachable" in a.call("ping", "-nc1", "-W2", six).stdout
    by_host = one_host.host.call("ping", "-nc1", "-W2", "10.208.60.60")
    assert 2 == by_host.returncode  # its own route refuses it: no packet is made
    assert "No route to host" in by_host.stderr


def test_a_spoofed_address_and_a_spoofed_mac_are_dropped_and_counted(one_host):
    a, b = one_host.attach("a"), one_host.attach("b")
    target = b.addresses()[0]
    a.run("ip", "addr", "add", "10.208.9.9/32", "dev", "eth0")
    assert a.call("ping", "-nc1", "-W1", "-I", "10.208.9.9", target).returncode != 0
    assert one_host.drops()["spoofed_address"] >= 1

    a.run("ip", "link", "set", "eth0", "address", "02:00:00:00:00:99")
    assert a.is_kept_from(target)
    assert one_host.drops()["spoofed_mac"] >= 1


@pytest.mark.parametrize("internet", ["203.0.113.1", "2001:db8:ffff::1"])
def test_the_world_is_reached_behind_the_hosts_address(one_host_and_world, internet):
    one_host, world = one_host_and_world
    a = one_host.attach("a")
    assert a.reaches(internet)

    own = str(one_host.host.address6 if ":" in internet else one_host.host.address4)
    with world.popen("python3", "-c", TELLS_THE_CALLER, stdout=subprocess.PIPE) as server:
        try:
            one_host.host.wait_for("the server", lambda: a.connects(internet, 9000))
            assert own == server.communicate(timeout=60)[0].strip().removeprefix("::ffff:")
        finally:
            server.kill()


def test_the_world_does_not_reach_into_a_masqueraded_network_but_into_a_routed_one(
    one_host_and_world,
):
    one_host, world = one_host_and_world
    one_host.seaway("network", "create", "routed", "--no-masquerade")
    a, b = one_host.attach("a"), one_host.attach("b", "routed")
    for address in (a.addresses()[0], b.addresses()[0]):
        world.run("ip", "route", "add", f"{address}/32", "via", str(one_host.host.address4))
    assert not world.reaches(a.addresses()[0])
    assert world.reaches(b.addresses()[0])
    assert b.reaches("203.0.113.1")


def test_networks_of_one_family_work_alone(one_host):
    one_host.seaway("network", "create", "four", "--family", "4")
    one_host.seaway("network", "create", "six", "--family", "6")
    a, b = one_host.attach("a", "four"), one_host.attach("b", "four")
    c, d = one_host.attach("c", "six"), one_host.attach("d", "six")
    assert [4] == ["." in x and 4 for x in a.addresses()]
    assert a.reaches(b.addresses()[0])
    assert 1 == len(c.addresses())
    assert c.reaches(d.addresses()[0])


def test_a_container_with_two_interfaces_uses_each_for_its_network(one_host):
    one_host.seaway("network", "create", "front")
    a = one_host.attach("a")
    one_host.seaway("attach", "a", "--network", "front", "--interface", "eth1", "--name", "a1")
    b, c = one_host.attach("b"), one_host.attach("c", "front")
    assert a.reaches(b.addresses()[0])
    assert a.reaches(c.addresses()[0])
    assert c.reaches(a.addresses("eth1")[0])
    # Any address of the same container passes on any of its interfaces.
    from_eth1 = a.call("ping", "-nc1", "-W1", "-I", a.addresses("eth1")[0], b.addresses()[0])
    assert from_eth1.returncode != 0
    assert one_host.drops()["isolated"] == 1  # it speaks for its network, front
    assert "spoofed_address" not in one_host.drops()


def test_the_data_plane_outlives_the_agent_and_the_next_agent_adopts_it(one_host):
    a, b = one_host.attach("a"), one_host.attach("b")
    before = one_host.state()
    one_host.host.kill_agent()
    assert a.reaches(b.addresses()[0])

    one_host.host.start_agent()
    assert before == one_host.state()
    assert a.reaches(b.addresses()[1])
    assert 0 == one_host.told("status")["drift_total"]
    assert b.addresses() == [
        i.split("/")[0] for i in one_host.told("endpoint", "inspect", "b")["endpoint"]["addresses"]
    ]


def test_an_attachment_that_an_agent_was_killed_over_is_finished_by_the_next(one_host):
    """The pair was made, and nothing inside it yet."""
    a, b = one_host.attach("a"), one_host.attach("b")
    addresses = b.addresses()
    one_host.host.kill_agent()
    for family in ("-4", "-6"):
        b.run("ip", family, "addr", "flush", "dev", "eth0")
    b.run("ip", "link", "set", "eth0", "down")

    one_host.host.start_agent()
    one_host.host.wait_for("the addresses", lambda: b.addresses() == addresses)
    assert a.reaches(addresses[0])
    assert 0 == one_host.told("status")["drift_total"]


def test_an_endpoint_whose_container_vanished_is_released(one_host):
    one_host.attach("a")
    one_host.host.run("ip", "netns", "del", "a")
    one_host.host.wait_for("the release", lambda: [] == one_host.told("endpoint", "ls"))
    assert [] == one_host.told("status")["drift"]  # it ended: nobody took anything from it


def test_a_shaper_outlives_the_agent_comes_again_and_goes_with_its_endpoint(one_host):
    before = one_host.state()
    rates = ("--ingress-rate=50mbit", "--egress-rate=20mbit")
    a, b = one_host.attach("a", "default", *rates), one_host.attach("b")
    shaper = one_host.told("endpoint", "inspect", "a")["link"].replace("swy", "swyi")

    def there() -> bool:
        return shaper in one_host.host.run("ip", "-br", "link")

    limited = one_host.state()
    one_host.host.kill_agent()
    assert a.reaches(b.addresses()[0])
    one_host.host.start_agent()
    assert limited == one_host.state()
    assert 0 == one_host.told("status")["drift_total"]

    one_host.host.run("ip", "link", "del", shaper)
    one_host.host.wait_for("it again", lambda: there() and a.reaches(b.addresses()[1]))
    assert {"shapers"} <= {drift["target"] for drift in one_host.told("status")["drift"]}

    one_host.host.kill_agent()
    one_host.host.run("ip", "netns", "del", "a")
    one_host.host.start_agent()
    one_host.host.wait_for("its end", lambda: not there())
    one_host.seaway("endpoint", "update", "b", "--egress-rate", "1mbit")
    assert b.reaches(one_host.told("status")["addresses"][0])
    one_host.seaway("endpoint", "update", "b", "--egress-rate", "0")
    one_host.seaway("detach", "b")
    one_host.host.wait_for("nothing", lambda: before == one_host.state())


@contextmanager
def sink(container: Bare) -> Iterator[None]:
    inside = ("nsenter", f"--net=/run/netns/{container.name}", sys.executable, "-c", SINK)
    with container.host.popen(*inside, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert "ready\n" == process.stdout.readline()
            yield
        finally:
            process.kill()


def streamed(sender: Bare, receiver: Bare, octets: int = LONG) -> float:
    """Bits a second, from before the first one was sent until the last one was taken."""
    address = receiver.addresses()[0]
    return float(sender.run(sys.executable, "-c", STREAM, address, str(octets)))


def fastest(sender: Bare, receiver: Bare) -> float:
    """Never above the rate, but for a burst. Below it is what else the machine does."""
    found = 0.0
    for _ in range(TRIES):
        found = max(found, streamed(sender, receiver))
        assert found < 1.1 * RATE
        if found > 0.9 * RATE:
            break
    return found


def test_each_backend_of_a_service_has_its_bandwidth_and_others_have_all(one_host):
    before = one_host.state()
    a = one_host.attach("a", "default", "--label=app=web")
    b, c = one_host.attach("b", "default", "--label=app=db"), one_host.attach("c")
    rates = (f"--ingress-rate={RATE}", f"--egress-rate={RATE}")
    one_host.seaway("service", "create", "web", "--port=80", "--selector=app=web", *rates)
    with sink(a), sink(b):
        assert fastest(c, a) > 0.9 * RATE
        assert fastest(a, b) > 0.9 * RATE
        assert any(streamed(c, b) > 2 * RATE for _ in range(TRIES))

        # What is on its way gets there, and is as fast as was said last.
        one_host.seaway("service", "update", "web", "--ingress-rate=1mbit")
        inside = ("nsenter", "--net=/run/netns/c", sys.executable, "-c", STREAM)
        words = (*inside, a.addresses()[1], str(LONG))
        with one_host.host.popen(*words, stdout=subprocess.PIPE) as process:
            shaper = one_host.told("endpoint", "inspect", "a")["link"].replace("swy", "swyi")
            one_host.host.wait_for("a queue", lambda: _waiting(one_host, shaper) > 0)
            one_host.seaway("service", "update", "web", f"--ingress-rate={RATE}")
            told, _ = process.communicate(timeout=20)  # at 1 Mbit/s it were 32 s
        assert float(told) > 0
        one_host.seaway("service", "rm", "web")
        assert any(streamed(c, a) > 2 * RATE for _ in range(TRIES))
    for name in "abc":
        one_host.seaway("detach", name)
        one_host.host.run("ip", "netns", "del", name)
    one_host.host.wait_for("nothing", lambda: before == one_host.state())


def _waiting(one_host: OneHost, device: str) -> int:
    """Bytes in its queue."""
    queues = json.loads(one_host.host.run("tc", "-j", "-s", "qdisc", "show", "dev", device))
    return sum(queue["backlog"] for queue in queues if queue["kind"] == "tbf")
