"""A client outside, the wire to it, and ports of containers published to it."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from ipaddress import ip_address, ip_network

from dataplane import Container, Host
from namespaces import Netns
from seaway.bpf import abi
from seaway.kernel import netns
from seaway.model.addresses import mapped
from seaway.model.kernel import Uplink
from waiting import wait

PUBLIC = {4: "198.51.100.1", 6: "2001:db8:100::1"}
CLIENT = {4: "198.51.100.7", 6: "2001:db8:100::7"}
ANY = {4: "0.0.0.0", 6: "::"}
BACKEND = 7000
TCP, UDP = 6, 17


def opened(space: Netns, family: int, kind: int) -> socket.socket:
    families = {4: socket.AF_INET, 6: socket.AF_INET6}
    made = netns.visit_path(space.path, lambda: socket.socket(families[family], kind))
    made.settimeout(30)
    return made


def wire(host: Host, client: Netns) -> Uplink:
    """The world between, and a host that forwards nothing by its firewall."""
    thread = host.place.run(threading.get_native_id)
    there = f"/proc/{os.getpid()}/task/{thread}/ns/net"
    client.run(f"ip link add eth0 type veth peer name up0 netns {there}")
    client.run(f"ip addr add {CLIENT[4]}/24 dev eth0; ip addr add {CLIENT[6]}/64 dev eth0 nodad")
    client.run("ip link set eth0 up")
    host.place.shell(
        f"ip addr add {PUBLIC[4]}/24 dev up0; ip addr add {PUBLIC[6]}/64 dev up0 nodad; "
        "ip link set up0 up; iptables -P FORWARD DROP; ip6tables -P FORWARD DROP; "
        "iptables -P INPUT DROP; iptables -A INPUT -p icmp -j ACCEPT"
    )
    assert wait(lambda: "state UP" in client.run("ip link show eth0"))
    host.put("identities", {ip_network(a): 1 for a in PUBLIC.values()})
    return Uplink("up0", host.place.run(host.links.ifindex, "up0"))


def publish(host: Host, container: Container, port: int, *, sole: bool) -> None:
    host.put("publications", dict(publications(container, port, sole=sole)))


def publications(
    container: Container, port: int, *, sole: bool
) -> Iterator[tuple[abi.PortKey, abi.Publication]]:
    for family in (4, 6):
        for protocol in (TCP, UDP):
            backend = mapped(ip_address(container.address(family)))
            value = abi.Publication(backend, BACKEND.to_bytes(2, "big"), int(sole))
            yield (
                abi.PortKey(mapped(ip_address(ANY[family])), port.to_bytes(2, "big"), protocol),
                value,
            )


def answer(taken: socket.socket) -> None:
    with taken:
        taken.settimeout(30)
        while piece := taken.recv(1 << 16):
            taken.sendall(piece)
