"""A service's port on every host, asked by a client outside, with real packets and offloads on.

The scene is that of `meshed`: by b alone do a and c reach each other, so it relays both ways.
"""

from __future__ import annotations

import errno
import hashlib
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address, ip_network

import pytest

from dataplane import Container, known
from meshed import CLIENT, PORT, Mesh, address_of, forget, meshes
from outside import ANY, answer
from seaway.bpf import abi
from seaway.bpf.table import Table
from seaway.model.addresses import mapped
from serviced import BACKEND, DATAGRAM, STREAM, TCP, port_key
from talk import IP_MTU_DISCOVER, PROBE, error_in_queue, levels, poll_for_error
from waiting import wait
from ways import look_anew
from wired import WiredHost

FAMILIES = pytest.mark.parametrize("family", [4, 6])
KINDS = pytest.mark.parametrize("kind", [STREAM, DATAGRAM], ids=["stream", "datagram"])
ASKED = pytest.mark.parametrize("asked", ["a", "b", "c"])
BOTH = (4, 6)
ALIAS = {4: "198.18.0.99", 6: "fd53::99"}
BESIDE = {4: "203.0.113.99", 6: "2001:db8:99::1"}
SCENES = {
    "cls_bpf": ("cls_bpf", (BOTH, BOTH, BOTH)),
    "by-ipv6": ("tcx", ((6, 4), (6, 4), (6, 4))),
}


@pytest.fixture(scope="module", params=SCENES)
def stood(request: pytest.FixtureRequest) -> Iterator[Mesh]:
    with meshes(*SCENES[request.param]) as made:
        yield made


@pytest.fixture
def mesh(stood: Mesh) -> Iterator[Mesh]:
    yield stood
    stood.withdraw()


def ask(client: socket.socket, address: str, port: int = PORT) -> str:
    """The number of who answers, and whom he takes the client for."""
    client.connect((address, port))
    return again(client)


def again(client: socket.socket) -> str:
    client.send(b"q")
    return client.recv(100).decode()


def asked_of(mesh: Mesh, asked: str, family: int) -> str:
    return address_of(getattr(mesh, asked), family)


@FAMILIES
@KINDS
@ASKED
def test_a_backend_anywhere_answers_and_sees_the_client(mesh, family, kind, asked):
    mesh.publish([mesh.carl])
    with mesh.open(family, kind) as client:
        expected = f"{mesh.carl.number} {CLIENT[family]}"
        assert expected == ask(client, asked_of(mesh, asked, family))
        assert asked_of(mesh, asked, family) == client.getpeername()[0]
        assert expected == again(client)


@FAMILIES
@KINDS
@pytest.mark.parametrize(
    "algorithm",
    [abi.SERVICE_RANDOM, abi.SERVICE_ROUND_ROBIN, abi.SERVICE_LEAST, abi.SERVICE_MAGLEV],
)
def test_all_backends_are_asked(mesh, family, kind, algorithm):
    mesh.publish(mesh.containers, algorithm=algorithm)
    seen = set()
    with ExitStack() as stack:
        for _ in range(60):
            client = stack.enter_context(mesh.open(family, kind))
            seen.add(ask(client, address_of(mesh.a, family)))
            if len(seen) == len(mesh.containers):
                break
    assert {f"{c.number} {CLIENT[family]}" for c in mesh.containers} == seen


@FAMILIES
@pytest.mark.parametrize("algorithm", [abi.SERVICE_RANDOM, abi.SERVICE_MAGLEV])
def test_a_client_of_a_service_with_affinity_has_one_backend(mesh, family, algorithm):
    mesh.publish(mesh.containers, algorithm=algorithm, affinity=100)
    with ExitStack() as stack:
        clients = [stack.enter_context(mesh.open(family, DATAGRAM)) for _ in range(20)]
        assert 1 == len({ask(client, address_of(mesh.a, family)) for client in clients})


