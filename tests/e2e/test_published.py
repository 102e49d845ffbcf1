"""Published ports of a real agent: asked from another host, from the host itself, from containers.

┌────────────── host1 ──────────────┐
│ ┌─ web ──┐  ┌─ other ─┐           │      ┌── host2 ──┐
│ │ 80     │  │         │  8080 eth0┼─wire─┼─ eth0     │
│ └────────┘  └─────────┘           │      └───────────┘
└───────────────────────────────────┘
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.e2e.conftest import Bare, OneHost

from seaway.lab import Lab, LabHost
from seaway.lab.hosts import SEAWAY

ASKING, HOLDING = (str(Path(__file__).parents[1] / f"{name}.py") for name in ("asking", "holding"))
CASES = pytest.mark.parametrize("case", ["tcp", "udp", "connected"])
PORT, BACKEND = "8080", "80"
BRIDGE = """
ip link add br0 type bridge; ip addr add 192.0.2.1/24 dev br0; ip link set br0 up
ip link add there type veth peer name eth0 netns $0; ip link set there master br0 up
in="ip -n $0"; $in link set lo up; $in link set eth0 up; $in addr add 192.0.2.2/24 dev eth0
$in route add default via 192.0.2.1
"""
REFUSED = "ECONNREFUSED"


@dataclass(frozen=True)
class Scene:
    one: OneHost
    outside: LabHost
    web: Bare
    other: Bare

    @property
    def public(self) -> tuple[str, str]:
        host = self.one.host
        return str(host.address4), str(host.address6)

    def of_host(self, family: int) -> str:
        return str(self.one.told("status")["addresses"][family])


def ask(who: LabHost | Bare, case: str, address: str, port: str = PORT) -> object:
    return json.loads(who.run(sys.executable, ASKING, case, address, port))


@pytest.fixture(scope="module")
def scene(make_module_lab: Callable[..., Lab]) -> Iterator[Scene]:
    lab = make_module_lab(hosts=2)
    host, outside = lab.hosts
    host.start_agent()
    one = OneHost(host)
    for tables in ("iptables", "ip6tables"):
        host.run(tables, "-P", "FORWARD", "DROP")
    web = one.attach("web", "default", "-p", f"{PORT}:{BACKEND}", "-p", f"{PORT}:{BACKEND}/udp")
    other = one.attach("other")
    with web.telling(BACKEND), other.telling(BACKEND):
        yield Scene(one, outside, web, other)


@CASES
def test_another_host_reaches_it_and_is_seen_with_its_own_address(scene, case):
    for public, own in zip(
        scene.public, (scene.outside.address4, scene.outside.address6), strict=True
    ):
        assert [str(own), public] == ask(scene.outside, case, public)


@CASES
def test_the_host_itself_reaches_it_by_every_address_and_takes_that_for_the_answerer(scene, case):
    four, six = scene.public
    ways = {"127.0.0.1": 0, "127.9.9.9": 0, four: 0, scene.of_host(0): 0}
    ways |= {"::1": 1, six: 1, scene.of_host(1): 1, "::ffff:127.0.0.1": 0, f"::ffff:{four}": 0}
    for address, family in ways.items():
        assert [scene.of_host(family), address] == ask(scene.one.host, case, address), address


def test_a_socket_that_is_bound_to_the_loopback_address_cannot_ask_a_published_port(scene):
    """The backend is no place for an answer to that; bound to another address it can."""
    host, (four, six) = scene.one.host, scene.public
    told = {address: ask(host, "bound", address) for address in ("127.0.0.1", "::1", four, six)}
    expected = {"127.0.0.1": "EINVAL", "::1": "TimeoutError", four: [four, four], six: [six, six]}
    assert expected == told


def test_a_socket_that_is_connected_elsewhere_forgets_whom_it_asked(scene):
    for address in ("127.0.0.1", "::1"):
        assert ["q", address] == ask(scene.one.host, "again", address)


@CASES
def test_neighbours_and_the_container_itself_reach_it(scene, case):
    for family, public in enumerate(scene.public):
        assert [scene.other.addresses()[family], public] == ask(scene.other, case, public)
        assert [scene.of_host(family), public] == ask(scene.web, case, public)


@pytest.mark.parametrize("case", ["tcp", "connected"])
def test_a_port_that_is_not_published_is_refused(scene, case):
    for public in scene.public:
        assert REFUSED == ask(scene.outside, case, public, "8081")


def test_a_port_may_be_published_on_one_address_alone(scene):
    four, six = scene.public
    for mapping in (f"{four}:8090:80", f"[{six}]:8091:80", "127.0.0.1:8092:80", "[::1]:8093:80"):
        scene.one.seaway("endpoint", "publish", "other", mapping)
    try:
        assert str(scene.outside.address4) == ask(scene.outside, "tcp", four, "8090")[0]
        assert REFUSED == ask(scene.outside, "tcp", six, "8090")
        assert str(scene.outside.address6) == ask(scene.outside, "tcp", six, "8091")[0]
        assert REFUSED == ask(scene.outside, "tcp", four, "8091")
        for public, port, loopback in ((four, "8092", "127.0.0.1"), (six, "8093", "::1")):
            assert REFUSED == ask(scene.outside, "tcp", public, port)
            assert loopback == ask(scene.one.host, "tcp", loopback, port)[1]
    finally:
        for mapping in (
            f"{four}:8090:80",
            f"[{six}]:8091:80",
            "127.0.0.1:8092:80",
            "[::1]:8093:80",
        ):
            scene.one.seaway("endpoint", "unpublish", "other", mapping)


@pytest.mark.parametrize("first", ["a bridge of others", "a network of ours"])
def test_a_port_is_reached_by_an_interface_that_has_not_the_default_route(scene, first):
    host, name = scene.one.host, f"two{len(first)}"
    two = scene.one.container(name)
    if first == "a bridge of others":
        host.run("sh", "-ec", BRIDGE, name)
    else:
        scene.one.seaway("attach", name, "--name", name)
    scene.one.seaway("network", "create", name)
    as_second = ("--interface", "eth1", "--name", "second", "--network", name)
    scene.one.seaway("attach", name, *as_second, "-p", f"8185:{BACKEND}")
    with two.telling(BACKEND):
        for who, mine in ((scene.outside, scene.outside.address4), (scene.other, None)):
            for public in scene.public:
                told = ask(who, "tcp", public, "8185")
                assert mine is None or ":" in public or str(mine) == told[0]
        assert scene.public[0] == ask(host, "tcp", scene.public[0], "8185")[1]
        assert "127.0.0.1" == ask(host, "tcp", "127.0.0.1", "8185")[1]
    scene.one.seaway("detach", f"{name}/second")


def test_a_port_of_a_process_is_refused_with_its_name_and_nothing_is_changed(scene):
    before = scene.one.state()
    with scene.one.host.popen("busybox", "nc", "-l", "-p", "7070", stdin=subprocess.PIPE) as taken:
        try:
            scene.one.host.wait_for("its port", lambda: "7070" in scene.one.host.run("ss", "-ltn"))
            refused = scene.one.host.call(SEAWAY, "endpoint", "publish", "other", "7070:80")
        finally:
            taken.kill()
    assert refused.returncode
    assert "7070/tcp is taken by busybox (process" in refused.stderr
    assert before == scene.one.state()
    again = scene.one.host.call(SEAWAY, "endpoint", "publish", "other", f"{PORT}:80")
    assert "'web'" in again.stderr


def test_a_port_that_a_rule_of_others_leads_elsewhere_is_refused_and_doctor_names_a_later_one(
    scene,
):
    host, web = scene.one.host, scene.one.told("endpoint", "inspect", "web")["endpoint"]
    rule = ("PREROUTING", "-p", "tcp", "--dport")
    there = ("-j", "DNAT", "--to-destination", f"{web['addresses'][0].partition('/')[0]}:80")
    host.run("iptables-nft", "-t", "nat", "-A", *rule, "8186", *there)
    refused = host.call(SEAWAY, "endpoint", "publish", "other", "8186:80")
    host.run("iptables-nft", "-t", "nat", "-D", *rule, "8186", *there)
    scene.one.seaway("endpoint", "publish", "other", "8186:80")
    host.run("iptables-nft", "-t", "nat", "-A", *rule, "8186", *there)
    told = json.loads(host.call(SEAWAY, "doctor", "-o", "json").stdout)
    host.run("iptables-nft", "-t", "nat", "-D", *rule, "8186", *there)
    scene.one.seaway("endpoint", "unpublish", "other", "8186:80")

    chain = "a rule of chain PREROUTING (iptables-nft)"
    assert f"port 8186/tcp is taken by {chain}" in refused.stderr
    (found,) = [f["found"] for f in told if f["check"] == "ports"]
    assert f"8186:80/tcp led elsewhere by {chain} too" == found


SOURCES = """
import socket, sys
for family, address in zip((socket.AF_INET, socket.AF_INET6), sys.argv[1:]):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(family, kind) as client:
            client.setblocking(False)
            client.connect_ex((address, 7000))
            print(client.getsockname()[1])
