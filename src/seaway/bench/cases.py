"""Which cases there are, and which systems take part in each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from seaway.bench import (
    attach,
    cross_host,
    dns,
    failover,
    ingress,
    programs,
    same_host,
    scale,
    scale_trials,
    service,
)
from seaway.bench.across import SeawayAcross, SeawayRelayed
from seaway.bench.cni import Portmap, ReferencePlugin
from seaway.bench.docker import DockerBridge, DockerPublished, SwarmOverlay
from seaway.bench.meshes import DockerForwarded, SeawayRemote, SwarmIngress
from seaway.bench.options import Options
from seaway.bench.ours import Seaway, SeawayTracked
from seaway.bench.resolvers import RESOLVERS
from seaway.bench.results import Result
from seaway.bench.spans import KernelRouted, KernelVxlan, Underlay
from seaway.bench.systems import BareHost, Veth
from seaway.errors import Invalid, NotFound

BRIDGE, PTP = ReferencePlugin("bridge"), ReferencePlugin("ptp")
OURS = Seaway()
PAIRS = (Veth(), OURS, SeawayTracked(), BRIDGE, PTP, DockerBridge())
PUBLISHERS = (
    BareHost(),
    OURS,
    DockerPublished("docker"),
    DockerPublished("docker-no-proxy", "--userland-proxy=false"),
    Portmap(),
    SeawayRemote("seaway-remote", "always"),
    DockerForwarded(),
    SwarmIngress(),
)
SPANNERS = (
    Underlay(),
    KernelRouted(),
    KernelVxlan(),
    SeawayAcross("seaway-overlay", "always"),
    SeawayAcross("seaway-direct", "auto"),
    SeawayRelayed("seaway-relayed", "always"),
    SwarmOverlay(),
)
ATTACHERS = (OURS, BRIDGE, PTP)
CASES = (
    same_host.CASE,
    cross_host.CASE,
    ingress.CASE,
    attach.CASE,
    programs.CASE,
    failover.CASE,
    scale.CASE,
    service.CASE,
    dns.CASE,
)
SYSTEMS = {
    same_host.CASE: tuple(system.name for system in PAIRS),
    cross_host.CASE: tuple(system.name for system in SPANNERS),
    ingress.CASE: tuple(system.name for system in PUBLISHERS),
    attach.CASE: tuple(system.name for system in ATTACHERS),
    failover.CASE: failover.SYSTEMS,
    scale.CASE: tuple(scale_trials.SYSTEMS),
    service.CASE: service.SYSTEMS,
    dns.CASE: tuple(system.name for system in RESOLVERS),
}
_SIDE_BY_SIDE: dict[str, tuple[Callable[[list[Any], Options], Result], tuple[Any, ...]]] = {
    same_host.CASE: (same_host.run, PAIRS),
    cross_host.CASE: (cross_host.run, SPANNERS),
    ingress.CASE: (ingress.run, PUBLISHERS),
    attach.CASE: (attach.run, ATTACHERS),
    dns.CASE: (dns.run, RESOLVERS),
}
_BY_NAME = {
    failover.CASE: (failover.run, failover.SYSTEMS),
    scale.CASE: (scale.run, tuple(scale_trials.SYSTEMS)),
    service.CASE: (service.run, service.SYSTEMS),
}


def run(case: str, options: Options) -> Result:
    known = list(dict.fromkeys(name for names in SYSTEMS.values() for name in names))
    unknown = set(options.systems).difference(known)
    if unknown:
        raise Invalid(f"no such system: {', '.join(sorted(unknown))}", f"one of {known}")
    if case in _SIDE_BY_SIDE:
        race, systems = _SIDE_BY_SIDE[case]
        return race([s for s in systems if options.wants_system(s.name)], options)
    if case == programs.CASE:
        return programs.run(options)
    if case in _BY_NAME:
        measure, names = _BY_NAME[case]
        return measure([name for name in names if options.wants_system(name)], options)
    raise NotFound(f"there is no case '{case}'", f"one of {', '.join(CASES)}")