@FAMILIES
@KINDS
def test_containers_of_all_hosts_talk_past_services_too(mesh, family, kind):
    for asking, asked in ((mesh.anna, mesh.carl), (mesh.carl, mesh.bert), (mesh.bert, mesh.anna)):
        with asking.socket(family, kind) as client:
            expected = f"{asked.number} {asking.address(family)}"
            assert expected == ask(client, asked.address(family), BACKEND)
            if kind == STREAM:
                client.sendall(bytes(20_000))  # more than one packet takes
                client.shutdown(socket.SHUT_WR)
                heard = "".join(iter(lambda client=client: client.recv(1 << 16).decode(), ""))
                assert heard.count(expected) >= 200


@FAMILIES
@ASKED
def test_a_stream_comes_back_whole(mesh, family, asked):
    content = hashlib.shake_128(b"seaway").digest(1 << 20) * 4
    with echo(mesh, family), mesh.open(family, STREAM) as client:
        client.connect((asked_of(mesh, asked, family), PORT + 1))
        sender = threading.Thread(target=client.sendall, args=(content,))
        sender.start()
        got = bytearray()
        while len(got) < len(content) and (piece := client.recv(1 << 16)):
            got += piece
        sender.join(60)
        assert content == got


@contextmanager
def echo(mesh: Mesh, family: int) -> Iterator[None]:
    """A server of carl's that says back what one client says, at a published port of its own."""
    with mesh.carl.socket(family, STREAM) as server:
        server.bind((ANY[family], BACKEND + 1))
        server.listen(1)
        mesh.publish([mesh.carl], port=PORT + 1, target=BACKEND + 1)
        thread = threading.Thread(target=lambda: answer(server.accept()[0]))
        thread.start()
        yield
        thread.join(60)


@FAMILIES
@pytest.mark.parametrize("asked", ["a", "c"])
def test_a_datagram_in_parts_and_its_answer(mesh, family, asked):
    """What is larger than the way is told so; the next one comes in parts that fit."""
    mesh.publish([mesh.carl], port=PORT + 1, target=BACKEND + 1)
    with mesh.carl.socket(family, DATAGRAM) as server, mesh.open(family, DATAGRAM) as client:
        server.bind((ANY[family], BACKEND + 1))
        client.connect((asked_of(mesh, asked, family), PORT + 1))
        for end in (client, server):
            end.settimeout(0.5)
        assert wait(lambda: comes_back(client, server, 10_000))
        assert comes_back(client, server, 1400)


def comes_back(client: socket.socket, server: socket.socket, size: int) -> bool:
    try:
        client.send(b"q" * size)
        question, sender = server.recvfrom(1 << 16)
        server.sendto(question, sender)
        return client.recv(1 << 16) == b"q" * size
    except (TimeoutError, OSError):
        return False


@FAMILIES
@ASKED
def test_a_stream_lives_on_when_all_have_forgotten_its_flow(mesh, family, asked):
    mesh.publish([mesh.carl])
    with mesh.open(family, STREAM) as client:
        first = ask(client, asked_of(mesh, asked, family))
        for _ in range(5):
            assert sum(forget(host) for host in mesh.hosts) > 0
            assert first == again(client)


@FAMILIES
@ASKED
def test_who_speaks_first_after_its_flow_is_forgotten_ends_no_connection(mesh, family, asked):
    """Nothing tells which host was asked, so it is not sent: masqueraded it would come to the
    client from another port, who ends then what he does not know. His next packet mends it.
    """
    carl = mesh.carl
    with masquerading(mesh.c), listening(mesh, family) as server:
        answers_as(mesh.c, carl, abi.Origin(bytes(16), bytes(2)))
        with mesh.open(family, STREAM) as client:
            client.connect((asked_of(mesh, asked, family), PORT + 1))
            taken, _ = server.accept()
            with taken:
                taken.settimeout(30)
                client.send(b"q")
                assert b"q" == taken.recv(1)
                for host in mesh.hosts:
                    forget(host)
                before = mesh.counted(mesh.c, "no_flow")
                taken.send(b"first")
                assert wait(lambda: mesh.counted(mesh.c, "no_flow") > before)
                client.send(b"q")
                assert b"q" == taken.recv(1)
                assert b"first" == client.recv(5)