"""
RANGE, RESERVED = "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports"


def sysctl(host: LabHost, name: str, value: str = "") -> str:
    return host.run("sysctl", "-n", *(["-w"] if value else []), f"{name}{value}").strip()


def test_nothing_leaves_the_host_from_a_published_port(scene):
    host, ports = scene.one.host, ("40000-40007:1-8", "40009:9")
    before = sysctl(host, RANGE).replace("\t", " ")
    scene.one.seaway("endpoint", "publish", "other", *ports)
    sysctl(host, RANGE, "=40000 40009")
    try:
        addresses = (str(scene.outside.address4), str(scene.outside.address6))
        told = host.run(sys.executable, "-c", SOURCES, *addresses).split()
        assert ["40008"] * 4 == told
        rules = host.run("nft", "list", "chain", "inet", "seaway", "leave")
        spans = [(int(a), int(b)) for a, b in re.findall(r"masquerade to :(\d+)-(\d+)", rules)]
        assert 3 <= len(spans)
        taken = (int(PORT), *range(40000, 40008), 40009)
        assert [] == [p for p in taken for first, last in spans if first <= p <= last]
    finally:
        sysctl(host, RANGE, f"={before}")
        scene.one.seaway("endpoint", "unpublish", "other", *ports)


def test_ports_that_others_reserve_stay_reserved(scene):
    host = scene.one.host

    def becomes(expected: str) -> None:
        host.wait_for(expected, lambda: expected == sysctl(host, RESERVED))

    assert PORT == sysctl(host, RESERVED)
    sysctl(host, RESERVED, "=5000")  # by somebody who does not know of us
    becomes(f"5000,{PORT}")
    told = {d["target"]: d for d in scene.one.told("status")["drift"]}
    assert ("ports none", f"ports {PORT}") == tuple(
        told["reserved"][k] for k in ("found", "expected")
    )
    scene.one.seaway("endpoint", "publish", "other", "9090-9099:90-99")
    becomes(f"5000,{PORT},9090-9099")
    scene.one.seaway("endpoint", "unpublish", "other", "9090-9099:90-99")
    becomes(f"5000,{PORT}")

    scene.one.host.kill_agent()
    sysctl(host, RESERVED, f"=5000,6000,{PORT}")
    scene.one.host.start_agent()
    assert f"5000,6000,{PORT}" == sysctl(host, RESERVED)
    sysctl(host, RESERVED, f"={PORT}")
    scene.one.seaway("endpoint", "publish", "other", "9090:90")
    scene.one.seaway("endpoint", "unpublish", "other", "9090:90")
    assert PORT == sysctl(host, RESERVED)


LISTING = """
from pathlib import Path
from seaway.bpf import abi, syscall
from seaway.bpf.table import Table
(pin,) = Path("/sys/fs/bpf/seaway").glob("*/publications")
for _, value in Table(syscall.pinned(pin)).elements():
    print(abi.Publication.unpack(value).flags & abi.PUBLICATION_SOLE)
