"""What somebody changes by hand is found within ten seconds, told by name, and put back.

┌──────────────────── host1 ────────────────────┐
│ ┌── a ──┐ ┌── b ──┐ ┌── c ──┐    ip, nft, tc, │
│ │ eth0  │ │ eth0  │ │ eth0  │    bpf(2)       │
│ └───────┘ └───────┘ └───────┘      by hand    │
│      default           other                  │
└───────────────────────────────────────────────┘
"""

from __future__ import annotations

import json
import os
import pprint
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_interface

import pytest
from tests.damage import change_entry, delete, delete_entry, plant_entry
from tests.evidence import MAPS, Evidence, differences, ifindex_of, opened
from tests.hooks import watched

from libcni import Runtime
from seaway import names
from seaway.bpf import syscall, tcx
from seaway.bpf.syscall import Buffer
from seaway.lab import Lab, LabHost
from seaway.model.addresses import mapped
from seaway.model.kernel import HOOKS

WITHIN = 10.0  # seconds, where the machine is ours
LATE = 60.0  # seconds: what it may take elsewhere
WAYS = ["cls_bpf", "tcx"]


@dataclass
class Scene:
    """A host with three endpoints, all of it converged."""

    host: LabHost
    evidence: Evidence
    links: dict[str, str]  # by endpoint
    addresses: dict[str, list[str]]
    seen: int = field(default=0)
    within: float = LATE

    def drift(self) -> set[tuple[str, str]]:
        """What was told since this was asked last: targets and keys."""
        status = self.evidence.client.status()
        new, self.seen = status.drift_total - self.seen, status.drift_total
        assert new <= len(status.drift), "more than the status shows"
        return {(d.target, d.key) for d in status.drift[len(status.drift) - new :]}

    def repaired(self, before: dict[str, object]) -> set[tuple[str, str]]:
        """Wait until all is as it was; what the agent told of it."""
        deadline = time.monotonic() + self.within
        while differing := differences(before, self.evidence.all()):
            assert time.monotonic() < deadline, pprint.pformat(differing)
        return self.drift()


def scene(host: LabHost, way: str) -> Scene:
    host.write(names.CONFIG_FILE, f'[agent]\nattach = "{way}"\n')
    host.start_agent()
    host.seaway("network", "create", "other")
    host.seaway("network", "connect", "default", "other")
    for name, network in (("a", "default"), ("b", "default"), ("c", "other")):
        host.run("ip", "netns", "add", name)
        host.seaway("attach", name, "--network", network, "--name", name)
    host.seaway("endpoint", "publish", "b", "9999:7000")
    evidence = Evidence(host)
    reports = {r.endpoint.name: r for r in evidence.client.endpoints()}
    links = {name: report.link for name, report in reports.items()}
    addresses = {n: [str(i.ip) for i in r.endpoint.addresses] for n, r in reports.items()}
    host.wait_for("addresses that stay", lambda: "tentative" not in host.run("ip", "-6", "a"))
    return Scene(host, evidence, links, addresses)


@pytest.fixture(scope="module")
def damaged(make_module_lab: Callable[..., Lab], request: pytest.FixtureRequest) -> Scene:
    """For all tests of one way to attach, which leave it as it was."""
    way = getattr(request, "param", "auto")
    if way == "tcx" and not tcx.available():
        pytest.skip("this kernel has no TCX")
    return scene(make_module_lab(hosts=1).hosts[0], way)


@pytest.fixture
def by_hand(damaged: Scene) -> Scene:
    damaged.seen, damaged.within = damaged.evidence.client.status().drift_total, LATE
    return damaged


def test_links_addresses_and_routes_are_put_back_at_once(by_hand):
    """Of these the kernel tells; each is damaged in turn."""
    a, (four, six) = by_hand.links["a"], by_hand.addresses["a"]
    own4, own6 = (str(address) for address in by_hand.evidence.client.status().addresses)
    subnet4, subnet6 = (r for r in _unreachable(by_hand.host))
    damages = {
        f"ip link del {a}": ("links", a),
        "nsenter --net=/run/netns/a ip link del eth0": ("links", a),
        f"ip link set {a} mtu 1300": ("links", a),
        f"ip link set {a} address 02:00:00:00:00:77": ("links", a),
        f"ip link set {a} arp on": ("links", a),
        f"ip link set {a} down": ("attachments", f"{a} ingress"),
        f"ip addr del {own4}/32 dev lo": ("addresses", own4),
        f"ip addr del {own6}/128 dev lo": ("addresses", own6),
        f"ip route del {four}": ("routes", f"{four}/32"),
        f"ip route del {six}": ("routes", f"{six}/128"),
        f"ip route replace {four}/32 dev lo proto static": ("routes", f"{four}/32"),
        f"ip route change {four}/32 dev {a} proto 83": ("routes", f"{four}/32"),
        f"ip route replace {six}/128 dev lo proto 83": ("routes", f"{six}/128"),
        f"ip route del unreachable {subnet4}": ("routes", subnet4),
        f"ip -6 route del unreachable {subnet6}": ("routes", subnet6),
        f"ip route add 10.208.60.60/32 dev {a} proto 83": ("routes", "10.208.60.60/32"),
    }
    before = by_hand.evidence.all()
    for command, told in damages.items():
        by_hand.host.run(*command.split())
        assert told in by_hand.repaired(before), command
        by_hand.host.wait_for(command, lambda: by_hand.host.reaches(four))


