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
import os
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

sys.path += map(str, Path(__file__).parents[1:3])

import asking
from kernels import borrowed
from kernels.reports import say, tell
from seaway import names
from seaway.bpf.objects import PROGRAMS
from seaway.client import Client
from seaway.errors import SeawayError
from seaway.kernel import netns, outside
from seaway.model.addresses import Address
from seaway.model.facts import Endpoint
from seaway.model.publications import parse_mapping
from seaway.model.requests import NewEndpoint, NewService, Publications, ServiceChange
from seaway.model.services import ServicePort
from seaway.setup import service

SEAWAY = str(Path(sys.executable).with_name("seaway"))
READY_WITHIN = 400.0  # seconds, of an emulated CPU
HAS_TCX = tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 6)
PING_WITHIN = 5  # seconds
ANSWER_WITHIN = 60.0  # seconds
MODPROBE = str(Path(__file__).with_name("modprobe"))
SLOW = ("nf_tables", "nft_chain_nat", "nft_masq", "nft_ct", "inet_diag", "tcp_diag", "udp_diag")
TELLING = str(Path(__file__).parents[1] / "telling.py")
FAR, BLUE = (Path("/run/netns") / name for name in ("far", "blue"))
PUBLIC, OUTSIDE = ("198.51.100.1", "2001:db8:100::1"), ("198.51.100.7", "2001:db8:100::7")
EXPECTED = (AssertionError, LookupError, OSError, SeawayError, subprocess.TimeoutExpired)

client = Client(timeout=120.0)
attached: dict[str, Endpoint] = {}
vips: list[Address] = []
serving: list[subprocess.Popen[str]] = []


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
            NewEndpoint(
                netns=f"/run/netns/{name}", network="default", name=name, labels={"app": name}
            )
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


def services_are_asked() -> None:
    """By a neighbour's sockets, past their hooks, by the host, and by a port of it from outside."""
    port = partial(ServicePort, port=80, target=80, node_port=8090)
    web = NewService(
        name="web",
        ports=(port(name="tcp"), port(name="udp", protocol="udp")),
        selector={"app": "red"},
        algorithm="least-connections",
        drain=0.0,
    )
    vips.extend(sorted(client.create_service(web).service.addresses, key=lambda a: a.version))
    cases = asking.tcp, asking.udp, asking.connected
    for vip, own in zip(vips, client.status().addresses, strict=True):
        blue = address(attached["blue"], type(vip))
        for case in (*cases, asking.raw):
            told = netns.visit_path(BLUE, partial(case, str(vip), 80))
            assert (str(blue), str(vip)) == told, case
        for case in cases:
            assert (str(own), str(vip)) == case(str(vip), 80), case
    for own, public in zip(OUTSIDE, PUBLIC, strict=True):
        for case in (asking.tcp, asking.udp):
            assert (own, public) == netns.visit_path(FAR, partial(case, public, 8090)), case


def service_over_its_limit_refuses() -> None:
    client.update_service("web", ServiceChange(limit_connections=1))
    with open_in_blue(vips[0]) as first, open_in_blue(vips[1]) as second:
        first.connect((str(vips[0]), 80))
        assert errno.EBUSY == second.connect_ex((str(vips[1]), 80))
    client.update_service("web", ServiceChange(limit_connections=0))


def sockets_of_a_service_end_with_its_backend() -> None:
    """And who asks then is refused at once."""
    for vip in vips:
        with open_in_blue(vip) as stream, open_in_blue(vip, socket.SOCK_DGRAM) as datagrams:
            for made in (stream, datagrams):
                made.connect((str(vip), 80))
            client.update_service("web", ServiceChange(selector={"app": "nobody"}))
            for made in (stream, datagrams):
                assert errno.ECONNABORTED == ended(made)
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with open_in_blue(vip, kind) as late:
                assert errno.ECONNREFUSED == late.connect_ex((str(vip), 80))
        client.update_service("web", ServiceChange(selector={"app": "red"}))


def open_in_blue(vip: object, kind: int = socket.SOCK_STREAM) -> socket.socket:
    family = socket.AF_INET if isinstance(vip, IPv4Address) else socket.AF_INET6
    made = netns.visit_path(BLUE, lambda: socket.socket(family, kind))
    made.settimeout(ANSWER_WITHIN)
    return made


def ended(made: socket.socket) -> int:
    """Why it ends, as its owner is told."""
    try:
        made.recv(1)
    except OSError as error:
        return error.errno or 0
    return 0


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
    services_are_asked,
    service_over_its_limit_refuses,
    sockets_of_a_service_end_with_its_backend,
    device_of_a_vrf_is_an_uplink,
    borrowed.hosts,
    borrowed.services,
]


def main() -> None:
    for step in STEPS:
        problem = ""
        try:
            step()
        except EXPECTED:
            problem = traceback.format_exc()
        tell(step.__name__, problem)
    for server in serving:
        server.kill()
        server.communicate()
    say(run("tail", "-n", "30", str(names.LOG_FILE), check=False))


if __name__ == "__main__":
    main()
