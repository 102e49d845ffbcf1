"""What `seaway doctor` finds: the kernel, this host's settings, and the agent, dead or alive.

Each finding says what is there and what to do. `off` is something the kernel does not offer
and that Seaway goes without; only an `error` keeps containers from their network.
"""

from __future__ import annotations

import ctypes
import os
from collections import defaultdict
from contextlib import closing
from itertools import chain
from typing import TYPE_CHECKING

from seaway import config, names
from seaway.api import peers
from seaway.bpf import askers, tcx
from seaway.bpf.objects import OBJECTS, read_objects
from seaway.daemons import AGENT, DNS
from seaway.desired.network.blocks import in_the_way, shadowed
from seaway.errors import HostUnfit, SeawayError, Unavailable
from seaway.kernel import engines, host, masters, offloads, outside, sockets
from seaway.kernel.translations import Translations
from seaway.model.publications import in_ranges
from seaway.model.reports import Finding
from seaway.names import ROUTED_PORT
from seaway.setup import disk, files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from seaway.client import Client
    from seaway.model.facts import Publication
    from seaway.model.reports import EndpointReport, NetworkReport, ServiceReport, Status

_LIBBPF = "libbpf.so.1"
_SHOWN = 5  # failing objects
_NARROW = (
    "a device on the way has a smaller MTU and tells nobody: mend it, or lower the MTU of the "
    "uplinks of both hosts below that; see docs/cluster.md, 'Large packets'"
)
# Refused packets to tell of, by reason, and from how many on: some are noise while a host joins.
_STRANGE = {"no_probe": 1, "probe_number": 1000}
PORTS = f"by UDP and TCP {ROUTED_PORT}"


def findings(client: Client) -> list[Finding]:
    of_host = (host.findings(), masters.findings(), engines.findings())
    of_devices = (outside.findings(), offloads.findings())
    of_ours = (programs(), askers.findings(), _files(), resolver(), disk.findings())
    return [*chain.from_iterable((*of_host, *of_devices, *of_ours)), *_agent(client)]


def require_programs() -> None:
    """Raise what would keep the data plane from being loaded, before anything is touched."""
    for finding in programs():
        if finding.level == "error":
            raise HostUnfit(finding.found, finding.advice)


def _ok(check: str, found: str) -> Finding:
    return Finding(check=check, level="ok", found=found, advice="")


def _warning(check: str, found: str, advice: str) -> Finding:
    return Finding(check=check, level="warning", found=found, advice=advice)


def _error(check: str, found: str, advice: str) -> Finding:
    return Finding(check=check, level="error", found=found, advice=advice)


def programs() -> Iterator[Finding]:
    """What loads and attaches the programs of the data plane."""
    try:
        ctypes.CDLL(_LIBBPF)
        yield _ok("libbpf", _LIBBPF)
    except OSError:
        yield _error("libbpf", f"there is no library {_LIBBPF}", "apt-get install libbpf1")
    try:
        yield _ok("objects", f"programs: {', '.join(sorted(read_objects(OBJECTS)))}")
    except HostUnfit as error:
        yield _error("objects", error.message, error.hint)
    try:
        has_tcx = tcx.available()
    except PermissionError:
        return  # only root may ask
    if has_tcx:
        yield _ok("tcx", "programs share a device with those of others")
    else:
        advice = "Linux 6.6 or newer has it; Seaway goes without"
        yield Finding(
            check="tcx", level="off", found="programs are attached by cls_bpf", advice=advice
        )


def _files() -> Iterator[Finding]:
    try:
        config.load()
        there = names.CONFIG_FILE.exists()
        yield _ok("configuration", str(names.CONFIG_FILE) if there else "the defaults")
    except SeawayError as error:
        yield _error("configuration", error.message, error.hint)
    if peers.readers() is None:
        advice = f"for others: groupadd --system {names.GROUP}, then restart the agent"
        yield Finding(
            check="group",
            level="off",
            found=f"there is no group {names.GROUP}: root alone can use the socket",
            advice=advice,
        )
    else:
        yield _ok("group", f"members of {names.GROUP} may read")
    yield from _cni()


