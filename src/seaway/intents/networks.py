"""Networks: made, changed, connected, removed."""

from __future__ import annotations

from contextlib import suppress
from typing import NoReturn

import msgspec

from seaway import admission
from seaway.desired.network.blocks import cautions
from seaway.desired.network.networks import TABLE
from seaway.desired.network.overlay import overhead
from seaway.errors import Conflict, Invalid, NotFound, SeawayError, Unavailable
from seaway.intents.desk import Desk
from seaway.model import forms
from seaway.model.addresses import ForeignPrefix
from seaway.model.facts import Block, Cluster, Endpoint, Network, Peer
from seaway.model.reports import NetworkMade, NetworkReport, UseReport
from seaway.model.requests import NetworkChange, NewNetwork
from seaway.model.services import EndpointSlice, Service

_TOLD = 5  # of a long list


class NetworkIntents(Desk):
    def networks(self) -> list[NetworkReport]:
        found = sorted(self.facts.all(Network), key=lambda n: n.name)
        return [self._network_report(network) for network in found]

    def network(self, name: str) -> NetworkReport:
        return self._network_report(admission.network(self.facts, name))

    def known_network(self, name: str) -> Network:
        """NotFound: there is none of this name."""
        return admission.network(self.facts, name)

    def _network_report(self, network: Network) -> NetworkReport:
        connected = (self.facts.where(Network, "number", n) for n in network.connected)
        return NetworkReport(
            network=network,
            connected=tuple(sorted(other.name for found in connected for other in found)),
            endpoints=self.facts.count(Endpoint, "network", network.name),
        )

    async def create_network(self, request: NewNetwork) -> NetworkMade:
        forms.check_network(request.name)
        foreign = self.surroundings.foreign_prefixes()
        network = await self.decide(lambda: self._create(request, foreign))
        await self.convergence.settle([TABLE])
        warnings = tuple(w for s in network.subnets for w in cautions(s, foreign, "subnet"))
        return NetworkMade(**msgspec.structs.asdict(network), warnings=warnings)

    async def _create(self, request: NewNetwork, foreign: list[ForeignPrefix]) -> Network:
        if self.facts.get(Network, request.name):
            raise Conflict(f"there is a network '{request.name}' already", "choose another name")
        subnets = admission.subnets(self.facts, request, foreign)
        cluster = self.facts.get(Cluster, "cluster")
        assert cluster is not None
        added = overhead(self.here.underlay, cluster.encapsulation)
        mtu = request.mtu or self.surroundings.network_mtu(added)
        admission.mtu(mtu, {s.version for s in subnets})
        network = Network(
            name=request.name,
            number=cluster.next_network,
            subnets=subnets,
            open=request.open,
            masquerade=request.masquerade,
            host_access=request.host_access,
            link_local=request.link_local,
            routing=request.routing,
            mtu=mtu,
        )
        numbered = msgspec.structs.replace(cluster, next_network=cluster.next_network + 1)
        await self.records.commit([network, numbered])
        return network

    async def update_network(self, name: str, change: NetworkChange) -> Network:
        """All but a new MTU holds for its endpoints at once; that is for new ones."""
        network = await self.decide(lambda: self._update(name, change))
        await self.convergence.settle([TABLE])
        return network

    async def _update(self, name: str, change: NetworkChange) -> Network:
        old = admission.network(self.facts, name)
        given = {k: v for k, v in msgspec.structs.asdict(change).items() if v is not None}
        if not given:
            raise Invalid("nothing to change was given", "expected e.g. open or mtu")
        network: Network = msgspec.structs.replace(old, **given)
        admission.mtu(network.mtu, {s.version for s in network.subnets})
        await self.records.commit([network])
        return network

    async def connect_networks(self, name: str, other: str) -> None:
        await self._connect(name, other, connected=True)

    async def disconnect_networks(self, name: str, other: str) -> None:
        await self._connect(name, other, connected=False)

    async def _connect(self, name: str, other: str, *, connected: bool) -> None:
        if name == other:
            raise Invalid(f"network '{name}' cannot be connected with itself", "name two networks")
        await self.decide(lambda: self._set_connected(name, other, connected=connected))
        await self.convergence.settle()

    async def _set_connected(self, name: str, other: str, *, connected: bool) -> None:
        one, two = admission.network(self.facts, name), admission.network(self.facts, other)
        if connected == (two.number in one.connected and one.number in two.connected):
            if connected:
                return
            raise NotFound(
                f"networks '{name}' and '{other}' are not connected", "see: seaway network ls"
            )
        await self.records.commit(
            [_joined(one, two, connected=connected), _joined(two, one, connected=connected)]
        )

    # Removal: another host may attach while this one decides, and needs no store for that. So the
    # network is marked first, and those that have blocks of it say that nobody is on it any more.

    async def remove_network(self, name: str) -> None:
        await self.decide(lambda: self._set_leaving(name, leaving=True))
        try:
            await self._refuse_used(name)
            await self.decide(lambda: self._delete(name))
        except SeawayError:
            with suppress(SeawayError):  # its mark stays: the next removal goes on
                await self.decide(lambda: self._set_leaving(name, leaving=False))
            raise
        await self.convergence.settle([TABLE])

    async def _set_leaving(self, name: str, *, leaving: bool) -> None:
        network = admission.network(self.facts, name)
        self._refuse_own(network)
        if network.leaving != leaving and (self.facts.number(Peer) or network.leaving):
            await self.records.commit([msgspec.structs.replace(network, leaving=leaving)])

    def _refuse_own(self, network: Network) -> None:
        if endpoints := self.facts.where(Endpoint, "network", network.name):
            _refuse(network.name, [e.name for e in endpoints])
        services = self.facts.where(Service, "network", network.name)
        slices = self.facts.where(EndpointSlice, "network", network.name)
        if names := [*(s.name for s in services), *(f"slice {s.name}" for s in slices)]:
            raise Conflict(
                f"network '{network.name}' has services: {', '.join(names[:_TOLD])}",
                "remove them first: seaway service rm, or seaway delete -f FILE",
            )

    async def _refuse_used(self, name: str) -> None:
        """On other hosts, as they say; and services, which any host may have made meanwhile."""
        if self.facts.number(Peer):
            await self.records.reload()
        owners = {block.host for block in self.facts.where(Block, "network", name)}
        peers = [peer for peer in self.facts.all(Peer) if peer.name in owners]
        answers = await self.ask_all(peers, f"/v1/networks/{name}/use", UseReport)
        for peer, told in answers.items():
            if isinstance(told, SeawayError):
                raise told
            if told.endpoints:
                _refuse(name, list(told.endpoints), f" on host '{peer}'")
            if not told.leaving:
                raise Unavailable(
                    f"host '{peer}' does not know yet that '{name}' is removed", "try again"
                )

    async def network_use(self, name: str) -> UseReport:
        """What this host says of it to one that removes it. What is under way here comes first."""
        if not admission.network(self.facts, name).leaving:
            await self.records.reload()
        async with self.deciding:
            network = self.facts.get(Network, name)
            endpoints = self.facts.where(Endpoint, "network", name)
            return UseReport(
                leaving=network is None or network.leaving,
                endpoints=tuple(sorted(e.name for e in endpoints)),
            )

    async def _delete(self, name: str) -> None:
        network = admission.network(self.facts, name)
        self._refuse_own(network)
        others = [
            _joined(other, network, connected=False)
            for other in self.facts.all(Network)
            if network.number in other.connected
        ]
        blocks = self.facts.where(Block, "network", name)
        await self.records.commit(others, [network, *blocks])
        self.allocator.remove(name)


def _refuse(network: str, endpoints: list[str], where: str = "") -> NoReturn:
    names = ", ".join(endpoints[:_TOLD])
    raise Conflict(
        f"network '{network}' has {len(endpoints)} endpoints{where}: {names}", "detach them first"
    )


def _joined(network: Network, other: Network, *, connected: bool) -> Network:
    numbers = set(network.connected) - {other.number} | ({other.number} if connected else set())
    return msgspec.structs.replace(network, connected=tuple(sorted(numbers)))
