"""Containers find each other by name, as dig, glibc and musl ask, and go on while processes die.

┌── host1 ──────────┐   ┌── host2 ──┐   ┌── world ──┐
│ anna, bert, greta │   │ carl      │   │ dnsmasq   │  greta is in another network than the others.
└────────┬──────────┘   └─────┬─────┘   └─────┬─────┘  One lab for all, in this order: some of it
─────────┴──────── wire ──────┴───────────────┴──────  comes and goes
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from conftest import labs_of_ours
from seaway import names
from seaway.lab import Lab, LabHost
from seaway.lab.hosts import SEAWAY
from waiting import wait

RESOLVER = str(names.RESOLVER4)
PROMISED = 0.1  # seconds from the end of an endpoint to that of its names
LATE = 5.0  # seconds: what that may take on a machine that others use too
RESOLV = Path("/run/resolv.conf")
ZONE = """\
no-resolv
no-hosts
bind-interfaces
listen-address={address}
user=root
local-ttl=60
host-record=www.example.test,192.0.2.80
cname=web.example.test,www.example.test
domain-needed
bogus-priv
local=/org/test/
"""
LONG = "".join(f"txt-record=long.example.test,{str(n) * 200}\n" for n in range(10))
SERVE = 'exec dnsmasq --keep-in-foreground --conf-file="$0"'
# Asks for names by one socket, over and over, until none has an address; prints when, by the clock
# of all hosts.
WATCH = """
import socket, sys, time
server, address, *names = sys.argv[1:]
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.settimeout(1)
head, tail = b"\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0", b"\\0\\0\\1\\0\\1"
def has(name, tried=[0]):
    tried[0] += 1
    number = (tried[0] & 0xFFFF).to_bytes(2, "big")
    labels = b"".join(bytes((len(l),)) + l.encode() for l in name.split("."))
    sock.sendto(number + head + labels + tail, (server, 53))
    return socket.inet_aton(address) in sock.recv(4096)
assert all(map(has, names))
print("there", flush=True)
while any(map(has, names)):
    pass
print(time.monotonic())
"""
# Detaches, and tells when it began to ask for that.
DETACH = """
import sys, time
from pathlib import Path
from seaway import names
from seaway.client import Client
client = Client(names.SOCKET)
began = time.monotonic()
client.detach(sys.argv[1])
print(began)
"""
FLOOD = """
import os, socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.connect((sys.argv[1], 53))
sock.setblocking(False)
known = b"ab\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\4anna\\0\\0\\1\\0\\1"
other = b"cd\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\4%b\\7example\\4test\\0\\0\\1\\0\\1"
print("floods", flush=True)
n = 0
while True:
    n += 1
    for data in (known, other.replace(b"%b", b"%04d" % (n % 10000)), os.urandom(n % 80)):
        try:
            sock.send(data)
        except OSError:
            pass
"""


@dataclass
class Container:
    """A network namespace of a lab host that plays a container."""

    host: LabHost
    name: str

    @property
    def inside(self) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{self.name}"]

    def call(self, *command: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        return self.host.call(*self.inside, *command, timeout=timeout)

    def popen(self, *command: str) -> subprocess.Popen[str]:
        return self.host.popen(*self.inside, *command, stdout=subprocess.PIPE)

    def dig(self, *words: str, server: str = RESOLVER) -> list[str]:
        options = ("+short", "+timeout=5", "+tries=1")
        told = self.call("dig", f"@{server}", *options, *words).stdout.splitlines()
        return sorted(line for line in told if not line.startswith(";"))

    def code(self, *words: str, server: str = RESOLVER) -> str:
        told = self.call("dig", f"@{server}", "+timeout=5", "+tries=1", *words).stdout
        return told.partition("status: ")[2].partition(",")[0]

    def libc(self, *command: str) -> list[str]:
        """What a program prints that finds its resolver as containers do."""
        bound = f'mount --bind {RESOLV} /etc/resolv.conf; exec "$0" "$@"'
        done = self.call("unshare", "--mount", "sh", "-c", bound, *command)
        return sorted({line.split()[0] for line in done.stdout.splitlines() if line.strip()})


@dataclass
class Hosts:
    lab: Lab
    containers: dict[str, Container]

    def __getitem__(self, name: str) -> Container:
        return self.containers[name]

    def attach(
        self, host: LabHost, name: str, network: str = "default", *options: str
    ) -> Container:
        host.run("ip", "netns", "add", name)
        host.seaway("attach", name, "--network", network, "--name", name, *options)
        self.containers[name] = Container(host, name)
        return self.containers[name]

    def addresses(self, name: str) -> list[str]:
        (link,) = json.loads(self[name].call("ip", "-j", "addr", "show", "eth0").stdout)
        return [a["local"] for a in link["addr_info"] if a["scope"] == "global"]


def pid_of(host: LabHost) -> int:
    return int(host.read(names.RESOLVER_PID_FILE))


def resolver6(host: LabHost) -> str:
    shown = host.run("ip", "-6", "-br", "addr", "show", "lo").split()
    return next(a.removesuffix("/128") for a in shown if a.endswith("53/128"))


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with labs_of_ours() as make:
        lab = make(hosts=2, world=True)
        first, second = lab.hosts
        lab.world.write(Path("/run/zone"), ZONE.format(address=lab.world.address4) + LONG)
        server = lab.world.popen("sh", "-c", SERVE, "/run/zone")
        try:
            for host in lab.hosts:
                host.write(Path("/etc/resolv.conf"), f"nameserver {lab.world.address4}\n")
                search = "search default.seaway default.svc.cluster.local svc.cluster.local"
                host.write(RESOLV, f"nameserver {RESOLVER}\n{search}\noptions ndots:5\n")
            first.start_agent()
            first.seaway("network", "create", "back")
            token = json.loads(first.seaway("token", "create", "-o", "json"))["token"]
            second.seaway("join", token, str(first.address4), timeout=60)
            made = Hosts(lab, {})
            made.attach(first, "anna")
            made.attach(first, "bert")
            made.attach(first, "greta", "back")
            made.attach(second, "carl")
            assert wait(lambda: made["anna"].dig("carl") and made["carl"].dig("anna"))
            yield made
        finally:
            server.kill()
            server.wait()


@pytest.fixture(scope="module")
def musl(tmp_path_factory) -> str:
    """A program of musl's resolver."""
    made = tmp_path_factory.mktemp("musl") / "getaddrinfo"
    source = Path(__file__).with_name("getaddrinfo.c")
    subprocess.run(["musl-gcc", "-static", "-O1", "-o", made, source], check=True)
    return str(made)