def resolver() -> Iterator[Finding]:
    """Of a host whose agent told it names."""
    if not names.NAMES_FILE.exists():
        return
    if DNS.running() is None:
        advice = (
            f"the agent starts it; else see {names.RESOLVER_LOG_FILE}, or: journalctl -u seaway-dns"
        )
        yield _error("resolver", "nobody answers containers' questions for names", advice)
    else:
        yield _ok(
            "resolver", f"names are answered at {names.RESOLVER4}, port {names.RESOLVER_PORT}"
        )


def _cni() -> Iterator[Finding]:
    ours, others = files.our_conflists(), files.other_conflists()
    if not ours:
        yield Finding(
            check="cni",
            level="off",
            found=f"no network of ours in {names.CNI_CONF}",
            advice="for CNI runtimes such as containerd: seaway init",
        )
    elif not files.PLUGIN.exists():
        yield _error("cni", f"{files.PLUGIN} is missing", "put it back: seaway init")
    elif others and others[0] < ours[0]:
        found = f"{others[0]} comes before {ours[0].name}"
        yield _warning("cni", found, "runtimes that take the first one do not take ours")
    else:
        yield _ok("cni", str(ours[0]))


def _agent(client: Client) -> Iterator[Finding]:
    try:
        status = client.status()
    except Unavailable as error:
        pid = AGENT.running()
        if pid is None:
            yield _error("agent", error.message, error.hint)
        else:
            found = f"process {pid} runs, but: {error.message}"
            yield _error("agent", found, "see its log: seaway support FILE")
    except SeawayError as error:
        yield _warning("agent", error.message, error.hint)
    else:
        yield from _of_status(status)
        yield from _shadowed(client.networks())
        yield from _published(client.endpoints())
        yield from _of_services(client.services())
        yield from of_links(client)
        yield from _of_probes(status)


def _published(reports: Iterable[EndpointReport]) -> Iterator[Finding]:
    ports = [port for report in reports for port in report.endpoint.ports]
    owners: dict[str, list[Publication]] = defaultdict(list)
    for port, owner in _elsewhere(ports):
        owners[owner].append(port)
    for owner, led in owners.items():
        found = f"{', '.join(in_ranges(led)[:_SHOWN])} led elsewhere by {owner} too"
        yield _warning("ports", found, "ours is taken first: unpublish it, or remove that rule")


def _elsewhere(ports: list[Publication]) -> Iterator[tuple[Publication, str]]:
    by_number = {(port.protocol, port.host_port): port for port in ports}
    if not by_number or os.geteuid():  # only root may read rules
        return
    with closing(Translations()) as translations:
        for held in translations.held(by_number):
            yield by_number[held.protocol, held.port], held.holder


def _of_services(reports: Iterable[ServiceReport]) -> Iterator[Finding]:
    """Those that lead to nobody."""
    reports = list(reports)
    bare = [r for r in reports if r.service.addresses and r.warnings and not r.chosen]
    for report in bare[:_SHOWN]:
        name = f"{report.service.network}/{report.service.name}"
        found = f"service '{name}' leads to nobody: {report.warnings[0]}"
        yield _warning("services", found, f"who asks it is refused; seaway service inspect {name}")
    if (more := len(bare) - _SHOWN) > 0:
        yield _warning("services", f"{more} more lead to nobody", "see: seaway service ls")
    yield from _of_ports(reports)


def _of_ports(reports: Iterable[ServiceReport]) -> Iterator[Finding]:
    """What was free when it was published may be somebody's now, on this host."""
    owners = {
        (port.protocol, port.node_port): f"{report.service.network}/{report.service.name}"
        for report in reports
        for port in report.service.ports
        if port.node_port
    }
    if not owners or os.geteuid():  # only root sees whose sockets are whose
        return
    with closing(Translations()) as translations:
        for held in (*sockets.held(owners), *translations.held(owners)):
            service = owners[held.protocol, held.port]
            found = f"{held.port}/{held.protocol} of service '{service}' is {held.holder}'s too"
            yield _warning("ports", found, "the service is asked there: one of both should move")


