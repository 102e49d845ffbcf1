"""The kernel objects that Seaway wants: what the derivations give and the targets put.

A target reads back exactly the fields that take part in comparison; what it cannot see from
the host (the inside of a container) is excluded with `compare=False`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from seaway.model.addresses import Address, Interface, Prefix
from seaway.model.facts import ExtraRoute
from seaway.model.ports import Span
from seaway.names import OVERLAY_MAC

# Of an endpoint's device, seen from the host: the program that stands there.
HOOKS: Final = {"ingress": "from_endpoint", "egress": "to_endpoint"}
# Of an uplink.
UPLINK_HOOKS: Final = {"ingress": "from_wire"}
# Of the overlay's device.
OVERLAY_HOOKS: Final = {"ingress": "from_overlay", "egress": "to_overlay"}
# Of both ends of a shaper.
SHAPER_HOOKS: Final = {"ingress": "from_shaper"}
# Of sockets, in the root of the host's cgroups: programs are called as their hooks. The first
# counts down what the others count up.
SOCKET_HOOKS: Final = (
    "sock_release",
    *(
        f"{hook}{family}"
        for hook in ("connect", "sendmsg", "recvmsg", "getpeername")
        for family in (4, 6)
    ),
)
SWEEP: Final = "sweep"  # a program of no hook: the agent runs it
DOCKER_CHAIN: Final = "DOCKER-USER"  # which Docker asks first, and leaves alone
DOCKER_BRIDGES: Final = "DOCKER"  # which it asks about what goes to one of its bridges
FIREWALLD: Final = "firewalld"
TRUSTED: Final = "trusted"  # its zone that accepts all


@dataclass(frozen=True, slots=True)
class Inside:
    """What an endpoint's interface looks like inside its container."""

    netns: str
    netns_inode: int
    name: str
    mac: str
    addresses: tuple[Interface, ...]
    default_route: bool
    routes: tuple[ExtraRoute, ...]
    netns_cookie: int = 0  # 0: the inode has to do
    own_way: bool = False  # what its addresses send leaves by it, wherever the default route leads


@dataclass(frozen=True, slots=True)
class Link:
    """An endpoint's veth pair. Key: the host side's name."""

    name: str
    mac: str  # of the host side: names.GATEWAY_MAC
    mtu: int
    inside: Inside | None = field(default=None, compare=False)
    arp: bool = False  # the host side asks for neighbours: never, as to_endpoint writes the MAC


@dataclass(frozen=True, slots=True)
class Vxlan:
    """The device of the overlay: programs say whom each packet is for. Key: its name."""

    name: str
    mtu: int
    port: int  # UDP
    mac: str = OVERLAY_MAC
    arp: bool = False  # it asks for no neighbours
    external: bool = True  # programs give each packet its destination
    bare6: bool = True  # IPv6 may carry it without a checksum of UDP, both ways


@dataclass(frozen=True, slots=True)
class Shaping:
    """A bucket of tokens, as the kernel has it (tbf)."""

    rate: int  # bytes a second
    burst: int  # in which time the rate gives as much; in 64 ns
    queue: int  # bytes that may wait


@dataclass(frozen=True, slots=True)
class Shaper:
    """The pair of devices by which a limited endpoint's packets go. Key: the endpoint's link."""

    name: str  # the endpoint's link
    mtu: int
    into: Shaping | None  # of what goes into its container; None: not limited
    out: Shaping | None
    whole: bool = True  # both ends are there, set up, with our program behind them


@dataclass(frozen=True, slots=True)
class Attachment:
    """One of our programs on one hook of one device. Key: (device, hook).

    The target also sets the device up, once the programs of both its hooks are attached: no
    packet moves before.
    """

    device: str
    ifindex: int
    hook: str  # one of HOOKS, or of OVERLAY_HOOKS: their names are the same
    program: str


@dataclass(frozen=True, slots=True)
class Uplink:
    """Our program on a device of the host's by which others reach it. Key: the device's name."""

    device: str
    ifindex: int
    program: str = UPLINK_HOOKS["ingress"]


@dataclass(frozen=True, slots=True)
class SocketHook:
    """Our program on one hook of the host's sockets. Key: the hook."""

    hook: str  # one of SOCKET_HOOKS
    program: str = "ours"  # or what was found in its place


@dataclass(frozen=True, slots=True)
class Pin:
    """What keeps a map or a program in the kernel without us. Key: the name."""

    name: str  # a map's, or programs/ and a program's
    holds: str = "ours"  # or what was found in its place


@dataclass(frozen=True, slots=True)
class HostAddress:
    """This host's own address in the cluster, on `lo` (ifa_proto is ours). Key: the address."""

    address: Address


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the host's main table. Key: dst.

    device "" = unreachable: an address of ours that no endpoint has.
    """

    dst: Prefix
    device: str
    source: Address | None = None


@dataclass(frozen=True, slots=True)
class Masquerade:
    """Our whole nftables table. Key: 'table'."""

    sources: tuple[Prefix, ...]  # subnets of the networks that masquerade
    inside: tuple[Prefix, ...]  # every subnet of ours: never masqueraded to
    # What comes from below 1024 goes out by the spans below it, all else by the others; of no
    # span the kernel chooses itself. In order.
    ports: tuple[Span, ...] = ()
    untracked: int = 0  # UDP port of the overlay, of which conntrack keeps nothing; 0: no overlay


@dataclass(frozen=True, slots=True)
class Sysctl:
    """Key: the name, e.g. net.ipv4.ip_forward."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Reserved:
    """Ports from which the kernel sends nothing that others have not bound. Key: 'ports'."""

    ports: str  # as the kernel writes them: 53,8080,20000-20999
    gone: str = field(default="", compare=False)  # of ours, and perhaps there still


@dataclass(frozen=True, slots=True)
class Accept:
    """Rules of ours in another firewall, nearly all accepts. Key: (program, chain or zone)."""

    # In the words of iptables, in their order: conditions, with a target where it is no accept.
    rules: tuple[str, ...]
