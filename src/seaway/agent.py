"""The agent of one host: what is wired to what, in which order it starts, and how it ends.

Everything that decides lies elsewhere. Every task of the process is named here and lives in
one task group; a failure that nobody expected ends the process with its traceback, and the
data plane goes on without it.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from seaway import names
from seaway.api.routes import Doors
from seaway.api.server import Server
from seaway.bpf import abi, maps, objects
from seaway.bpf.attachments import Attachments
from seaway.bpf.counters import Counters
from seaway.bpf.objects import DataPlane
from seaway.bpf.pins import PinTarget
from seaway.bpf.sockets import SocketTarget
from seaway.bpf.uplinks import UplinkTarget
from seaway.config import Config
from seaway.converge import Convergence, Key
from seaway.desired.catalogue import DERIVATIONS
from seaway.desired.indexes import INDEXES
from seaway.desired.network.networks import TABLE
from seaway.doors.cni import CniDoor
from seaway.errors import NotFound
from seaway.facts import Facts
from seaway.firewalls import Firewatch
from seaway.intents import Intents
from seaway.ipam import Allocator, load_blocks
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
from seaway.model.addresses import Address, mapped
from seaway.model.facts import Attached, Cluster, Endpoint, Host, Overlay
from seaway.presence import alone_while
from seaway.reconcile import Target
from seaway.records import Records
from seaway.store.sqlite import SqliteStore
from seaway.surroundings import HostSurroundings
from seaway.uplinks import Lookout
from seaway.vigil import RETRY, Lookouts, Vigil

_PROGRAMS = (Attachments.name, UplinkTarget.name, SocketTarget.name)

log = structlog.get_logger(__name__)


async def serve(config: Config) -> None:
    """Run until SIGTERM or SIGINT. The data plane stays as it is."""
    surrounding.require(objects.probe)

    async def work() -> None:
        store = SqliteStore(names.STORE_FILE)
        try:
            agent = await _wire(config, store)
            await agent.run()
        finally:
            await store.close()

    await alone_while(work)


@dataclass
class Agent:
    intents: Intents
    convergence: Convergence
    vigil: Vigil
    cni: CniDoor
    plane: DataPlane
    adopted: list[Key]  # what was found otherwise than it should be

    async def run(self) -> None:
        """Answer, converge, then serve; watch until told to end.

        Until the kernel is as it should be, who asks for a change is told to ask again. CNI calls
        that came while nobody was here are done meanwhile: an ADD waits for them.
        """
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
        server = Server(Doors(self.intents, self.cni.answer), names.SOCKET)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.convergence.run(), name="converge")]
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
            works = (*watches, self.cni.watch, self.retire)
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


async def _wire(config: Config, store: SqliteStore) -> Agent:
    facts = Facts(DERIVATIONS, INDEXES)
    records = Records(store, facts)
    await records.load()
    host = _this_host(facts)
    surrounding.mount_bpffs()
    plane = DataPlane.open(_settings(host, facts.get(Cluster, "cluster")))
    links = LinkTarget(created=_noter(facts))
    attachments = Attachments(plane, links.set_up, config.agent.attach)
    sysctls, reserved, deciding = SysctlTarget(), ReservedTarget(), asyncio.Lock()
    lookout = Lookout(host.name, facts, records, sysctls, reserved, deciding=deciding)
    await lookout.look()
    accepts = AcceptTarget()
    firewatch = Firewatch(facts, accepts)
    await firewatch.look()
    targets: tuple[Target, ...] = (
        PinTarget(plane),
        sysctls,
        reserved,
        AddressTarget(),
        NftTarget(),
        accepts,
        links,
        VxlanTarget(tell=_teller(facts)),
        RouteTarget(),
        *maps.targets(plane).values(),
        attachments,
        UplinkTarget(plane, config.agent.attach),
        SocketTarget(plane),
    )
    by_name = {target.name: target for target in targets}
    convergence = Convergence(facts, [by_name[d.name] for d in DERIVATIONS])
    allocator = Allocator(host.name, _holder(facts))
    load_blocks(allocator, facts)
    surroundings = HostSurroundings(
        links,
        Counters(plane),
        attachments.mode,
        plane.layout,
        Translations(),
        mtu=config.network.mtu,
    )
    intents = Intents(host, facts, records, convergence, surroundings, allocator, deciding=deciding)
    vigil = Vigil(intents, links, attachments, Lookouts(lookout, firewatch))
    vigil.look()
    adopted = convergence.adopt()
    return Agent(intents, convergence, vigil, CniDoor(intents), plane, adopted)


def _this_host(facts: Facts) -> Host:
    hosts = facts.all(Host)
    if not hosts:
        raise NotFound("this host has no cluster yet", "run: seaway init")
    return hosts[0]


def _settings(host: Host, cluster: Cluster | None) -> abi.Settings:
    by_family = {address.version: mapped(address) for address in host.addresses}
    underlay = {address.version: mapped(address) for address in host.underlay}
    port, number = (cluster.overlay_port, cluster.overlay_id) if cluster else (0, 0)
    return abi.Settings(
        host_v4=by_family.get(4, bytes(16)),
        host_v6=by_family.get(6, bytes(16)),
        gateway_v4=mapped(names.GATEWAY4),
        gateway_v6=mapped(names.GATEWAY6),
        netns_cookie=netns.cookie(),
        gateway_mac=bytes.fromhex(names.GATEWAY_MAC.replace(":", "")),
        overlay_port=port.to_bytes(2),
        overlay_id=number,
        underlay_v4=underlay.get(4, bytes(16)),
        underlay_v6=underlay.get(6, bytes(16)),
        overlay_mac=bytes.fromhex(names.OVERLAY_MAC.replace(":", "")),
    )


def _noter(facts: Facts) -> Callable[[str, int], None]:
    """Learn the number that the kernel gave a link."""

    def note(link: str, ifindex: int) -> None:
        for endpoint in facts.where(Endpoint, "link", link):
            attached = Attached(endpoint=endpoint.id, ifindex=ifindex)
            facts.change(Attached, endpoint.id, attached)

    return note


def _teller(facts: Facts) -> Callable[[int], None]:
    """Learn the number of the overlay's device."""

    def tell(ifindex: int) -> None:
        facts.change(Overlay, "host", Overlay(ifindex=ifindex) if ifindex else None)

    return tell


def _holder(facts: Facts) -> Callable[[Address], str]:
    def holder(address: Address) -> str:
        for endpoint in facts.where(Endpoint, "address", address):
            return f"endpoint '{endpoint.name}'"
        return ""

    return holder
