"""Runs inside a guest, which is a host of its own: Seaway from `init` to packets, step by step.

    ┌─ red ─┐        ┌────── the guest ──────┐        ┌─ blue ─┐
    │ eth0 ─┼── veth ┼─  agent, BPF, routes ─┼─ veth ──┼─ eth0  │
    └───────┘        │                  wan0 ┼─ veth ──┼─ eth0  │ far: outside, when ports are
      80 published   └───────────────────────┘         └────────┘ published
      as 8080

Prints one line of JSON for each step, with what went wrong; the test on the outside reads them.
A step that fails holds back none that does not need it.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

import asking
from seaway import names
from seaway.bpf import abi
from seaway.bpf.objects import PROGRAMS
from seaway.client import Client
from seaway.errors import SeawayError
from seaway.kernel import netns, outside
from seaway.model.facts import Endpoint
from seaway.model.publications import parse_mapping
from seaway.model.requests import NewEndpoint, Publications
from seaway.setup import service

sys.path.append(str(Path(__file__).parents[1]))  # of the tests

import serviced
from namespaces import namespaces
from serviced import scenes
from talk import exchange, transfer
from wired import wires

MARK = "seaway-guest "
SEAWAY = str(Path(sys.executable).with_name("seaway"))
READY_WITHIN = 120.0  # seconds, of an emulated CPU
HAS_TCX = tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 6)
PING_WITHIN = 5  # seconds
ANSWER_WITHIN = 60.0  # seconds
MODPROBE = str(Path(__file__).with_name("modprobe"))
SLOW = ("nf_tables", "nft_chain_nat", "nft_masq", "nft_ct", "inet_diag", "tcp_diag", "udp_diag")
TELLING = str(Path(__file__).parents[1] / "telling.py")
FAR = Path("/run/netns/far")
PUBLIC, OUTSIDE = ("198.51.100.1", "2001:db8:100::1"), ("198.51.100.7", "2001:db8:100::7")
START = time.monotonic()
EXPECTED = (AssertionError, LookupError, OSError, SeawayError, subprocess.TimeoutExpired)

client = Client(timeout=120.0)
attached: dict[str, Endpoint] = {}
serving: list[subprocess.Popen[str]] = []


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def run(*argv: str, check: bool = True) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    if check and done.returncode:
        raise OSError(f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def ip(words: str) -> None:
    run("ip", *words.split())


def reaches(netns: str, address: object, *options: str) -> bool:
    inside = ("ip", "netns", "exec", netns) if netns else ()
    ping = (*inside, "ping", "-c1", f"-W{PING_WITHIN}", *options, str(address))
    return subprocess.run(ping, capture_output=True, timeout=60, check=False).returncode == 0


def address(endpoint: Endpoint, kind: type) -> object:
    return next(a.ip for a in endpoint.addresses if isinstance(a.ip, kind))


def agent_becomes_ready() -> None:
    run("mount", "-t", "bpf", "bpf", "/sys/fs/bpf")
    if HAS_TCX:  # else a device gets its links only after it has lived for a while
        names.CONFIG_FILE.parent.mkdir(parents=True)
        names.CONFIG_FILE.write_text('[agent]\nattach = "tcx"\n')
    run(MODPROBE, "-qa", *SLOW, check=False)  # else the first rules are waited for too long
    run(SEAWAY, "init", check=False)  # it may not wait as long as we do
    service.wait_until_ready(client, READY_WITHIN)


def every_program_is_loaded() -> None:
    pinned = {pin.name.rpartition("-")[0] for pin in names.PIN_FOLDER.glob("*/programs/*")}
    assert set(PROGRAMS) == pinned


def endpoints_are_attached() -> None:
    for name in ("red", "blue"):
        run("ip", "netns", "add", name)
        attached[name] = client.attach(
            NewEndpoint(netns=f"/run/netns/{name}", network="default", name=name)
        )


def programs_sit_where_this_kernel_has_hooks() -> None:
    link = names.link_name(attached["red"].id)
    filters = [run("tc", "filter", "show", "dev", link, hook) for hook in ("ingress", "egress")]
    assert ("tcx" if HAS_TCX else "cls_bpf") == client.status().attach
    assert [not HAS_TCX] * 2 == ["bpf" in text for text in filters], filters


def endpoints_reach_each_other() -> None:
    for family in (IPv4Address, IPv6Address):
        assert reaches("red", address(attached["blue"], family)), family
        assert reaches("blue", address(attached["red"], family)), family


def endpoint_and_host_reach_each_other() -> None:
    for host in client.status().addresses:
        assert reaches("red", host), host
        assert reaches("", address(attached["red"], type(host))), host


def ports_are_published() -> None:
    """Of a server that answers with the address that it sees."""
    inside = ("ip", "netns", "exec", "red", sys.executable)
    server = subprocess.Popen([*inside, TELLING, "80"], stdout=subprocess.PIPE, text=True)
    serving.append(server)
    assert server.stdout
    assert "ready\n" == server.stdout.readline()
    ports = (*parse_mapping("8080:80"), *parse_mapping("8080:80/udp"))
    client.publish("red", Publications(ports=ports))


def outside_asks_published_ports() -> None:
    ip("netns add far")
    ip("link add wan0 type veth peer name eth0 netns far")
    for where, device, public in (("", "wan0", PUBLIC), ("-n far", "eth0", OUTSIDE)):
        ip(f"{where} addr add {public[0]}/24 dev {device}")
        ip(f"{where} addr add {public[1]}/64 dev {device} nodad")
        ip(f"{where} link set {device} up")
    ask_until_answered(partial(asking.tcp, PUBLIC[0], 8080))
    for own, public in zip(OUTSIDE, PUBLIC, strict=True):
        for case in (asking.tcp, asking.udp):
            assert (own, public) == netns.visit_path(FAR, partial(case, public, 8080)), case
    text = run("tc", "filter", "show", "dev", "wan0", "ingress")
    assert HAS_TCX != ("from_wire" in text), text


def ask_until_answered(ask: Callable[[], object]) -> None:
    """Until the agent has found the wire, and put its program there."""
    end = time.monotonic() + ANSWER_WITHIN
    while True:
        try:
            netns.visit_path(FAR, ask)
        except OSError:
            if time.monotonic() > end:
                raise
        else:
            return


def host_asks_published_ports() -> None:
    for family, own in zip((IPv4Address, IPv6Address), client.status().addresses, strict=True):
        assert isinstance(own, family)
        localhost = {IPv4Address: "127.0.0.1", IPv6Address: "::1"}[family]
        for case in (asking.tcp, asking.udp, asking.connected):
            assert (str(own), localhost) == case(localhost, 8080), case


def socket_of_the_host_ends_with_its_port() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.connect(("127.0.0.1", 8080))
        asker.send(b"q")
        client.unpublish("red", Publications(ports=parse_mapping("8080:80/udp")))
        refusal = 0
        try:
            asker.send(b"q")
        except OSError as error:
            refusal = error.errno or 0
        assert errno.EDESTADDRREQ == refusal


def device_of_a_vrf_is_an_uplink() -> None:
    """And one that belongs to a bridge is none."""
    for kind, there in (("vrf table 77", True), ("bridge", False)):
        ip(f"link add master0 type {kind}")
        ip("link set wan0 master master0")
        assert there == ("wan0" in dict(outside.addressed_devices())), kind
        ip("link del master0")


def forged_source_goes_nowhere() -> None:
    run("ip", "-n", "red", "addr", "add", "10.99.0.1/32", "dev", "lo")
    assert not reaches("red", address(attached["blue"], IPv4Address), "-I", "10.99.0.1")
    drops = {drop.reason: drop.packets for drop in client.status().drops}
    assert drops.get("spoofed_address", 0) > 0, drops


def hosts_carry_each_others_packets() -> None:
    """Three hosts in namespaces; the first and the last see each other only by the second."""
    with namespaces() as make, wires() as wire:
        a, b, c = wire(3)
        ends = [host.add(make(), 1) for host in (a, b, c)]
        a.wire.part(a, c)
        a.reach(c, via=b)
        c.reach(a, via=b)
        for family in (4, 6):
            for end in ends[1:]:
                assert exchange(ends[0], end, family), family
                assert transfer(ends[0], end, family, megabytes=1), family


def services_keep_backends_level() -> None:
    """What this kernel's verifier took for dead must not be cut out of the program (draw.h)."""
    with scenes(2) as scene, ExitStack() as stack:
        scene.serve_by(scene.containers, algorithm=abi.SERVICE_LEAST)
        for _ in range(20):
            client = stack.enter_context(scene.open(scene.home, 4, serviced.DATAGRAM))
            client.connect((serviced.VIP[4], serviced.PORT))
        places = [(c.address(4), serviced.BACKEND, serviced.UDP) for c in scene.containers]
        assert [10, 10] == [scene.connections(*place) for place in places]


