"""The wire between lab hosts: a bridge in a namespace of its own, and who is where on it.

Host n has 198.18.0.(10 + n) and fd53:5759::(10 + n), the world 198.18.0.1 and fd53:5759::1.
Link-local addresses end likewise: made by hand, they need no detection of duplicates, and a host
is as it stays when `up` returns.
No route leads out of a lab; only the world, where there is one, is a default gateway, and it
answers for two documentation addresses that stand for the internet.
"""

from __future__ import annotations

import subprocess
from ipaddress import IPv4Interface, IPv6Interface
from typing import NamedTuple

NETWORK4, NETWORK6 = "198.18.0.{}/24", "fd53:5759::{}/64"
WORLD = 1
FIRST_HOST = 11
MOST_HOSTS = 200
INTERNET = ("203.0.113.1/32", "2001:db8:ffff::1/128")


class WireAddresses(NamedTuple):
    """The addresses of one host on the wire."""

    address4: IPv4Interface
    address6: IPv6Interface


def place(number: int) -> WireAddresses:
    return WireAddresses(
        IPv4Interface(NETWORK4.format(number)), IPv6Interface(NETWORK6.format(number))
    )


def build(wire: int) -> None:
    """Make the bridge in the namespace of process `wire`."""
    _ip(wire, "link add wire type bridge mcast_snooping 0", "link set wire up")


def connect(wire: int, host: int, port: str, where: WireAddresses, mac: str = "") -> None:
    """Give the host of process `host` its uplink eth0, whose other end is `port` of the bridge.
    `mac`: that it has; empty: any.
    """
    address = f" address {mac}" if mac else ""
    _ip(
        wire,
        f"link add {port} type veth peer name eth0{address} netns {host}",
        f"link set {port} master wire up",
    )
    _ip(
        host,
        "link set eth0 addrgenmode none up",
        f"addr add fe80::{where.address4.ip.packed[-1]}/64 dev eth0 nodad",
        f"addr add {where.address4} dev eth0",
        f"addr add {where.address6} dev eth0 nodad",
    )


def be_the_world(world: int) -> None:
    _ip(world, *(f"addr add {address} dev lo" for address in INTERNET))


def use_the_world(host: int) -> None:
    gateway = place(WORLD)
    _ip(
        host,
        f"-4 route add default via {gateway.address4.ip}",
        f"-6 route add default via {gateway.address6.ip}",
    )


def _ip(process: int, *commands: str) -> None:
    """Run ip(8) in a process's network namespace, without leaving our process namespace."""
    inside = ["nsenter", "--target", str(process), "--net"]
    for command in commands:
        subprocess.run([*inside, "ip", *command.split()], check=True, timeout=60)