def of_links(client: Client) -> Iterator[Finding]:
    """Of a host with others beside it."""
    try:
        report = client.links()
    except Unavailable as error:
        yield _error("routed", error.message, "the agent starts it; see its log")
        return
    if report.links:
        up = [link for link in report.links if link.up]
        yield _ok("routed", f"{len(up)} of {len(report.links)} links are up, {PORTS}")
    if report.refused:
        found = ", ".join(f"{fault} {times}" for fault, times in report.refused.items())
        advice = "somebody there is no host of this cluster, or not as it should be; see its log"
        yield _warning("routed", f"refused of what came in: {found}", advice)
    around = _around(client) if any(not link.up for link in report.links) else {}
    for link in report.links:
        if not link.up:
            yield _down(link.host, around.get(link.host, ""))
        elif not link.session:
            found = f"{link.host} does not speak by TCP {ROUTED_PORT}"
            yield _warning("link", found, "see its log, or: seaway doctor there")
        for hole in link.holes:
            yield _warning("link", hole.told(), _NARROW)


def _of_probes(status: Status) -> Iterator[Finding]:
    """What the programs refused before `routed` saw it."""
    counts = {drops.reason: drops.packets for drops in status.drops}
    told = [f"{r} {counts[r]}" for r, least in _STRANGE.items() if counts.get(r, 0) >= least]
    if told:
        found = f"refused of what came by UDP {ROUTED_PORT}: {', '.join(told)}"
        advice = "somebody there is no host of this cluster, or not as it should be: docs/drops.md"
        yield _warning("routed", found, advice)


def _around(client: Client) -> dict[str, str]:
    """The next hop to each host to which a path leads."""
    try:
        return {route.host: route.path[0] for route in client.routes() if route.path}
    except Unavailable:  # it ended meanwhile
        return {}


def _down(name: str, relay: str) -> Finding:
    """A link without an answer; hosts that do not see each other need none where others relay."""
    found = f"{name} does not answer by UDP {ROUTED_PORT}"
    if relay in ("", name):
        return _warning("link", found, "is it on, and does nothing between drop that?")
    advice = "if they should see each other: what drops that on the way?"
    return Finding(
        check="link", level="off", found=f"{found}; reached through {relay}", advice=advice
    )


def _shadowed(networks: Iterable[NetworkReport]) -> Iterator[Finding]:
    """A route of the host's that is less specific than a subnet leads elsewhere no more."""
    foreign = host.foreign_prefixes()
    for report in networks:
        for subnet in report.network.subnets:
            if taken := in_the_way(subnet, foreign):
                found = f"{subnet} of network '{report.network.name}' overlaps {taken}"
                yield _warning("routes", found, "free it on the host, or remove the network")
            for other in shadowed(subnet, foreign)[:1]:
                name, to = report.network.name, f"the host's route to {other}"
                found = f"{subnet} of network '{name}' is a part of {to}"
                yield _warning("routes", found, f"what {to} led to in {subnet} is not reached now")


def _of_status(status: Status) -> Iterator[Finding]:
    if status.ready:
        yield _ok("agent", f"ready, {status.endpoints} endpoints, version {status.version}")
    else:
        yield _error("agent", "it answers, but is not ready", "see its log: seaway support FILE")
    yield _ok("attachment", f"programs are attached by {status.attach}")
    if status.store_lost:
        hint = "what runs here goes on, changes wait; see docs/cluster.md, 'Where the records lie'"
        yield _error("store", f"lost: {status.store_lost}", hint)
    for failure in status.failures[:_SHOWN]:
        found = f"{failure.key}: {failure.error}"
        yield _error(failure.target, found, "it is tried again; see: seaway status")
    if status.drift_total:
        last = status.drift[-1].target if status.drift else ""
        found = f"{status.drift_total} changes of others were repaired, the last in {last}"
        yield _warning("drift", found, "who does that? see: seaway status")