def test_an_agent_without_a_free_descriptor_keeps_the_containers_that_it_cannot_see(by_hand):
    """It cannot look for a container whose link was deleted: nobody says that it is gone."""
    before, pid = by_hand.evidence.all(), str(by_hand.host.agent_pid())
    by_hand.host.run("prlimit", "--pid", pid, "--nofile=8:4096")
    by_hand.host.run("ip", "link", "del", by_hand.links["a"])
    by_hand.host.wait_for(
        "a word about it", lambda: "cannot be looked for" in by_hand.host.read(names.LOG_FILE)
    )
    by_hand.host.run("prlimit", "--pid", pid, "--nofile=4096:4096")

    assert ("links", by_hand.links["a"]) in by_hand.repaired(before)


def _unreachable(host: LabHost) -> list[str]:
    """The subnets of `default`, with their routes to nowhere."""
    network = json.loads(host.seaway("network", "inspect", "default", "-o", "json"))
    return [str(s) for s in network["network"]["subnets"]]


@pytest.mark.parametrize("damaged", WAYS, indirect=True)
def test_what_nobody_tells_of_is_found_by_sweeps_when_it_is_deleted(by_hand, sharp):
    by_hand.within = WITHIN if sharp else LATE
    before, expected = by_hand.evidence.all(), set()
    for name in MAPS:
        expected.add((name, delete_entry(by_hand.evidence, name)))
    by_hand.host.run("nft", "delete", "table", "inet", names.NFT_TABLE)
    expected |= {("nft", "table"), ("attachments", f"{by_hand.links['b']} egress")}
    _take_program(by_hand, "b", "egress")
    layout = by_hand.evidence.client.status().layout
    by_hand.host.run("rm", f"{names.PIN_FOLDER}/{layout}/endpoints")
    by_hand.host.run("sh", "-c", f"rm {names.PIN_FOLDER}/{layout}/programs/from_endpoint-*")
    expected |= {("pins", "endpoints"), ("pins", "programs/from_endpoint")}

    assert expected == by_hand.repaired(before)


@pytest.mark.parametrize("damaged", WAYS, indirect=True)
def test_what_nobody_tells_of_is_found_by_sweeps_when_it_is_changed(by_hand):
    before, expected = by_hand.evidence.all(), set()
    for name in MAPS:
        expected.add((name, change_entry(by_hand.evidence, name)))
    handle = _rule_handle(by_hand.host)
    table = ("inet", names.NFT_TABLE)
    by_hand.host.run("nft", "delete", "rule", *table, "postrouting", "handle", handle)
    by_hand.host.run("sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward")
    expected |= {("nft", "table"), ("sysctls", "net.ipv4.ip_forward")}
    expected |= {("attachments", f"{by_hand.links['b']} {hook}") for hook in HOOKS}
    _take_all_programs(by_hand, "b")
    pins = by_hand.evidence.pins / by_hand.evidence.client.status().layout
    with opened(pins / "subnets") as other:
        (pins / "interfaces").unlink()
        syscall.pin(other, pins / "interfaces")
    expected.add(("pins", "interfaces"))

    assert expected == by_hand.repaired(before)


