"""Which of those that may be a service's backends are chosen, on this host.

The rules are those of Kubernetes' Service: KEP-1669 (what terminates), KEP-3015 and KEP-4444 (what
is near), KEP-2086 (Local policies). One thing is added: who cannot be reached comes last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from seaway.model.addresses import Address, mapped
from seaway.model.facts import Endpoint
from seaway.model.services import (
    Distant,
    Distribution,
    EndpointSlice,
    ServicePort,
    SliceEndpoint,
    TrafficPolicy,
)


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """What may be a backend, with all that a choice looks at."""

    id: str  # of an endpoint on its host; of a slice, its name and which of its endpoints
    name: str
    host: str  # where it is; empty: not on a host of the cluster, as far as it was told
    v4: bytes = b""  # as maps have them; empty: it has none
    v6: bytes = b""
    ports: Mapping[str, int] = {}  # by their names
    # Of a slice, by the name and protocol of the service's port; an endpoint has any port.
    named: Mapping[tuple[str, str], int] | None = None
    weight: int = 1
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    drained: bool = False  # by `service drain`; it terminates then, and does not serve
    zone: str = ""
    for_zones: tuple[str, ...] = ()
    for_hosts: tuple[str, ...] = ()
    failing: str = ""  # the check of its service, and why

    @property
    def place(self) -> tuple[str, str]:
        """What tells it from all others."""
        return self.host, self.id

    @property
    def octets(self) -> set[bytes]:
        return {octets for octets in (self.v4, self.v6) if octets}

    def address(self, family: int) -> bytes:
        return self.v4 if family == 4 else self.v6

    def port(self, of: ServicePort) -> int:
        """That a port of the service leads to; 0: it has none."""
        if self.named is not None:
            return self.named.get((of.name, of.protocol), 0)
        return of.target if isinstance(of.target, int) else self.ports.get(of.target, 0)


def of_endpoint(endpoint: Endpoint | Distant) -> Candidate:
    ips = (
        endpoint.addresses
        if isinstance(endpoint, Distant)
        else [interface.ip for interface in endpoint.addresses]
    )
    octets = _first_of_each(ips)
    ready = endpoint.ready and not endpoint.draining  # drained, it does not serve even as the last
    return Candidate(
        id=endpoint.id,
        name=endpoint.name,
        host=endpoint.host,
        v4=octets.get(4, b""),
        v6=octets.get(6, b""),
        ports=endpoint.port_names,
        weight=endpoint.weight,
        ready=ready,
        serving=ready,
        terminating=endpoint.terminating or endpoint.draining,
        drained=endpoint.draining,
    )


def failed(candidate: Candidate, why: str) -> Candidate:
    """The same, as its service's check makes it: not ready, whatever else is said of it."""
    return msgspec.structs.replace(candidate, ready=False, serving=False, failing=why)


def of_slice(of: EndpointSlice) -> list[Candidate]:
    """Of several addresses of one endpoint the first one counts, as in Kubernetes."""
    named = {(port.name, port.protocol): port.port for port in of.ports}
    return [_of_slice(of.name, i, e, named) for i, e in enumerate(of.endpoints)]


def _of_slice(
    name: str, number: int, endpoint: SliceEndpoint, named: Mapping[tuple[str, str], int]
) -> Candidate:
    octets = _first_of_each(endpoint.addresses)
    return Candidate(
        id=f"{name}/{number}",
        name=name,
        host=endpoint.host,
        v4=octets.get(4, b""),
        v6=octets.get(6, b""),
        named=named,
        weight=endpoint.weight,
        ready=endpoint.ready is not False,
        serving=endpoint.serving is not False,
        terminating=endpoint.terminating is True,
        zone=endpoint.zone,
        for_zones=endpoint.for_zones,
        for_hosts=endpoint.for_hosts,
    )


def _first_of_each(addresses: Iterable[Address]) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    for address in addresses:
        found.setdefault(address.version, mapped(address))
    return found


@dataclass(frozen=True, slots=True)
class Situation:
    """What there is to know of a host that candidates are on."""

    zone: str = ""
    draining: bool = False
    reached: bool = True


@dataclass(frozen=True, slots=True)
class Rules:
    """By what is chosen: where this is, and what the service wants."""

    here: str  # the name of this host
    hosts: Mapping[str, Situation]  # by name: those of all candidates, and this one
    policy: TrafficPolicy = "Cluster"
    distribution: Distribution = ""
    publish_not_ready: bool = False

    @property
    def zone(self) -> str:
        return self.hosts[self.here].zone if self.here in self.hosts else ""


_OUTSIDE: Final = Situation()


def choose(able: Sequence[Candidate], rules: Rules) -> list[Candidate]:
    """`able`: those that have an address, a port and a weight (`lack`)."""
    hosts = rules.hosts
    near = [c for c in able if hosts.get(c.host, _OUTSIDE).reached]
    chosen = _by_condition(near, rules)
    return chosen or (_by_condition(able, rules) if len(near) < len(able) else [])


def lack(candidate: Candidate, family: int, port: ServicePort | None) -> str:
    """What it would need to be chosen; empty: nothing. A headless service may have no port."""
    if not candidate.address(family):
        return f"it has no IPv{family} address"
    if port and not candidate.port(port):
        wanted = port.name if candidate.named is not None else port.target
        return f"it has no port '{wanted}' of {port.protocol}"
    return "" if candidate.weight else "its weight is 0"


