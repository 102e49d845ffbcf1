"""The agent of one host: what is wired to what, in which order it starts, and how it ends.

Everything that decides lies elsewhere. Every task of the process is named here and lives in
one task group; a failure that nobody expected ends the process with its traceback, and the
data plane goes on without it.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from seaway import names
from seaway.api.hosts import HostServer
from seaway.api.routes import Doors
from seaway.api.server import Server
from seaway.bootstrap import removed
from seaway.bpf import abi, maps, objects
from seaway.bpf.attachments import Attachments
from seaway.bpf.behind import BehindTarget
from seaway.bpf.counters import Counters
from seaway.bpf.limits import LimitTarget, Uses
from seaway.bpf.lookups import Lookups
from seaway.bpf.objects import DataPlane
from seaway.bpf.origins import OriginTarget
from seaway.bpf.partings import Partings
from seaway.bpf.pins import PinTarget
from seaway.bpf.running import Running
from seaway.bpf.services import ServiceTarget
from seaway.bpf.shapers import ShaperTarget
from seaway.bpf.sockets import SocketTarget
from seaway.bpf.uplinks import UplinkTarget
from seaway.checking.checker import Checker
from seaway.checking.health_ports import HealthPorts
from seaway.cluster import membership, stores
from seaway.cluster.calls import Others
from seaway.cluster.passing import Passing
from seaway.cluster.stores import Stores
from seaway.config import Config
from seaway.converge import Convergence, Key
from seaway.daemons import DNS, ETCD, Runner
from seaway.desired.catalogue import DERIVATIONS
from seaway.desired.indexes import INDEXES
from seaway.desired.network.networks import TABLE
from seaway.desired.network.resolver import resolver_addresses
from seaway.dns.names_file import BUILD, HoldersTarget, NamesFile, NamesTarget
from seaway.doors.cni import CniDoor
from seaway.draining import Draining, Lingering
from seaway.errors import NotFound
from seaway.facts import Facts
from seaway.firewalls import Firewatch
from seaway.intents import Intents
from seaway.ipam import Allocator, holder, load_blocks, owner
from seaway.kernel import host as surrounding
from seaway.kernel import netns
from seaway.kernel.accepts import AcceptTarget
from seaway.kernel.addresses import AddressTarget
from seaway.kernel.links import LinkTarget
from seaway.kernel.nft import NftTarget
from seaway.kernel.reserved import ReservedTarget
from seaway.kernel.routes import RouteTarget
from seaway.kernel.sysctls import SysctlTarget
from seaway.kernel.translations import Translations
from seaway.kernel.vxlan import VxlanTarget
from seaway.model.addresses import mapped
from seaway.model.facts import Attached, Cluster, Endpoint, Host, Overlay, Probing, Shaped
from seaway.model.membership import Membership
from seaway.paths import Paths
from seaway.presence import alone_while
from seaway.reconcile import Target
from seaway.records import Records, parse
from seaway.routed.orders_file import OrdersTarget
from seaway.store.base import Store
from seaway.surroundings import HostSurroundings
from seaway.trust.keeper import Keeper
from seaway.upkeep import Upkeep
from seaway.uplinks import Lookout
from seaway.vigil import RETRY, Lookouts, Vigil
from seaway.voter import Voter

_PROGRAMS = (Attachments.name, UplinkTarget.name, SocketTarget.name, ShaperTarget.name)

log = structlog.get_logger(__name__)

Works = dict[str, Callable[[], Coroutine[Any, Any, None]]]  # by name: what goes on for ever


async def serve(config: Config) -> None:
    """Run until SIGTERM or SIGINT. The data plane stays as it is."""
    surrounding.require(objects.probe)

    async def work() -> None:
        keeper = Keeper()
        others = Others(keeper)
        opened = stores.opened(membership.load(), others.ask_at)
        try:
            agent = await _wire(config, opened, others)
            await agent.run()
        finally:
            await opened.own.close()
            await others.close()

    await alone_while(work)


@dataclass
class Agent:
    intents: Intents
    convergence: Convergence
    vigil: Vigil
    cni: CniDoor
    plane: DataPlane
    adopted: list[Key]  # what was found otherwise than it should be
    passing: Passing
    following: Works  # what keeps up with the store, and with `routed`

    async def run(self) -> None:
        """Answer, converge, then serve; watch until told to end.

        Until the kernel is as it should be, who asks for a change is told to ask again. CNI calls
        that came while nobody was here are done meanwhile: an ADD waits for them.
        """
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
        doors = Doors(self.intents, self.cni.answer, self.passing)
        server = Server(doors, names.SOCKET)
        hosts = HostServer(doors, self.intents.trust)
        async with asyncio.TaskGroup() as group:
            begun: Works = {"converge": self.convergence.run, **self.following}
            tasks = [group.create_task(work(), name=name) for name, work in begun.items()]
            await server.start()
            await self.convergence.settle([TABLE, *self.adopted])
            if not self._old_ones_run():
                self.plane.retire()
            maps.end_astray(self.plane)
            await self.vigil.release_vanished()
            self.intents.serving = True
            log.info("ready", endpoints=len(self.intents.facts.all(Endpoint)))
            vigil = self.vigil
            watches = (vigil.finish, vigil.look_into, vigil.sweep, vigil.retry)
            works = (*watches, self.cni.watch, self.retire, hosts.serve)
            tasks += [group.create_task(work(), name=work.__name__) for work in works]
            await ended.wait()
            await server.stop()
            for task in tasks:
                task.cancel()
        log.info("ended; the data plane goes on")

    async def retire(self) -> None:
        """What a build before left, once ours stands everywhere: the old one needs its maps."""
        while self._old_ones_run():  # noqa: ASYNC110, of no retry's end is anybody told
            await asyncio.sleep(RETRY)
        self.plane.retire()

    def _old_ones_run(self) -> bool:
        """Perhaps: where a program of ours could not be put."""
        return any(f.target in _PROGRAMS for f in self.convergence.failures())


async def _wire(config: Config, opened: Stores, others: Others) -> Agent:
    facts = Facts(DERIVATIONS, INDEXES)
    member = await _member(opened.own)
    records = Records(opened.own, facts, member.host)
    await records.load()
    host = _this_host(facts, member)
    surrounding.mount_bpffs()
    plane = DataPlane.open(_settings(host, facts.get(Cluster, "cluster")))
    links = LinkTarget(created=_noter(facts))
    attachments = Attachments(plane, links.set_up, config.agent.attach)
    sysctls, reserved, deciding = SysctlTarget(), ReservedTarget(), asyncio.Lock()
    lookout = Lookout(host.name, facts, records, sysctls, reserved, deciding=deciding)
    accepts = AcceptTarget()
    lookouts = Lookouts(lookout, Firewatch(facts, accepts))
    await lookouts.uplinks.look()
    await lookouts.firewalls.look()
    partings = Partings(plane, partial(_spaces, facts))
    drains: dict[abi.PortKey, float] = {}
    draining = Draining(facts, partings, Lingering(facts), drains)
    draining.listen()
    services = ServiceTarget(plane, draining.left, drains)
    checker, health_ports = Checker(host.name, facts), HealthPorts()
    targets = (
        *_of_the_host(facts, sysctls, reserved, accepts, links),
        *_of_the_data_plane(plane, attachments, config),
        ShaperTarget(plane, _shaper_noter(facts)),
        services,
        *_told_others(),
        checker,
        health_ports,
    )
    by_name = {target.name: target for target in targets}
    convergence = Convergence(facts, [by_name[d.name] for d in DERIVATIONS])
    paths = _paths(config, facts, convergence)
    intents = Intents(
        host=host,
        facts=facts,
        records=records,
        convergence=convergence,
        surroundings=_surroundings(
            config, links, plane, (attachments, paths, Running(plane, services.serves))
        ),
        allocator=_allocator(host, facts),
        member=member,
        trust=others.keeper,
        others=others,
        store=opened.shared,
        remembering=opened.remembering,
        voters=opened.voters,
        deciding=deciding,
    )
    agent = _started(intents, Vigil(intents, links, attachments, lookouts), plane, opened)
    beside = (Runner(runs=paths.runs).keep, paths.follow, paths.follow_numbers)
    agent.following |= {f"routed: {work.__name__}": work for work in beside}
    agent.following["checks"] = partial(checker.run, intents.record_health, convergence.settle)
    agent.following["health ports"] = partial(health_ports.run, lambda: intents.serving)
    agent.following["drain"] = partial(draining.run, services.serves, convergence.settle)
    return agent


def _of_the_host(
    facts: Facts,
    sysctls: SysctlTarget,
    reserved: ReservedTarget,
    accepts: AcceptTarget,
    links: LinkTarget,
) -> tuple[Target, ...]:
    vxlan = VxlanTarget(tell=_teller(facts))
    return sysctls, reserved, AddressTarget(), NftTarget(), accepts, links, vxlan, RouteTarget()


def _of_the_data_plane(
    plane: DataPlane, attachments: Attachments, config: Config
) -> tuple[Target, ...]:
    uplinks = UplinkTarget(plane, config.agent.attach)
    of_maps = maps.targets(plane).values()
    others = BehindTarget(plane), LimitTarget(plane), OriginTarget(plane), SocketTarget(plane)
    return PinTarget(plane), *of_maps, *others, attachments, uplinks


def _spaces(facts: Facts) -> set[tuple[str, int]]:
    """The network namespaces of the endpoints."""
    return {(endpoint.netns, endpoint.netns_inode) for endpoint in facts.all(Endpoint)}


def _told_others() -> tuple[Target, ...]:
    """What is told processes of ours, in files."""
    file = NamesFile()
    return OrdersTarget(), NamesTarget(file), HoldersTarget(file)


def _surroundings(
    config: Config,
    links: LinkTarget,
    plane: DataPlane,
    sources: tuple[Attachments, Paths, Running],
) -> HostSurroundings:
    attachments, paths, running = sources
    return HostSurroundings(
        links,
        Counters(plane),
        Lookups(plane),
        attachments.mode,
        plane.layout,
        Translations(),
        paths.ask,
        running.to,
        Uses(plane),
        mtu=config.network.mtu,
    )


def _paths(config: Config, facts: Facts, convergence: Convergence) -> Paths:
    """What `routed` told before this agent, as what is there already rests on it."""
    paths = Paths(facts, convergence.ask)
    paths.remember()
    facts.change(Probing, "host", Probing(preset=config.routing.probes))
    return paths


def _allocator(host: Host, facts: Facts) -> Allocator:
    allocator = Allocator(host.name, holder(facts, host.name), owner(facts, host.name))
    load_blocks(allocator, facts)
    return allocator


def _started(intents: Intents, vigil: Vigil, plane: DataPlane, opened: Stores) -> Agent:
    """Looked around once; what goes on for ever is for `run`."""
    vigil.look()
    convergence, upkeep, voter = intents.convergence, Upkeep(intents), Voter(intents)
    adopted = convergence.adopt()
    passing = Passing(intents.host.name, opened.shared, parse, keeps=opened.shared is opened.own)

    def learnt() -> None:
        convergence.ask()
        upkeep.stir()
        voter.stir()

    following: Works = {
        "follow": partial(intents.records.follow, learnt),
        "pass on": passing.run,
        "upkeep": upkeep.run,
        "votes": voter.run,
        "etcd": Runner(names.SEAT_FILE, ETCD, "etcd").keep,
        "resolver": Runner(names.NAMES_FILE, DNS, "the resolver", build=BUILD).keep,
    }
    if opened.remembering:
        following["send"] = opened.remembering.send
    cni = CniDoor(intents)
    return Agent(intents, convergence, vigil, cni, plane, adopted, passing, following)


async def _member(store: Store) -> Membership:
    """Who this host is. Where an earlier version set it up, it is written down now."""
    if member := membership.load():
        return member
    items = (await store.load()).items
    member = membership.of_alone(parse(key, item.value) for key, item in items.items())
    if member is None:
        raise NotFound("this host has no cluster yet", "run: seaway init")
    membership.save(member)
    return member


def _this_host(facts: Facts, member: Membership) -> Host:
    host = facts.get(Host, member.host)
    if host is None:
        raise removed(member.host, member.cluster)
    return host


def _settings(host: Host, cluster: Cluster | None) -> abi.Settings:
    by_family = {address.version: mapped(address) for address in host.addresses}
    found = resolver_addresses(cluster) if cluster else ()
    resolvers = {address.version: mapped(address) for address in found}
    return abi.Settings(
        host_v4=by_family.get(4, bytes(16)),
        host_v6=by_family.get(6, bytes(16)),
        gateway_v4=mapped(names.GATEWAY4),
        gateway_v6=mapped(names.GATEWAY6),
        netns_cookie=netns.cookie(),
        gateway_mac=bytes.fromhex(names.GATEWAY_MAC.replace(":", "")),
        overlay_mac=bytes.fromhex(names.OVERLAY_MAC.replace(":", "")),
        resolver_v4=resolvers.get(4, bytes(16)),
        resolver_v6=resolvers.get(6, bytes(16)),
    )


def _noter(facts: Facts) -> Callable[[str, int], None]:
    """Learn the number that the kernel gave a link."""

    def note(link: str, ifindex: int) -> None:
        for endpoint in facts.where(Endpoint, "link", link):
            attached = Attached(endpoint=endpoint.id, ifindex=ifindex)
            facts.change(Attached, endpoint.id, attached)

    return note


def _shaper_noter(facts: Facts) -> Callable[[str, tuple[int, int] | None], None]:
    """Learn the numbers of both ends of a shaper, or that it is not wanted."""

    def note(link: str, ends: tuple[int, int] | None) -> None:
        found = Shaped(link=link, into=ends[0], out=ends[1]) if ends else None
        facts.change(Shaped, link, found)

    return note


def _teller(facts: Facts) -> Callable[[int], None]:
    """Learn the number of the overlay's device."""

    def tell(ifindex: int) -> None:
        facts.change(Overlay, "host", Overlay(ifindex=ifindex) if ifindex else None)

    return tell