"""


def test_dockers_bridge_makes_no_answer_uncertain(scene):
    """Others know the host by one address of each family, whatever its own containers say."""
    host = scene.one.host

    def sole() -> list[str]:
        return host.run(sys.executable, "-c", LISTING).split()

    assert ["1"] * 4 == sole()
    for command in (
        "ip link add docker0 type bridge",
        "ip addr add 172.17.0.1/16 dev docker0",
        "ip addr add fd00:17::1/64 dev docker0 nodad",
        "ip link add veth1 type veth peer name veth2",
        "ip link set veth1 master docker0",
        *(f"ip link set {device} up" for device in ("docker0", "veth1", "veth2")),
    ):
        host.run(*command.split())
    try:
        host.run("ip", "addr", "add", "198.18.0.99/32", "dev", "eth0")
        host.wait_for("the other address", lambda: ["0", "0", "1", "1"] == sorted(sole()))
        host.run("ip", "addr", "del", "198.18.0.99/32", "dev", "eth0")
        host.wait_for("its end", lambda: ["1"] * 4 == sole())

        def pinned() -> set[str]:
            return {*host.run("ls", "/sys/fs/bpf/seaway/uplinks").split()}

        host.wait_for("programs", lambda: {"docker0-ingress", "eth0-ingress"} <= pinned())
        assert "veth1-ingress" not in pinned()
    finally:
        host.run("ip", "link", "del", "docker0")
        host.run("ip", "link", "del", "veth1")


@contextmanager
def holding(host: LabHost, address: str, port: str) -> Iterator[Callable[[], str]]:
    """A socket of the host that stays connected; what it hears when it asks."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with host.popen(sys.executable, HOLDING, address, port, **pipes) as client:

        def ask_again() -> str:
            client.stdin.write("\n")
            client.stdin.flush()
            return client.stdout.readline().strip()

        try:
            yield ask_again
        finally:
            client.kill()


