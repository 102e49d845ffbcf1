"""What a trace is asked, what one host asks the next of it, and what it tells."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

from seaway.errors import Invalid, Unsupported
from seaway.model import codec
from seaway.model.addresses import Address, mapped, parse_address, unmapped
from seaway.model.facts import Value
from seaway.model.publications import PORT_MOST, PROTOCOLS
from seaway.model.reports import BackendReport

WORLD: Final = "world"  # all addresses that are neither a host's nor an endpoint's
# Who stands for the world: documentation addresses, which nobody has (RFC 5737, RFC 3849).
WORLDLY: Final = (parse_address("203.0.113.1"), parse_address("2001:db8:ffff::1"))
TTL: Final = 64  # with which packets begin
PASSES: Final = 4  # hosts by which a question may come to the one that it is for
WAYS: Final = 16  # of a service's backends that are followed: one of each host
WITHIN: Final = 30_000  # milliseconds that a trace may take

# How a packet came to a host: it begins there, in a carrier, as it is from another host, or from
# outside.
Carried = Literal["", "overlay", "direct", "wire"]
Decision = Literal[
    "deliver",  # into an endpoint
    "host",  # to the host's own sockets
    "send",  # to another host
    "translate",  # to the backend of a published port
    "choose",  # to one of a service's backends: `service` tells to which
    "refuse",  # the socket's connect or send fails at once
    "masquerade",  # it gets the host's own address
    "pass",  # on to the host's stack
    "leave",  # by the host's routes, to the world
    "drop",
    "unknown",  # that host could not be asked; or by the host's routes to one that it does not see
]
# `partly`: some backends of a service are reached, and others are not.
Verdict = Literal["delivered", "left", "dropped", "refused", "partly", "unknown"]

# And the most of each.
_NUMBERS: Final = {"port": PORT_MOST, "ttl": TTL, "within": WITHIN, "ingress": (1 << 24) - 1}
_TARGET = re.compile(r"(?:\[([^\]]*)\]|([^\[\]:]+)):([0-9]{1,5})(?:/([A-Za-z0-9]+))?", re.ASCII)


class Target(NamedTuple):
    """Where a trace is to lead."""

    end: str  # the name of an endpoint or a service, an address, or `world`
    port: int
    protocol: str


class Traced(Value):
    """The first packet of a connection, as it comes to a host."""

    source: Address
    destination: Address
    port: int  # of the destination
    protocol: str  # tcp or udp
    ttl: int = TTL
    carried: Carried = ""
    carrier: Address | None = None  # of another host: where that is in the underlay
    ingress: int = 0  # the number of the host that was asked by a service's port; 0: none was
    by: tuple[str, ...] = ()  # the hosts that passed the question on to the one that it is for
    within: int = WITHIN  # milliseconds in which its asker wants the answer


class Step(Value):
    """What one program, or the host's stack, decides of the packet, and why."""

    host: str
    at: str  # a program of ours (from_endpoint, …); nftables, routes; empty: nobody knows
    source: Address  # of the packet, before that
    destination: Address
    port: int
    decision: Decision
    why: str
    device: str = ""  # by which it comes to an endpoint's program, or leaves the host
    to: str = ""  # an endpoint, a host, an address: who has the packet next
    how: str = ""  # to another host: encapsulated, direct, or routed as the world's is
    mtu: int = 0  # bytes of the largest packet that goes this way; 0: not known
    # Of a drop or a refusal, as docs/drops.md has them; empty: it is not one of ours.
    reason: str = ""
    service: ServiceAsked | None = None  # of a step that chooses: its ways go on, and no other does


class Way(Value):
    """From where a service is asked to one of its backends."""

    host: str  # whose the backend is; empty: nobody's of the cluster
    name: str  # of the backend, as its service knows it; empty: it does not
    address: Address
    port: int
    alike: int = 0  # other backends of this host, which are not followed
    verdict: Verdict = "unknown"
    reason: str = ""
    steps: tuple[Step, ...] = ()


class ServiceAsked(Value):
    """Whom a service leads to from the host that is asked, as its kernel has it now."""

    name: str  # NETWORK/NAME; empty: no record is of this port
    port: str  # that was asked, with its protocol
    algorithm: str
    weighted: bool = False  # the backends that may be chosen have different weights
    affinity: int = 0  # seconds for which a client keeps its backend; 0: he does not
    limit: str = ""  # of connections from this host, and what is open; empty: there is none
    candidates: tuple[BackendReport, ...] = ()
    others: str = ""  # what becomes of those that it does not see
    beyond: int = 0  # hosts with backends that are not followed
    ways: tuple[Way, ...] = ()


class TraceReport(Value):
    source: str  # as it was asked, and its address
    destination: str
    protocol: str
    verdict: Verdict
    reason: str  # of a drop by one of our programs, or of a refusal
    steps: tuple[Step, ...]


class Lead(NamedTuple):
    """How the routes of this host lead to an address."""

    device: str
    mtu: int
    gateway: Address | None = None  # who comes first on the device; None: the address itself
    source: Address | None = None  # which address of its own the host would send from
    known: bool = False  # whether the MAC of whoever comes first is
    local: bool = False  # it is the host's own address


def parse_target(text: str) -> Target:
    """NAME:PORT, ADDRESS:PORT, [IPv6]:PORT, world:PORT, each perhaps with /PROTOCOL."""
    found = _TARGET.fullmatch(text)
    if not found:
        expected = "expected NAME:PORT[/PROTOCOL], ADDRESS:PORT or [IPv6]:PORT, e.g. web/a:80/tcp"
        raise Invalid(f"'{text}' is no port of anybody", expected)
    bracketed, name, port, protocol = found.groups()
    if bracketed is not None:
        parse_address(bracketed)
    return checked(Target(bracketed or name, int(port), (protocol or "tcp").lower()))


def checked(target: Target) -> Target:
    if not 1 <= target.port <= PORT_MOST:
        raise Invalid(f"port {target.port} is out of range", f"expected 1 to {PORT_MOST}")
    if target.protocol not in PROTOCOLS:
        raise Unsupported(f"'{target.protocol}' cannot be traced", "expected tcp or udp")
    return target


def parse_end(text: str) -> Address | None:
    """None: it is no address, so it must be a name."""
    try:
        address = parse_address(text)
    except Invalid:
        return None
    return unmapped(mapped(address))


def to_query(packet: Traced) -> dict[str, str]:
    """As it stands in a URL."""
    fields = codec.to_builtins(packet) | {"by": ",".join(packet.by)}
    return {name: str(value) for name, value in fields.items() if value is not None}


def from_query(query: Mapping[str, str]) -> Traced:
    """What such a URL says, of all that it says; `Undecodable` names the field that is wrong.

    `Invalid`: more hosts are to be asked than any trace of ours asks.
    """
    fields: dict[str, Any] = {n: query[n] for n in Traced.__struct_fields__ if n in query}
    numbers = {n: _number(n, fields[n], most) for n, most in _NUMBERS.items() if n in fields}
    by = [name for name in query.get("by", "").split(",") if name]
    if len(by) > PASSES + 1:
        raise Invalid("the question came by too many hosts", f"expected at most {PASSES + 1}")
    packet = codec.from_builtins(fields | numbers | {"by": by}, Traced)
    checked(Target("", packet.port, packet.protocol))
    return packet


def _number(name: str, text: str, most: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(most))):
        raise Invalid(f"'{text[:40]}' is no number", "expected digits")
    if int(text) > most:
        raise Invalid(f"{name} {text} is out of range", f"expected at most {most}")
    return int(text)