@FAMILIES
def test_who_speaks_first_by_the_one_port_that_leads_there_is_heard(mesh, family):
    carl = mesh.carl
    with masquerading(mesh.c), listening(mesh, family) as server:
        asked = asked_of(mesh, "c", family)
        origin = abi.Origin(mapped(ip_address(asked)), (PORT + 1).to_bytes(2, "big"))
        answers_as(mesh.c, carl, origin, family)
        with mesh.open(family, STREAM) as client:
            client.connect((asked, PORT + 1))
            taken, _ = server.accept()
            with taken:
                taken.settimeout(30)
                for _ in range(3):
                    forget(mesh.c)
                    taken.send(b"first")
                    assert b"first" == client.recv(5)
                client.send(b"q")
                assert b"q" == taken.recv(1)


@contextmanager
def listening(mesh: Mesh, family: int) -> Iterator[socket.socket]:
    """A server of carl's that says nothing by itself, at a published port of its own."""
    with mesh.carl.socket(family, STREAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((ANY[family], BACKEND + 1))
        server.listen(1)
        mesh.publish([mesh.carl], port=PORT + 1, target=BACKEND + 1)
        yield server


@contextmanager
def masquerading(host: WiredHost) -> Iterator[None]:
    """What comes from its containers leaves with its own address, as the agent's table has it."""

    def tables(change: str, policy: str) -> None:
        for command in ("iptables", "ip6tables"):
            rule = f"-t nat -{change} POSTROUTING -o eth0 -j MASQUERADE"
            host.place.shell(f"{command} {rule}; {command} -P FORWARD {policy}")

    tables("A", "ACCEPT")
    try:
        yield
    finally:
        tables("D", "DROP")


def answers_as(host: WiredHost, container: Container, origin: abi.Origin, *families: int) -> None:
    """Ports of its that something leads to, where their flow is not known."""
    items = [
        (port_key(container.address(family), BACKEND + 1, TCP).pack(), origin.pack())
        for family in families or (4, 6)
    ]
    assert {} == host.place.run(Table(host.plane.maps["origins"]).update, items)


@FAMILIES
@KINDS
@pytest.mark.parametrize("asked", ["a", "c"])
def test_every_address_of_a_host_answers_as_itself(mesh, family, kind, asked):
    """More of one uplink, and one of another device: the backend is there, or elsewhere."""
    mesh.publish([mesh.carl])
    host: WiredHost = getattr(mesh, asked)
    bits = 24 if family == 4 else 64
    for other, device in ((ALIAS[family], "eth0"), (BESIDE[family], "lo")):
        size = bits if device == "eth0" else ip_address(other).max_prefixlen
        nodad = " nodad" if family == 6 else ""
        host.place.shell(f"ip addr add {other}/{size} dev {device}{nodad}")
        host.put("identities", {ip_network(other): 1})
        mesh.client.run(f"ip route replace {other} via {address_of(host, family)} dev eth0")
    try:
        for address in (ALIAS[family], BESIDE[family], asked_of(mesh, asked, family)):
            with mesh.open(family, kind) as client:
                expected = f"{mesh.carl.number} {CLIENT[family]}"
                assert expected == ask(client, address)
                assert expected == again(client)
                assert address == client.getpeername()[0]
    finally:
        for other, device in ((ALIAS[family], "eth0"), (BESIDE[family], "lo")):
            size = bits if device == "eth0" else ip_address(other).max_prefixlen
            host.place.shell(f"ip addr del {other}/{size} dev {device}")
            mesh.client.run(f"ip route del {other} dev eth0")


@FAMILIES
@ASKED
def test_a_service_without_a_backend_refuses_at_once(mesh, family, asked):
    mesh.publish([])
    refused(mesh, asked_of(mesh, asked, family), family)


@FAMILIES
@ASKED
def test_a_backend_that_is_gone_and_one_that_does_not_listen_refuse_too(mesh, family, asked):
    carl = mesh.carl
    mesh.publish([carl], port=PORT + 1, target=BACKEND + 7)
    refused(mesh, asked_of(mesh, asked, family), family, PORT + 1)
    if asked == "c":
        return
    mesh.publish([carl])
    mesh.c.forget(carl)
    try:
        refused(mesh, asked_of(mesh, asked, family), family)
    finally:
        mesh.c.put("endpoints", known(carl))


def refused(mesh: Mesh, address: str, family: int, port: int = PORT) -> None:
    with mesh.open(family, STREAM) as client, pytest.raises(ConnectionRefusedError):
        client.connect((address, port))
    with mesh.open(family, DATAGRAM) as client:
        client.connect((address, port))
        client.send(b"q")
        with pytest.raises(ConnectionRefusedError):
            client.recv(100)


@FAMILIES
@KINDS
def test_who_asks_a_silent_service_hears_nothing(mesh, family, kind):
    mesh.publish([], flags=abi.SERVICE_SILENT)
    with mesh.open(family, kind) as client:
        before = mesh.counted(mesh.a, "silent")
        client.setblocking(False)
        client.connect_ex((address_of(mesh.a, family), PORT))
        if kind == DATAGRAM:
            client.send(b"q")
        assert wait(lambda: mesh.counted(mesh.a, "silent") > before)
        assert 0 == client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


@FAMILIES
@KINDS
def test_one_port_of_a_client_that_asks_two_hosts_has_two_answers(mesh, family, kind):
    """To the backend they would be one: the second goes on from another port."""
    mesh.publish([mesh.carl])
    with ExitStack() as stack:
        clients = [stack.enter_context(mesh.open(family, kind, 45000)) for _ in range(3)]
        for client, host in zip(clients, mesh.hosts, strict=True):
            assert f"{mesh.carl.number} {CLIENT[family]}" == ask(client, address_of(host, family))
        for client in clients:
            assert f"{mesh.carl.number} {CLIENT[family]}" == again(client)


@FAMILIES
def test_datagrams_leave_a_backend_that_is_none_and_connections_stay(mesh, family):
    mesh.publish([mesh.carl])
    asked = address_of(mesh.a, family)
    with mesh.open(family, STREAM) as stream, mesh.open(family, DATAGRAM) as datagram:
        for client in (stream, datagram):
            assert ask(client, asked).startswith(f"{mesh.carl.number} ")
        mesh.publish([mesh.bert])
        assert again(datagram).startswith(f"{mesh.bert.number} ")
        assert again(stream).startswith(f"{mesh.carl.number} ")
    with mesh.open(family, STREAM) as client:
        assert ask(client, asked).startswith(f"{mesh.bert.number} ")


@FAMILIES
@ASKED
def test_connections_are_counted_where_they_were_asked_until_they_are_over(mesh, family, asked):
    """One is closed by both ends, one is reset. Datagrams are none."""
    mesh.publish([mesh.carl])
    host = getattr(mesh, asked)
    with ExitStack() as stack:
        kinds = (STREAM, STREAM, DATAGRAM)
        one, other, _ = clients = [stack.enter_context(mesh.open(family, kind)) for kind in kinds]
        for client in clients:
            ask(client, address_of(host, family))
        assert {host.number: 2} == mesh.running(mesh.carl)
        assert {} == mesh.running(mesh.bert)
        one.shutdown(socket.SHUT_WR)
        assert b"" == one.recv(100)
        assert wait(lambda: {host.number: 1} == mesh.running(mesh.carl))
        other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        other.close()
        assert wait(lambda: {} == mesh.running(mesh.carl))


@FAMILIES
@ASKED
def test_connections_go_on_when_their_service_is_removed_until_their_time_is_over(
    mesh, family, asked
):
    mesh.publish([mesh.carl])
    with mesh.open(family, STREAM) as client:
        first = ask(client, asked_of(mesh, asked, family))
        mesh.remove()
        assert first == again(client)
        with mesh.open(family, STREAM) as late, pytest.raises(ConnectionRefusedError):
            late.connect((asked_of(mesh, asked, family), PORT))
        assert first == again(client)
        assert {getattr(mesh, asked).number: 1} == mesh.running(mesh.carl)
        mesh.end_drain()
        assert {} == mesh.running(mesh.carl)
        with pytest.raises(ConnectionResetError):
            again(client)


@FAMILIES
def test_who_relays_tells_the_client_what_the_rest_of_the_way_does_not_take(mesh, family):
    mesh.publish([mesh.carl])
    to = mesh.b.carrier(mesh.c)
    overhead = 50 if to.version == 4 else 70
    mesh.b.place.shell(f"ip route add {to} dev eth0 mtu lock 1400")
    look_anew()
    try:
        with mesh.open(family, DATAGRAM) as client:
            level, _, receive = levels(family)
            client.setsockopt(level, IP_MTU_DISCOVER if family == 4 else 23, PROBE)
            client.setsockopt(level, receive, 1)
            client.connect((address_of(mesh.a, family), PORT))
            client.send(b"x" * 1370)
            assert (errno.EMSGSIZE, 1400 - overhead) == error_in_queue(client)
    finally:
        mesh.b.place.shell(f"ip route del {to} dev eth0")
        mesh.client.run("ip route flush cache; ip -6 route flush cache")


@FAMILIES
def test_a_traced_route_shows_the_host_that_was_asked_and_none_behind_it(mesh, family):
    """The hosts have addresses in the cluster that mean nothing outside."""
    mesh.publish([mesh.carl])
    asked = address_of(mesh.a, family)
    level, _, receive = levels(family)
    option = socket.IP_TTL if family == 4 else socket.IPV6_UNICAST_HOPS
    for ttl in (1, 2, 3):
        with mesh.open(family, DATAGRAM) as client:
            client.setsockopt(level, receive, 1)
            client.setsockopt(level, option, ttl)
            client.sendto(b"where", (asked, PORT))
            poll_for_error(client)
            _, ancillary, _, sender = client.recvmsg(200, 512, socket.MSG_ERRQUEUE)
            data, at = ancillary[0][2], 16 + (4 if family == 4 else 8)
            told = data[at : at + (4 if family == 4 else 16)]
            assert (asked, asked) == (socket.inet_ntop(client.family, told), sender[0])


@FAMILIES
@KINDS
def test_endpoints_ask_by_the_address_of_their_host_and_of_others(mesh, family, kind):
    """Of a backend on another host they are seen as the host that they asked."""
    mesh.publish([mesh.carl])
    for container, host in (
        (mesh.anna, mesh.a),
        (mesh.anna, mesh.b),
        (mesh.bert, mesh.a),
        (mesh.carl, mesh.b),
    ):
        with container.socket(family, kind) as client:
            expected = f"{mesh.carl.number} {host.own[family]}"
            assert expected == ask(client, host.own[family])
            assert expected == again(client)
    for container in mesh.containers[:2]:
        with container.socket(family, kind) as client:
            expected = f"{mesh.carl.number} {container.address(family)}"
            assert expected == ask(client, mesh.c.own[family])
    with mesh.carl.socket(family, kind) as client:
        assert f"{mesh.carl.number} {mesh.c.own[family]}" == ask(client, mesh.c.own[family])


@FAMILIES
@KINDS
def test_a_host_asks_another_one_by_its_address_on_the_wire(mesh, family, kind):
    """Its own backend answers it by that way as well."""
    mesh.publish([mesh.carl])
    families = {4: socket.AF_INET, 6: socket.AF_INET6}
    for host in (mesh.b, mesh.c):
        other = mesh.a if host is mesh.b else mesh.b
        with host.place.run(socket.socket, families[family], kind) as client:
            client.settimeout(30)
            expected = f"{mesh.carl.number} {address_of(host, family)}"
            assert expected == ask(client, address_of(other, family))