@pytest.mark.parametrize("way", [[], ["+tcp"], ["+bufsize=4096", "+nsid"], ["+noedns"]], ids=str)
def test_dig_finds_containers_of_both_hosts_by_both_families(hosts, way):
    for name in ("bert", "carl"):
        v4, v6 = hosts.addresses(name)
        for server in (RESOLVER, resolver6(hosts["anna"].host)):
            assert [v4] == hosts["anna"].dig(*way, name, server=server)
            assert [v6] == hosts["anna"].dig(*way, f"{name}.default.seaway", "AAAA", server=server)
        assert [f"{name}.default.seaway."] == hosts["anna"].dig(*way, "-x", v4)
        assert [f"{name}.default.seaway."] == hosts["anna"].dig(*way, "-x", v6)


def test_libraries_of_c_find_them_with_search_domains_and_without(hosts, musl):
    for name in ("bert", "carl", "carl.default.seaway"):
        both = sorted(hosts.addresses(name.partition(".")[0]))
        assert both == hosts["anna"].libc("getent", "ahosts", name)
        assert both == hosts["anna"].libc(musl, name)
    for name in ("nobody", "greta"):
        assert [] == hosts["anna"].libc("getent", "ahosts", name)
        assert [] == hosts["anna"].libc(musl, name)
    found = hosts["anna"].libc("busybox", "nslookup", "carl.default.seaway")
    assert {"Name:", "Address:"} <= set(found)


def test_a_query_gets_the_names_of_the_askers_networks_alone(hosts):
    assert hosts.addresses("greta")[:1] == hosts["greta"].dig("greta")
    assert "NXDOMAIN" == hosts["greta"].code("anna.default.seaway")
    assert "NXDOMAIN" == hosts["greta"].code("-x", hosts.addresses("anna")[0])
    host = hosts["greta"].host
    for name in ("anna", "greta", "carl"):
        told = host.run("dig", "+short", f"@{RESOLVER}", name).split()
        assert hosts.addresses(name)[:1] == told


def test_a_service_is_found_on_both_hosts_by_its_names_and_ports(hosts):
    first, second = hosts.lab.hosts
    for host, name in ((first, "web-1"), (second, "web-2")):
        hosts.attach(host, name, "default", "--label", "app=web")
    made = ("service", "create", "web", "--port", "http=80:8080", "--selector", "app=web")
    service = json.loads(second.seaway(*made, "-o", "json"))["service"]
    v4 = next(a for a in service["addresses"] if "." in a)
    tasks = sorted(hosts.addresses(name)[0] for name in ("web-1", "web-2"))

    for by in ("anna", "carl"):
        assert wait(lambda by=by: [v4] == hosts[by].dig("web"))
        assert [v4] == hosts[by].dig("web.default.svc.cluster.local")
        assert tasks == hosts[by].dig("tasks.web")
        assert ["web.default.seaway."] == hosts[by].dig("-x", v4)
        assert ["0 1 80 web.default.seaway."] == hosts[by].dig("_http._tcp.web", "SRV")
    first.seaway("detach", "web-1")
    for by in ("anna", "carl"):
        assert wait(lambda by=by: tasks != hosts[by].dig("tasks.web"))


def test_nothing_but_names_is_there_at_its_address(hosts):
    probe = f": < /dev/tcp/{RESOLVER}/22"
    assert hosts["anna"].call("timeout", "1", "bash", "-c", probe).returncode
    assert hosts["anna"].call("ping", "-c1", "-W1", RESOLVER).returncode