def containers_ask_services() -> None:
    """By each algorithm; they are refused at once without a backend, and ended when it went."""
    with scenes(2) as scene:
        anna, bert = scene.containers
        for algorithm in (abi.SERVICE_RANDOM, abi.SERVICE_ROUND_ROBIN, abi.SERVICE_LEAST):
            scene.serve_by([bert], algorithm=algorithm, affinity=60)
            for family in (4, 6):
                with scene.open(anna, family, serviced.STREAM) as stream:
                    stream.connect((serviced.VIP[family], serviced.PORT))
                    assert stream.getpeername()[0] == serviced.VIP[family]
                    assert serviced.answer(stream).startswith("2 ")
                    assert scene.connections(bert.address(family), serviced.BACKEND, serviced.TCP)
        with (
            scene.open(anna, 4, serviced.STREAM) as stream,
            scene.open(anna, 6, serviced.DATAGRAM) as datagrams,
        ):
            for client, family in ((stream, 4), (datagrams, 6)):
                client.connect((serviced.VIP[family], serviced.PORT))
                assert serviced.answer(client).startswith("2 ")
            scene.serve_by([])
            scene.clock.now += 30
            assert 2 == scene.end_parted()
            refused = datagrams.connect_ex((serviced.VIP[6], serviced.PORT))
            assert errno.ECONNREFUSED == refused


STEPS: list[Callable[[], None]] = [
    agent_becomes_ready,
    every_program_is_loaded,
    endpoints_are_attached,
    programs_sit_where_this_kernel_has_hooks,
    endpoints_reach_each_other,
    endpoint_and_host_reach_each_other,
    forged_source_goes_nowhere,
    ports_are_published,
    host_asks_published_ports,
    outside_asks_published_ports,
    socket_of_the_host_ends_with_its_port,
    device_of_a_vrf_is_an_uplink,
    hosts_carry_each_others_packets,
    containers_ask_services,
    services_keep_backends_level,
]


def main() -> None:
    for step in STEPS:
        problem = ""
        try:
            step()
        except EXPECTED:
            problem = traceback.format_exc()
        at = round(time.monotonic() - START, 1)
        report = {"step": step.__name__, "problem": problem, "at": at}
        say(MARK + json.dumps(report))
    for server in serving:
        server.kill()
        server.communicate()
    say(run("tail", "-n", "30", str(names.LOG_FILE), check=False))


if __name__ == "__main__":
    main()