ENDED = "EDESTADDRREQ"  # it is connected with nobody any more


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "198.18.0.11"])
def test_a_socket_of_the_host_that_stays_connected_ends_with_the_port_that_it_asked(scene, address):
    host, mapping = scene.one.host, "53:80/udp"
    family = int(address == "::1")
    backend = scene.other.addresses()[family]
    scene.one.seaway("endpoint", "publish", "other", mapping, "54:80/udp")
    with (
        holding(host, address, "53") as asker,
        holding(host, address, "54") as another,
        holding(host, backend, BACKEND) as direct,
    ):
        answer = scene.of_host(family)
        assert [answer] * 3 == [asker(), another(), direct()]
        scene.one.seaway("endpoint", "unpublish", "other", mapping)
        assert [ENDED, answer, answer] == [asker(), another(), direct()]
    scene.one.seaway("endpoint", "unpublish", "other", "54:80/udp")


def test_a_socket_ends_where_its_port_leads_to_another_container(scene):
    """The first one ends, and the next has its port before anybody asks again."""
    host, mapping = scene.one.host, "53:80/udp"
    scene.one.attach("first", "default", "-p", mapping)
    with holding(host, "127.0.0.1", "53") as asker:
        assert REFUSED == asker()  # nobody listens in `first`
        scene.one.seaway("detach", "first")
        scene.one.seaway("endpoint", "publish", "other", mapping)
        assert ENDED == asker()
    with holding(host, "127.0.0.1", "53") as asker:
        assert scene.of_host(0) == asker()
    scene.one.seaway("endpoint", "unpublish", "other", mapping)


DYING = """
import asyncio
from pathlib import Path
from msgspec.structs import replace
from seaway import names
from seaway.bpf import abi, syscall
from seaway.bpf.table import Table
from seaway.facts import Facts
from seaway.model.facts import Endpoint
from seaway.records import Records
from seaway.store.sqlite import SqliteStore

async def forget():
    store, facts = SqliteStore(names.STORE_FILE), Facts(())
    records = Records(store, facts)
    await records.load()
    (found,) = [e for e in facts.all(Endpoint) if e.name == "other"]
    await records.commit([replace(found, ports=())])
    await store.close()

asyncio.run(forget())
(pin,) = Path("/sys/fs/bpf/seaway").glob("*/publications")
table = Table(syscall.pinned(pin))
table.delete([k for k, _ in table.elements() if abi.PortKey.unpack(k).port == bytes((0, 53))])
"""


def test_an_agent_ends_the_sockets_that_one_before_it_had_to_end(scene):
    """It died between the end of a publication and theirs."""
    host = scene.one.host
    scene.one.seaway("endpoint", "publish", "other", "53:80/udp")
    answer = scene.of_host(0)
    with holding(host, "127.0.0.1", "53") as asker, holding(host, "127.0.0.1", PORT) as stays:
        assert [answer] * 2 == [asker(), stays()]
        host.kill_agent()
        host.run(sys.executable, "-c", DYING)
        assert [answer] * 2 == [asker(), stays()]
        host.start_agent()
        assert [ENDED, answer] == [asker(), stays()]


def test_it_is_reached_while_no_agent_lives_and_by_the_next_one(scene):
    scene.one.host.kill_agent()
    for public in scene.public:
        assert str(public) == ask(scene.outside, "tcp", public)[1]
        assert "::1" == ask(scene.one.host, "tcp", "::1")[1]
    scene.one.host.start_agent()
    assert 0 == scene.one.told("status")["drift_total"]
    assert "::1" == ask(scene.one.host, "udp", "::1")[1]


def test_a_program_and_a_socket_hook_that_are_taken_away_come_back(scene):
    folder = Path("/sys/fs/bpf/seaway")
    told = len(scene.one.told("status")["drift"])
    scene.one.host.run("sh", "-c", f"rm {folder}/uplinks/* {folder}/sockets/*")
    scene.one.host.wait_for(
        "their repair", lambda: len(scene.one.told("status")["drift"]) >= told + 9
    )
    assert {"uplinks", "sockets"} <= {d["target"] for d in scene.one.told("status")["drift"]}
    asked = [(scene.outside, public) for public in scene.public]
    for who, address in (*asked, (scene.one.host, "127.0.0.1")):
        # It is told first, and put back then.
        who.wait_for("an answer", lambda w=who, a=address: [a] == ask(w, "tcp", a)[1:])


def test_a_thousand_ports_are_published_at_once(scene):
    several = "20000-20998:20000-20998"
    scene.one.seaway("endpoint", "publish", "other", several, "20999:80")
    try:
        ports = scene.one.told("endpoint", "inspect", "other")["endpoint"]["ports"]
        assert 1000 == len([p for p in ports if p["host_port"] >= 20000])
        assert str(scene.outside.address4) == ask(scene.outside, "tcp", scene.public[0], "20999")[0]
    finally:
        scene.one.seaway("endpoint", "unpublish", "other", several, "20999:80")
    assert REFUSED == ask(scene.outside, "tcp", scene.public[0], "20999")