def test_other_names_are_asked_of_the_hosts_servers(hosts):
    assert ["192.0.2.80"] == hosts["anna"].dig("www.example.test")
    assert ["192.0.2.80", "www.example.test."] == hosts["anna"].dig("web.example.test")
    assert "NXDOMAIN" == hosts["anna"].code("www.example.org")
    assert 2000 < len("".join(hosts["anna"].dig("long.example.test", "TXT")))  # too long for UDP

    host = hosts["anna"].host
    host.write(Path("/etc/resolv.conf"), f"nameserver {RESOLVER}\nnameserver 198.18.0.99\n")
    assert "SERVFAIL" == hosts["anna"].code("new.example.test", "+timeout=9")
    assert ["192.0.2.80"] == hosts["anna"].dig("www.example.test")  # it is remembered
    host.write(Path("/etc/resolv.conf"), f"nameserver {hosts.lab.world.address4}\n")
    assert "NOERROR" == hosts["anna"].code("www.example.test", "AAAA")


def test_a_flood_of_one_container_leaves_answers_for_others(hosts):
    """Of questions for names of ours, for others', and of what is no question at all."""
    before = pid_of(hosts["anna"].host)
    floods = [hosts["bert"].popen(sys.executable, "-c", FLOOD, RESOLVER) for _ in range(2)]
    try:
        assert all(flood.stdout.readline() == "floods\n" for flood in floods)
        for _ in range(5):
            assert hosts.addresses("carl")[:1] == hosts["anna"].dig("carl")
            assert ["192.0.2.80"] == hosts["anna"].dig("web.example.test", "+tcp")[:1]
    finally:
        for flood in floods:
            flood.kill()
            flood.communicate()
    assert before == pid_of(hosts["anna"].host)


def test_names_die_with_their_endpoint_on_all_hosts(
    hosts: Hosts, sharp: bool, tell: Callable[[str], None]
):
    """Its own, and that by which a service tells its backends."""
    first = hosts.lab.hosts[0]
    first.seaway("service", "create", "short", "--port=80", "--selector=app=short")
    spans: dict[str, list[float]] = {"anna": [], "carl": []}
    for i in range(5):
        hosts.attach(first, f"mayfly{i}", "default", "--label=app=short")
        address, *_ = hosts.addresses(f"mayfly{i}")
        names_of_it = (f"mayfly{i}.default.seaway", "tasks.short.default.seaway")
        for by, name in product(spans, names_of_it):
            assert wait(lambda by=by, name=name, at=[address]: at == hosts[by].dig(name))
        watch = (sys.executable, "-c", WATCH, RESOLVER, address, *names_of_it)
        watching = {by: hosts[by].popen(*watch) for by in spans}
        assert all(w.stdout.readline() == "there\n" for w in watching.values())
        began = float(first.run(sys.executable, "-c", DETACH, f"mayfly{i}"))
        for by, process in watching.items():
            spans[by].append(float(process.communicate(timeout=60)[0]) - began)
    first.seaway("service", "rm", "short")
    told = {by: f"{sorted(s)[2] * 1000:.0f} ms ({max(s) * 1000:.0f})" for by, s in spans.items()}
    tell(f"names were gone after, of five: {told}")
    assert max(max(s) for s in spans.values()) < (PROMISED if sharp else LATE)


def test_it_answers_while_the_agent_is_dead_and_after_its_own_restart(hosts):
    host, anna = hosts["anna"].host, hosts["anna"]
    expected = hosts.addresses("carl")[:1]
    host.kill_agent()
    assert expected == anna.dig("carl")
    host.run("kill", "-TERM", str(pid_of(host)))
    host.wait_for("its end", lambda: not anna.dig("carl"))
    started = host.popen(SEAWAY, "dns", stderr=subprocess.DEVNULL)
    try:
        assert wait(lambda: expected == anna.dig("carl"))
        host.start_agent()
        assert expected == anna.dig("carl")  # the agent adopts it
    finally:
        started.kill()
        started.wait()
    assert wait(lambda: expected == anna.dig("carl"))  # and starts another one
    before = pid_of(host)
    host.run("kill", "-KILL", str(before))
    assert wait(lambda: expected == anna.dig("carl"))
    assert before != pid_of(host)


def test_one_of_another_build_gives_way_to_ours_and_one_of_ours_stays(hosts):
    host, anna = hosts["anna"].host, hosts["anna"]
    assert wait(lambda: anna.dig("carl"))
    before = pid_of(host)
    host.write(names.RESOLVER_PID_FILE.with_suffix(".build"), f"{before} 0.0.1\n")
    assert wait(lambda: before != pid_of(host), 30)
    assert wait(lambda: anna.dig("carl"))
    ours = pid_of(host)
    assert ours == int(host.read(names.RESOLVER_PID_FILE.with_suffix(".build")).split()[0])
    host.kill_agent()
    host.start_agent()
    assert ours == pid_of(host)


def test_uninstall_leaves_nothing_of_it(hosts):
    host = hosts["anna"].host
    host.seaway("uninstall", "--force", "--yes")
    shown: Any = host.run("ip", "-br", "addr", "show", "lo")
    assert RESOLVER not in shown
    assert "" == host.run("ss", "-Hlnu", f"src {RESOLVER}")