def keep(candidates: Iterable[Candidate], rules: Rules) -> Iterator[Candidate]:
    """Those whose connections go on, though others are chosen for new ones: who is not ready,
    farther away, without a weight or a path. Not who ends: it has the time to drain.
    """
    local = rules.policy == "Local"
    for candidate in candidates:
        if not (_ends(candidate, rules) or (local and candidate.host != rules.here)):
            yield candidate


def _by_condition(candidates: Sequence[Candidate], rules: Rules) -> list[Candidate]:
    """Those that are ready; where none is, those that end but serve still. Never others."""
    if rules.policy == "Local":
        candidates = [c for c in candidates if c.host == rules.here]
    ready = _ready(candidates, rules)
    if not ready:
        return [c for c in candidates if c.serving and _ends(c, rules)]
    return ready if rules.policy == "Local" else _near(ready, rules)


def ready_here(able: Iterable[Candidate], rules: Rules) -> list[Candidate]:
    """Of this host; those that end are none, though they may have to do."""
    return _ready([c for c in able if c.host == rules.here], rules)


def _ready(candidates: Sequence[Candidate], rules: Rules) -> list[Candidate]:
    if rules.publish_not_ready:
        return list(candidates)
    return [c for c in candidates if c.ready and not _ends(c, rules)]


def _ends(candidate: Candidate, rules: Rules) -> bool:
    return candidate.terminating or rules.hosts.get(candidate.host, _OUTSIDE).draining


def _near(ready: list[Candidate], rules: Rules) -> list[Candidate]:
    """Hints count only where every one that is ready has some: else some would be nobody's."""
    if not _prefers(ready, rules):
        return ready
    by_host = [_for_hosts(c, rules) for c in ready]
    if all(by_host) and any(rules.here in hosts for hosts in by_host):
        return [c for c, hosts in zip(ready, by_host, strict=True) if rules.here in hosts]
    by_zone = [_for_zones(c, rules) for c in ready]
    if rules.zone and all(by_zone) and any(rules.zone in zones for zones in by_zone):
        return [c for c, zones in zip(ready, by_zone, strict=True) if rules.zone in zones]
    return ready


def _prefers(ready: Iterable[Candidate], rules: Rules) -> bool:
    return bool(rules.distribution) or any(c.for_hosts or c.for_zones for c in ready)


def _for_hosts(candidate: Candidate, rules: Rules) -> tuple[str, ...]:
    if candidate.for_hosts or rules.distribution != "PreferSameNode":
        return candidate.for_hosts
    return (candidate.host,) if candidate.host else ()


def _for_zones(candidate: Candidate, rules: Rules) -> tuple[str, ...]:
    if candidate.for_zones or not rules.distribution:
        return candidate.for_zones
    zone = candidate.zone or rules.hosts.get(candidate.host, _OUTSIDE).zone
    return (zone,) if zone else ()


def why_not(candidate: Candidate, rules: Rules) -> str:
    """Why one that lacks nothing is not among the chosen."""
    if rules.policy == "Local" and candidate.host != rules.here:
        return f"it is not on this host, and the policy is {rules.policy}"
    if candidate.failing and not rules.publish_not_ready:
        return f"its check fails: {candidate.failing}"
    if _ends(candidate, rules):
        return _why_it_ends(candidate)
    if not (candidate.ready or rules.publish_not_ready):
        return "it is not ready"
    if not rules.hosts.get(candidate.host, _OUTSIDE).reached:
        return f"no path leads to host '{candidate.host}'"
    return "others are nearer"


def _why_it_ends(candidate: Candidate) -> str:
    if candidate.drained:
        return "it is drained"
    why = "its host drains" if not candidate.terminating else "it terminates"
    return why if candidate.serving else f"{why}, and does not serve"


def why_no_nearer(chosen: Sequence[Candidate], rules: Rules) -> str:
    """Why none of the chosen is so for being near, though the service or hints prefer that; empty:
    it is, or nothing does.
    """
    if rules.policy == "Local" or not _prefers(chosen, rules):
        return ""
    by_host = [_for_hosts(c, rules) for c in chosen]
    if all(by_host) and any(rules.here in hosts for hosts in by_host):
        return ""
    if not rules.zone:
        return "this host has no zone"
    by_zone = [_for_zones(c, rules) for c in chosen]
    for candidate, zones in zip(chosen, by_zone, strict=True):
        if not zones:
            return _without_zone(candidate, rules)
    return (
        "" if any(rules.zone in zones for zones in by_zone) else f"none is of zone '{rules.zone}'"
    )


def _without_zone(candidate: Candidate, rules: Rules) -> str:
    if rules.distribution and candidate.host:
        return f"host '{candidate.host}' has no zone"
    return (
        f"slice '{candidate.name}' names one without a {'zone' if rules.distribution else 'hint'}"
    )


def why(candidate: Candidate, rules: Rules, no_nearer: str = "") -> str:
    """Why one that is chosen is; `no_nearer`: see above."""
    if not rules.hosts.get(candidate.host, _OUTSIDE).reached:
        return f"no path leads to host '{candidate.host}', but there are no others"
    if rules.publish_not_ready and not candidate.ready:
        told = f"its check fails ({candidate.failing})" if candidate.failing else "it is not ready"
        return f"{told}, and the service takes that"
    if _ends(candidate, rules):
        return "it ends, but there are no others"
    return f"it is ready, near or not: {no_nearer}" if no_nearer else "it is ready"
