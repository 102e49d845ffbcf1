"""Stand-ins that keep the contract of the real thing in memory, without kernel or store."""

from __future__ import annotations

from ipaddress import ip_interface, ip_network
from itertools import islice

import msgspec

from seaway.errors import Conflict, Exhausted, Invalid, NotFound
from seaway.model.addresses import Address
from seaway.model.facts import Endpoint, Network, endpoint_id
from seaway.model.reports import BlockReport, EndpointReport, Holder, Leak, NetworkReport, Status
from seaway.model.requests import NetworkChange, NewEndpoint, NewNetwork
from seaway.names import link_name


class FakeIntents:
    """Networks and endpoints in two dicts. `leaked` holds addresses that nobody has."""

    def __init__(self) -> None:
        self.found: dict[str, Network] = {}
        self.attached: dict[str, Endpoint] = {}
        self.leaked: set[Address] = set()

    def status(self) -> Status:
        return Status(
            version="0",
            host="h",
            cluster="c",
            addresses=(),
            ready=True,
            pid=1,
            uptime=1.0,
            store="memory",
            attach="tcx",
            layout="none",
            networks=len(self.found),
            endpoints=len(self.attached),
            drops=(),
            drift_total=0,
            drift=(),
            failures=(),
        )

    def networks(self) -> list[NetworkReport]:
        return [self.network(name) for name in sorted(self.found)]

    def network(self, name: str) -> NetworkReport:
        network = self._network(name)
        numbers = {n.number: n.name for n in self.found.values()}
        return NetworkReport(
            network=network,
            connected=tuple(sorted(numbers[n] for n in network.connected)),
            endpoints=sum(e.network == name for e in self.attached.values()),
        )

    def _network(self, name: str) -> Network:
        if name not in self.found:
            raise NotFound(f"there is no network '{name}'", "known: " + ", ".join(self.found))
        return self.found[name]

    async def create_network(self, new: NewNetwork) -> Network:
        if not new.name.islower():
            raise Invalid(f"'{new.name}' is no network name", "expected lower case")
        if new.name in self.found:
            raise Conflict(f"there is a network '{new.name}' already", "choose another name")
        number = len(self.found) + 1
        fields = msgspec.structs.asdict(new) | {"number": number}
        fields["subnets"] = new.subnets or (ip_network(f"10.208.{number}.0/24"),)
        del fields["families"]
        self.found[new.name] = Network(**fields)
        return self.found[new.name]

    async def update_network(self, name: str, change: NetworkChange) -> Network:
        given = {k: v for k, v in msgspec.structs.asdict(change).items() if v is not None}
        if not given:
            raise Invalid("nothing to change was given", "expected e.g. open or mtu")
        self.found[name] = msgspec.structs.replace(self._network(name), **given)
        return self.found[name]

    async def connect_networks(self, name: str, other: str) -> None:
        for one, two in ((name, other), (other, name)):
            numbers = {*self._network(one).connected, self._network(two).number}
            self._connect(one, numbers)

    async def disconnect_networks(self, name: str, other: str) -> None:
        if self._network(other).number not in self._network(name).connected:
            raise NotFound(f"networks '{name}' and '{other}' are not connected")
        for one, two in ((name, other), (other, name)):
            numbers = {*self._network(one).connected} - {self._network(two).number}
            self._connect(one, numbers)

    def _connect(self, name: str, numbers: set[int]) -> None:
        network = msgspec.structs.replace(self.found[name], connected=tuple(sorted(numbers)))
        self.found[name] = network

    async def remove_network(self, name: str) -> None:
        if count := self.network(name).endpoints:
            raise Conflict(f"network '{name}' has {count} endpoints", "detach them first")
        del self.found[name]

    async def attach(self, new: NewEndpoint) -> Endpoint:
        network = self._network(new.network)
        container = new.container or "netns-1"
        address = self._free(network) if not new.addresses else new.addresses[0]
        name = new.name or container[:12]
        if any((e.network, e.name) == (new.network, name) for e in self.attached.values()):
            raise Conflict(f"the name '{name}' is taken in network '{new.network}'")
        endpoint = Endpoint(
            id=endpoint_id(container, new.interface),
            name=name,
            container=container,
            interface=new.interface,
            host="h",
            network=new.network,
            netns=new.netns,
            netns_inode=1,
            addresses=(ip_interface(address),),
            mac="02:00:00:00:00:01",
            mtu=new.mtu or network.mtu,
            labels=new.labels,
        )
        self.attached[endpoint.id] = endpoint
        return endpoint

    def _free(self, network: Network) -> Address:
        taken = {i.ip for e in self.attached.values() for i in e.addresses}
        for address in islice(network.subnets[0].hosts(), 1, None):
            if address not in taken:
                return address
        raise Exhausted(f"network '{network.name}' has no free address", "detach something")

    async def detach(self, ref: str) -> None:
        del self.attached[self._endpoint(ref).id]

    def _endpoint(self, ref: str) -> Endpoint:
        for e in self.attached.values():
            if ref in (e.id, e.name, f"{e.network}/{e.name}"):
                return e
        raise NotFound(f"there is no endpoint '{ref}'", "see: seaway endpoint ls")

    def endpoints(self, network: str | None = None) -> list[EndpointReport]:
        if network is not None:
            self._network(network)
        found = [e for e in self.attached.values() if network in (None, e.network)]
        return [self._report(e) for e in sorted(found, key=lambda e: (e.network, e.name))]

    def endpoint(self, ref: str) -> EndpointReport:
        return self._report(self._endpoint(ref))

    def _report(self, endpoint: Endpoint) -> EndpointReport:
        return EndpointReport(endpoint=endpoint, link=link_name(endpoint.id), ifindex=7, drops=())

    def ipam(self) -> list[BlockReport]:
        return [self._block(n) for n in sorted(self.found.values(), key=lambda n: n.name)]

    def _block(self, network: Network) -> BlockReport:
        holders = tuple(
            Holder(address=i.ip, endpoint=e.id, reason=e.name)
            for e in self.attached.values()
            for i in e.addresses
            if e.network == network.name
        )
        prefix = network.subnets[0]
        return BlockReport(
            prefix=prefix,
            network=network.name,
            host="h",
            size=prefix.num_addresses,
            used=len(holders),
            holders=holders,
        )

    def ipam_check(self) -> list[Leak]:
        return [
            Leak(address=str(a), problem="its container is gone", mend=f"seaway ipam release {a}")
            for a in sorted(self.leaked, key=str)
        ]

    async def release_address(self, address: Address) -> None:
        if address not in self.leaked:
            raise NotFound(f"nobody holds {address}", "see: seaway ipam show")
        self.leaked.remove(address)