@pytest.mark.parametrize("damaged", WAYS, indirect=True)
def test_what_nobody_tells_of_is_found_by_sweeps_when_it_is_planted(by_hand):
    before, expected = by_hand.evidence.all(), set()
    for name in MAPS:
        expected.add((name, plant_entry(by_hand.evidence, name)))
    table = ("inet", names.NFT_TABLE)
    by_hand.host.run("nft", "add", "rule", *table, "forward", "counter", "accept")
    expected |= {("nft", "table"), ("attachments", f"{by_hand.links['b']} ingress")}
    with _foreign_in_front(by_hand, "b", "ingress"):
        repaired = None
        deadline = time.monotonic() + LATE
        while repaired is None or not expected <= repaired:
            repaired = (repaired or set()) | by_hand.drift()
            assert time.monotonic() < deadline, expected - repaired
        # Theirs stays, behind ours.
        running = by_hand.evidence.programs()[f"{by_hand.links['b']} ingress"]
        assert ["from_endpoint", "stranger"] == [one.split()[0] for one in running][:2]
    by_hand.host.wait_for(
        "all to be repaired",
        lambda: {"programs"} >= differences(before, by_hand.evidence.all()).keys(),
    )


@pytest.mark.parametrize("damaged", WAYS, indirect=True)
def test_a_program_of_others_that_comes_first_leaves_the_hook_at_no_moment_without_ours(by_hand):
    link = by_hand.links["b"]
    with watched(by_hand.host, [link]) as found, _foreign_in_front(by_hand, "b", "ingress"):
        by_hand.host.wait_for(
            "ours to be first",
            lambda: by_hand.evidence.programs()[f"{link} ingress"][0].startswith("from_endpoint"),
        )

    assert 0 == found["bare"]
    assert found["looks"] > 100


PUBLISHING = {
    "cniVersion": "1.0.0",
    "name": "net",
    "plugins": [{"type": "seaway", "capabilities": {"portMappings": True}}],
}


@pytest.mark.parametrize("damaged", WAYS, indirect=True)
def test_a_check_has_put_back_what_is_missing_of_the_host_and_waits_for_no_sweep(by_hand):
    ports = [{"hostPort": 8080, "containerPort": 80}]
    runtime = Runtime(by_hand.host, PUBLISHING, capabilities={"portMappings": ports})
    by_hand.host.run("ip", "netns", "add", "d")
    told = runtime.add("d")
    by_hand.links["d"] = told["interfaces"][0]["name"]
    before = by_hand.evidence.all()
    address = ip_interface(told["ips"][0]["address"]).ip
    table = ("nft", "delete", "table", "inet", names.NFT_TABLE)
    harms = {
        "nft": lambda: by_hand.host.run(*table),
        "attachments": lambda: _take_program(by_hand, "d", "egress"),
        "publications": lambda: delete_entry(by_hand.evidence, "publications"),
        "endpoints": lambda: delete(by_hand.evidence, "endpoints", mapped(address)),
    }
    for target, harm in harms.items():
        harm()
        runtime.check("d")
        assert {} == differences(before, by_hand.evidence.all()), target
        assert {target} == {told for told, _ in by_hand.drift()}


def test_all_of_our_pins_may_go_at_once(by_hand):
    before = by_hand.evidence.all()
    by_hand.host.run("rm", "-r", str(names.PIN_FOLDER))
    assert {"pins"} <= {target for target, _ in by_hand.repaired(before)}
    by_hand.host.kill_agent()
    by_hand.host.start_agent()
    assert before == by_hand.evidence.all()


def test_pins_that_went_while_no_agent_ran_come_back_with_the_next(by_hand):
    """The programs that run know their maps: no entry is lost, no packet refused."""
    before = by_hand.evidence.all()
    layout = by_hand.evidence.client.status().layout
    by_hand.host.kill_agent()
    by_hand.host.run("rm", f"{names.PIN_FOLDER}/{layout}/endpoints")
    by_hand.host.run("sh", "-c", f"rm {names.PIN_FOLDER}/{layout}/programs/to_endpoint-*")
    by_hand.host.start_agent()
    assert before == by_hand.evidence.all()
    assert by_hand.host.reaches(by_hand.addresses["a"][0])
    by_hand.host.kill_agent()
    by_hand.host.run("rm", "-r", str(names.PIN_FOLDER))
    by_hand.host.start_agent()
    assert before == by_hand.evidence.all()
    assert by_hand.host.reaches(by_hand.addresses["a"][0])


def test_what_looks_like_ours_but_is_a_strangers_survives(by_hand):
    by_hand.host.run("ip", "netns", "add", "strange")
    for command in STRANGERS:
        by_hand.host.run("sh", "-c", command)
    found = [by_hand.host.run("sh", "-c", look) for look in LOOKS]
    by_hand.host.kill_agent()
    by_hand.host.start_agent()
    _wait_for_sweeps(by_hand, 1)
    assert found == [by_hand.host.run("sh", "-c", look) for look in LOOKS]
    status = by_hand.evidence.client.status()
    assert (0, ()) == (status.drift_total, status.failures)
    for command in GO:
        by_hand.host.run("sh", "-c", command)


