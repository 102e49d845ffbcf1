"""Networks: made, changed, connected, removed."""

from __future__ import annotations

import msgspec

from seaway import admission
from seaway.desired.network.blocks import cautions
from seaway.desired.network.networks import TABLE
from seaway.desired.network.overlay import overhead
from seaway.errors import Conflict, Invalid, NotFound
from seaway.intents.desk import Desk
from seaway.model import forms
from seaway.model.facts import Block, Cluster, Endpoint, Network
from seaway.model.reports import NetworkMade, NetworkReport
from seaway.model.requests import NetworkChange, NewNetwork


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
        async with self.deciding:
            if self.facts.get(Network, request.name):
                raise Conflict(
                    f"there is a network '{request.name}' already", "choose another name"
                )
            foreign = self.surroundings.foreign_prefixes()
            subnets = admission.subnets(self.facts, request, foreign)
            cluster = self.facts.get(Cluster, "cluster")
            assert cluster is not None
            added = overhead(self.host.underlay, cluster.encapsulation)
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
                mtu=mtu,
            )
            numbered = msgspec.structs.replace(cluster, next_network=cluster.next_network + 1)
            await self.records.commit([network, numbered])
        await self.convergence.settle([TABLE])
        warnings = tuple(w for subnet in subnets for w in cautions(subnet, foreign, "subnet"))
        return NetworkMade(**msgspec.structs.asdict(network), warnings=warnings)

    async def update_network(self, name: str, change: NetworkChange) -> Network:
        """All but a new MTU holds for its endpoints at once; that is for new ones."""
        async with self.deciding:
            old = admission.network(self.facts, name)
            given = {k: v for k, v in msgspec.structs.asdict(change).items() if v is not None}
            if not given:
                raise Invalid("nothing to change was given", "expected e.g. open or mtu")
            network: Network = msgspec.structs.replace(old, **given)
            admission.mtu(network.mtu, {s.version for s in network.subnets})
            await self.records.commit([network])
        await self.convergence.settle([TABLE])
        return network

    async def connect_networks(self, name: str, other: str) -> None:
        await self._join(name, other, connected=True)

    async def disconnect_networks(self, name: str, other: str) -> None:
        await self._join(name, other, connected=False)

    async def _join(self, name: str, other: str, *, connected: bool) -> None:
        if name == other:
            raise Invalid(f"network '{name}' cannot be connected with itself", "name two networks")
        async with self.deciding:
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
        await self.convergence.settle()

    async def remove_network(self, name: str) -> None:
        async with self.deciding:
            network = admission.network(self.facts, name)
            endpoints = self.facts.where(Endpoint, "network", name)
            if endpoints:
                names = ", ".join(e.name for e in endpoints[:5])
                raise Conflict(
                    f"network '{name}' has {len(endpoints)} endpoints: {names}", "detach them first"
                )
            others = [
                _joined(other, network, connected=False)
                for other in self.facts.all(Network)
                if network.number in other.connected
            ]
            blocks = self.facts.where(Block, "network", name)
            await self.records.commit(others, [network, *blocks])
            self.allocator.remove(name)
        await self.convergence.settle([TABLE])


def _joined(network: Network, other: Network, *, connected: bool) -> Network:
    numbers = set(network.connected) - {other.number} | ({other.number} if connected else set())
    return msgspec.structs.replace(network, connected=tuple(sorted(numbers)))
