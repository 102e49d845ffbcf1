"""Which cases there are, and which systems take part in each."""

from __future__ import annotations

from seaway.bench import attach, programs, same_host
from seaway.bench.cni import ReferencePlugin
from seaway.bench.docker import DockerBridge
from seaway.bench.options import Options
from seaway.bench.ours import Seaway
from seaway.bench.results import Result
from seaway.bench.systems import Veth
from seaway.errors import Invalid, NotFound

BRIDGE, PTP = ReferencePlugin("bridge"), ReferencePlugin("ptp")
OURS = Seaway()
PAIRS = (Veth(), OURS, BRIDGE, PTP, DockerBridge())
ATTACHERS = (OURS, BRIDGE, PTP)
CASES = (same_host.CASE, attach.CASE, programs.CASE)
SYSTEMS = tuple(system.name for system in PAIRS)


def run(case: str, options: Options) -> Result:
    unknown = set(options.systems) - set(SYSTEMS)
    if unknown:
        raise Invalid(f"no such system: {', '.join(sorted(unknown))}", f"one of {SYSTEMS}")
    if case == same_host.CASE:
        return same_host.run([s for s in PAIRS if options.wants_system(s.name)], options)
    if case == attach.CASE:
        return attach.run([s for s in ATTACHERS if options.wants_system(s.name)], options)
    if case == programs.CASE:
        return programs.run(options)
    raise NotFound(f"there is no case '{case}'", f"one of {', '.join(CASES)}")
