"""Addresses: who holds which and why, what is inconsistent, and how it is mended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from msgspec.structs import replace

from seaway.converge import Key
from seaway.desired.network.blocks import overlaps, spared
from seaway.desired.network.networks import TABLE
from seaway.desired.network.ports import left_ports
from seaway.desired.transport.naming import told_keys
from seaway.desired.transport.publications import publications_of
from seaway.errors import Conflict, NotFound, SystemFailed
from seaway.intents.desk import Desk
from seaway.model.addresses import Address, host_prefix
from seaway.model.facts import Attached, Before, Block, Endpoint, Network, Peer, Publication
from seaway.model.kernel import HOOKS
from seaway.model.reports import BlockReport, Holder, Leak
from seaway.names import link_name
from seaway.records import parse


class AddressIntents(Desk):
    async def ipam(self) -> list[BlockReport]:
        """Every block with its holders; the hosts' own addresses lie outside of blocks."""
        blocks = sorted(self.facts.all(Block), key=lambda b: (b.network, str(b.prefix)))
        holders: dict[str, list[Holder]] = {str(b.prefix): [] for b in blocks}
        for endpoint in await self._everybodys():
            for address in (i.ip for i in endpoint.addresses):
                if block := self._block_of(endpoint, address):
                    holders[str(block.prefix)].append(_holder(endpoint, address))
        return [self._block_report(block, holders[str(block.prefix)]) for block in blocks]

    async def _everybodys(self) -> list[Endpoint]:
        """Endpoints of all hosts, as far as they are known here."""
        own = self.facts.all(Endpoint)
        if not self.facts.number(Peer):
            return own
        items = (await self.seen()).items
        found = (parse(k, i.value) for k, i in items.items() if k.startswith("endpoints/"))
        others = (e for e in found if isinstance(e, Endpoint) and e.host != self.host.name)
        return [*own, *others]

    def _block_of(self, endpoint: Endpoint, address: Address) -> Block | None:
        """By which its host has the address: the smallest that is around it."""
        found = [
            block
            for block in self.facts.where(Block, "network", endpoint.network)
            if block.host == endpoint.host and overlaps(block.prefix, host_prefix(address))
        ]
        return max(found, key=lambda b: b.prefix.prefixlen, default=None)

    def _block_report(self, block: Block, holders: list[Holder]) -> BlockReport:
        return BlockReport(
            prefix=block.prefix,
            network=block.network,
            host=block.host,
            size=block.prefix.num_addresses,
            usable=self._usable(block),
            used=len(holders),
            holders=tuple(sorted(holders, key=lambda h: int(h.address))),
        )

    def _usable(self, block: Block) -> int:
        network = self.facts.get(Network, block.network)
        for subnet in network.subnets if network else ():
            if overlaps(subnet, block.prefix):
                return spared(subnet, block.prefix)
        return block.prefix.num_addresses

    async def ipam_check(self) -> list[Leak]:
        """Addresses held by what is not there, or by more than one."""
        leaks = [leak for e in self.facts.all(Endpoint) for leak in self._leaks(e)]
        hosts = {self.host.name, *(peer.name for peer in self.facts.all(Peer))}
        for block in self.facts.all(Block):
            if not self.facts.get(Network, block.network):
                problem = f"block of a network '{block.network}' that is not there"
                leaks.append(Leak(address=str(block.prefix), problem=problem, mend="seaway init"))
            if block.host not in hosts:
                problem = f"block of a host '{block.host}' that is not there"
                mend = f"seaway host rm {block.host}"
                leaks.append(Leak(address=str(block.prefix), problem=problem, mend=mend))
        everybodys = await self._everybodys()
        return leaks + self._twice(everybodys) + self._without_a_way(everybodys)

    def _twice(self, endpoints: Iterable[Endpoint]) -> list[Leak]:
        """Held on two hosts: after a store was restored, perhaps."""
        by_address: dict[Address, list[Endpoint]] = defaultdict(list)
        for endpoint in endpoints:
            for interface in endpoint.addresses:
                by_address[interface.ip].append(endpoint)
        return [
            Leak(
                address=str(address),
                problem=f"held twice: {' and '.join(_place(e) for e in found)}",
                mend=f"on host {found[-1].host}: seaway detach {found[-1].id}",
            )
            for address, found in by_address.items()
            if len(found) > 1
        ]

    def _without_a_way(self, endpoints: Iterable[Endpoint]) -> list[Leak]:
        """Other hosts send by blocks alone."""
        if not self.facts.number(Peer):
            return []
        return [
            Leak(
                address=str(interface.ip),
                problem=f"of {_place(endpoint)}, which has no block of it: others do not reach it",
                mend=f"on host {endpoint.host}: seaway detach {endpoint.id}",
            )
            for endpoint in endpoints
            for interface in endpoint.addresses
            if self._block_of(endpoint, interface.ip) is None
        ]

    def _leaks(self, endpoint: Endpoint) -> list[Leak]:
        mend = "seaway ipam release {address}"
        try:
            problem = self._problem(endpoint)
        except OSError as error:  # that it cannot be seen is no reason to release it
            problem, mend = f"cannot look for its container: {error}", "seaway doctor"
        if not problem:
            return []
        told = f"endpoint {endpoint.name} {problem}"
        return [
            Leak(address=str(i.ip), problem=told, mend=mend.format(address=i.ip))
            for i in endpoint.addresses
        ]

    def _problem(self, endpoint: Endpoint) -> str:
        """Why it holds its addresses for nothing; empty: it does not. OSError: nobody knows."""
        found = self.surroundings.namespace(endpoint.netns)
        same = endpoint.namespace.is_(found)
        attached = self.facts.get(Attached, endpoint.id)
        if attached and (found is None or same):
            return ""  # a runtime may have removed the path; the interface still is there
        if attached or same:
            return "has no interface (yet)"
        return "is of a container that is gone"

    async def release_address(self, address: Address) -> None:
        """Give a leaked address back, with the endpoint record that holds it."""
        held = self.facts.where(Endpoint, "address", address)
        if not held:
            for endpoint in await self._everybodys():
                if any(address == i.ip for i in endpoint.addresses):
                    raise Conflict(
                        f"{address} is held by {_place(endpoint)}", "say this on that host"
                    )
            raise NotFound(f"nobody holds {address}", "see: seaway ipam show")
        endpoint = held[0]
        if not self._problem(endpoint):
            raise Conflict(
                f"{address} is held by the running endpoint '{endpoint.name}'",
                f"detach it: seaway detach {endpoint.id}",
            )
        await self.forget_endpoint(endpoint)

    async def forget_endpoint(self, endpoint: Endpoint) -> None:
        """Its record, then its kernel objects, then its addresses are free.

        Many may be on their way at once: the kernel takes their links as one group. What it
        refuses is tried again, and the addresses wait for it (`give_back`).
        """
        async with self.deciding:
            found = self.facts.get(Endpoint, endpoint.id)
            if found is None or replace(found, ports=endpoint.ports) != endpoint:
                return  # somebody was faster
            endpoint = found  # its ports may have changed meanwhile
            keys = self.keys_of(endpoint) + told_keys(endpoint)
            await self.records.commit(self._left_ports(endpoint.ports), [endpoint])
            self.going |= {interface.ip for interface in endpoint.addresses}
            # At once: the next endpoint of this id must not take the old link for its own.
            self.facts.change(Attached, endpoint.id, None)
        await self.convergence.settle(keys)
        if self._left(endpoint):
            self.lingering_links.append(endpoint)
            failures = (self.convergence.failure(*key) for key in _holding(endpoint))
            raise SystemFailed(
                f"the kernel does not let go of endpoint '{endpoint.name}' yet: "
                f"{next((f for f in failures if f), 'it is busy')}",
                "it is tried again every second; see: seaway status",
            )
        self._free(endpoint)

    def _left_ports(self, ports: Iterable[Publication]) -> list[Before]:
        """What is to be recorded with the end of these publications."""
        ended = (port.host_port for port in ports)
        return left_ports(self.facts.get(Before, self.host.name), ended)

    def give_back(self) -> None:
        """The addresses of those of whom the kernel has nothing left by now."""
        lingering, self.lingering_links = self.lingering_links, []
        for endpoint in lingering:
            if self._left(endpoint):
                self.lingering_links.append(endpoint)
            else:
                self._free(endpoint)

    def _left(self, endpoint: Endpoint) -> bool:
        return any(
            self.convergence.pending(*key) or self.convergence.failure(*key)
            for key in _holding(endpoint)
        )

    def _free(self, endpoint: Endpoint) -> None:
        for interface in endpoint.addresses:
            self.going.discard(interface.ip)
            self.allocator.release(endpoint.network, interface.ip)
            if self.facts.get(Block, str(host_prefix(interface.ip))):
                self.stirred.set()  # it was lent, or is of another IPAM: to be returned

    def keys_of(self, endpoint: Endpoint) -> list[Key]:
        """Every kernel object that an endpoint asks for."""
        link = link_name(endpoint.id)
        keys: list[Key] = [("links", link), ("shapers", link)]
        keys += [("attachments", (link, hook)) for hook in HOOKS]
        keys += [("endpoints", i.ip) for i in endpoint.addresses]
        keys += [("publications", key) for key in publications_of(endpoint)]
        keys += [("origins", i.ip) for i in endpoint.addresses]
        keys += [("routes", host_prefix(i.ip)) for i in endpoint.addresses]
        keys += [TABLE] if endpoint.ports else []  # nobody leaves from a published port
        attached = self.facts.get(Attached, endpoint.id)
        return keys + ([("interfaces", attached.ifindex)] if attached else [])


def _holding(endpoint: Endpoint) -> list[Key]:
    """By what of the kernel an endpoint still has its addresses."""
    addresses = [i.ip for i in endpoint.addresses]
    keys: list[Key] = [("links", link_name(endpoint.id))]
    keys += [("endpoints", address) for address in addresses]
    return keys + [("routes", host_prefix(address)) for address in addresses]


def _place(endpoint: Endpoint) -> str:
    return f"endpoint {endpoint.network}/{endpoint.name} on host {endpoint.host}"


def _holder(endpoint: Endpoint, address: Address) -> Holder:
    reason = f"{endpoint.name}, {endpoint.interface} of {endpoint.container} ({endpoint.door})"
    return Holder(address=address, endpoint=endpoint.id, reason=reason)