STRANGERS = (
    "ip link add swy00000000001 type bridge",
    "ip link add swy00000000002 type veth peer name peer2 netns strange",
    "tc qdisc add dev swy00000000002 clsact",
    "ip link add swx type veth peer name peer3 netns strange; ip link set swx up",
    f"ip link set swx address {names.GATEWAY_MAC}",
    "ip route add 192.0.2.0/24 dev swx proto static",
    "ip -6 route add 2001:db8:99::/64 dev swx proto static",
    "ip addr add 192.0.2.99/32 dev lo",
    f"nft add table ip {names.NFT_TABLE}",
    f"nft add table inet {names.NFT_TABLE}2",
    "mkdir -p /sys/fs/bpf/seaways",
)
GO = (
    "ip link del swx; ip link del swy00000000001; ip link del swy00000000002",
    "ip netns del strange; ip addr del 192.0.2.99/32 dev lo; rmdir /sys/fs/bpf/seaways",
    f"nft delete table ip {names.NFT_TABLE}; nft delete table inet {names.NFT_TABLE}2",
)
LOOKS = (
    "ip -br link | grep -E 'swy0000000000|swx' | sort",
    "tc qdisc show dev swy00000000002",
    "ip route show proto static; ip -6 route show proto static",
    "ip -br addr show lo | grep -o 192.0.2.99",
    f"nft list table ip {names.NFT_TABLE}; nft list table inet {names.NFT_TABLE}2",
    "ls -d /sys/fs/bpf/seaways",
)


def test_an_idle_agent_reports_no_drift_and_logs_nothing(by_hand):
    before, drifted = by_hand.evidence.all(), by_hand.evidence.client.status().drift_total
    _wait_for_sweeps(by_hand, 1)
    said = by_hand.host.read(names.LOG_FILE)
    _wait_for_sweeps(by_hand, 1)
    assert said == by_hand.host.read(names.LOG_FILE)
    assert drifted == by_hand.evidence.client.status().drift_total
    assert before == by_hand.evidence.all()


def _wait_for_sweeps(by_hand: Scene, count: int) -> None:
    """By the agent's own clock: a sweep comes every eight seconds."""
    until = by_hand.evidence.client.status().uptime + 8.5 * count
    by_hand.host.wait_for(
        "the sweep", lambda: by_hand.evidence.client.status().uptime > until, within=60.0 * count
    )


# ── Damage ──


def _rule_handle(host: LabHost) -> str:
    listed = json.loads(host.run("nft", "-j", "-a", "list", "table", "inet", names.NFT_TABLE))
    rules = [one["rule"] for one in listed["nftables"] if "rule" in one]
    return str(next(rule["handle"] for rule in rules if rule["chain"] == "postrouting"))


def _take_program(by_hand: Scene, name: str, hook: str) -> None:
    link = by_hand.links[name]
    if by_hand.evidence.client.status().attach == "cls_bpf":
        by_hand.host.run("tc", "filter", "del", "dev", link, hook)
    else:
        with opened(by_hand.evidence.pins / "links" / f"{link}-{hook}") as fd:
            syscall.link_detach(fd)


def _take_all_programs(by_hand: Scene, name: str) -> None:
    link = by_hand.links[name]
    if by_hand.evidence.client.status().attach == "cls_bpf":
        by_hand.host.run("tc", "qdisc", "del", "dev", link, "clsact")
    else:
        by_hand.host.run("sh", "-c", f"rm {names.PIN_FOLDER}/links/{link}-*")


@contextmanager
def _foreign_in_front(by_hand: Scene, name: str, hook: str) -> Iterator[None]:
    """A program of a stranger's, which lets every packet go on to the next one."""
    link, program = by_hand.links[name], _stranger()
    try:
        with syscall.closing(
            by_hand.evidence.inside(lambda: syscall.link_create(program, ifindex_of(link), hook))
        ):
            yield
    finally:
        os.close(program)


_PROG_LOAD = struct.Struct("=IIQQIIQII16s")
_SCHED_CLS = 3


def _stranger() -> int:
    """mov r0, -1 (TCX_NEXT); exit"""
    code = Buffer(bytes.fromhex("b7000000ffffffff9500000000000000"))
    text = Buffer(b"GPL\0")
    fields = (_SCHED_CLS, 2, code.address, text.address, 0, 0, 0, 0, 0, b"stranger")
    return syscall.bpf(5, _PROG_LOAD.pack(*fields))
