"""What the agent tells `routed`, and is told by it.

`Orders` is a file that the agent replaces in one step. The rest are lines of JSON on a socket of
`routed`'s: a question, then what it says.
"""

from __future__ import annotations

from typing import Final, Literal

from seaway.model.addresses import Address, Prefix
from seaway.model.facts import Path, Probes, Routing, Value
from seaway.model.reports import BlackHole, RouteReport

ORDERS_KEY: Final = "routed"  # of the one object of its kind


class Member(Value):
    """Another host of the cluster, by what its record says."""

    name: str
    number: int
    underlay: tuple[Address, ...]  # where it is reached: at most one a family
    key: str = ""  # SHA-256 of its public key, hex; empty: any that the CA vouches for


class Orders(Value):
    """All that a host's `routed` has to know from others."""

    host: str
    number: int
    underlay: tuple[Address, ...]  # where others reach it
    members: tuple[Member, ...] = ()
    segments: tuple[Prefix, ...] = ()  # of the underlay: hosts with an address there are next door
    # pass on what is for others: not while this host drains, nor where nothing is encapsulated
    relay: bool = True
    routings: tuple[Routing, ...] = ("hops",)  # by which hosts meet; and those of networks
    probes: Probes = "default"


class Question(Value):
    """One line to `routed`. `paths` and `numbers` are answered by one line for each routing now and
    one for each change; the others by one.
    """

    ask: Literal["paths", "numbers", "routes", "status", "apart"]
    to: str = ""  # routes: one host; empty: all. apart: the host without which
    routing: Routing = "hops"  # routes


class Turn(Value):
    """Paths that are otherwise now."""

    routing: Routing
    paths: tuple[Path, ...]
    gone: tuple[str, ...] = ()  # hosts to which there is no path any more
    whole: bool = False  # these are all: what was told before is over


class Numbers(Value):
    """Of the links of this host, by the numbers of the hosts at their other ends: who probes us has
    to know it (bpf/lib/probe.h). These are all.
    """

    numbers: dict[int, int]


class Told(Value):
    """What `routed` told last, as a file: true while it is dead, too."""

    turns: tuple[Turn, ...]  # all paths, of each routing
    numbers: Numbers


class LinkReport(Value):
    """A link as this end sees it."""

    host: str
    up: bool
    rtt: float  # milliseconds
    loss: float  # per cent
    cost: int  # microseconds, as announced
    session: bool  # with which link state is exchanged
    holes: tuple[BlackHole, ...] = ()  # as each end says of what it sends


class RoutedReport(Value):
    """How `routed` is; of a host that needs none, nothing but its name."""

    host: str
    links: tuple[LinkReport, ...] = ()
    hosts: int = 0  # that are heard of
    refused: dict[str, int] = {}  # of who does not mean well: messages, probes; by what was wrong
    computed: int = 0  # times
    took: float = 0.0  # milliseconds, the last time


class Routes(Value):
    routes: tuple[RouteReport, ...]


class Apart(Value):
    """Hosts that reach those of another group through one host alone; empty: there are none."""

    groups: tuple[tuple[str, ...], ...] = ()
