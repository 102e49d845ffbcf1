"""Which addresses a new endpoint gets: of this host's blocks, of new ones, or lent ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_interface

from seaway.errors import Conflict, Exhausted, Invalid
from seaway.intents.loans import LoanIntents, LoanNeeded
from seaway.model.addresses import Address, Interface
from seaway.model.facts import Block, Endpoint, Network, Peer
from seaway.model.requests import IpRange, NewEndpoint


@dataclass
class Taken:
    """What is given back, should the endpoint come to nothing."""

    addresses: list[Address] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)  # to be claimed with it

    @property
    def interfaces(self) -> tuple[Interface, ...]:
        return tuple(map(ip_interface, sorted(self.addresses, key=lambda a: a.version)))


class TakingIntents(LoanIntents):
    @contextmanager
    def taken(
        self, network: Network, request: NewEndpoint
    ) -> Iterator[tuple[tuple[Interface, ...], list[Block]]]:
        """Addresses of every family, and blocks to be claimed with them."""
        taken = Taken()
        try:
            if request.foreign:
                addresses = request.foreign
                self._foreign(network, addresses, taken)
            else:
                self._take_asked(network, request, taken)
                self._take_rest(network, taken)
                addresses = taken.interfaces
            yield addresses, taken.blocks
        except BaseException:
            for block in taken.blocks:
                self.allocator.drop(block)
            for address in taken.addresses:
                self.allocator.release(network.name, address, used=False)
            raise
        finally:
            self.allocator.claiming -= {block.prefix for block in taken.blocks}
            if taken.blocks:
                self.learnt()  # it may be ours all the same, where nobody answered

    def _take_asked(self, network: Network, request: NewEndpoint, taken: Taken) -> None:
        wanted = list(request.addresses)
        wanted += [self._first_of(network, wish) for wish in request.ranges]
        if len({a.version for a in wanted}) != len(wanted):
            raise Invalid(
                "more than one address of a family was asked for", "ask for one IPv4 and one IPv6"
            )
        for address in wanted:
            block = self.allocator.missing_block(network, address)
            if block and (owner := self.owner_of(network, address)):
                raise LoanNeeded(_elsewhere(address, owner), network, address, address)
            self._claim(block, network, taken)
            self.allocator.take_certain(network, address)
            taken.addresses.append(address)

    def _first_of(self, network: Network, wish: IpRange) -> Address:
        try:
            return self.allocator.first_of(network, wish)
        except Exhausted as error:
            first = wish.start or wish.subnet.network_address
            last = wish.end or wish.subnet.broadcast_address
            raise LoanNeeded(error, network, first, last) from error

    def _take_rest(self, network: Network, taken: Taken) -> None:
        families = {s.version for s in network.subnets} - {a.version for a in taken.addresses}
        for family in sorted(families):
            taken.addresses.append(self._take(network, family, taken))

    def _take(self, network: Network, family: int, taken: Taken) -> Address:
        address = self.allocator.take(network, family)
        if address is None:
            address = self.allocator.take_granted(network, family)
        if address is None:
            self._claim(self._next_block(network, family), network, taken)
            address = self.allocator.take(network, family)
            assert address is not None
        return address

    def _next_block(self, network: Network, family: int) -> Block:
        """Own single addresses do not hinder a block of this host's around them."""
        singles = {block.prefix for block in self.singles()}
        known = (b.prefix for b in self.facts.where(Block, "network", network.name))
        try:
            return self.allocator.claim(network, family, (p for p in known if p not in singles))
        except Exhausted as error:
            subnets = [s for s in network.subnets if s.version == family]
            first = min((s.network_address for s in subnets), key=int)
            last = max((s.broadcast_address for s in subnets), key=int)
            raise LoanNeeded(error, network, first, last) from error

    def _claim(self, block: Block | None, network: Network, taken: Taken) -> None:
        if block is None:
            return
        subnet = next(
            s
            for s in network.subnets
            if s.version == block.prefix.version and block.prefix.network_address in s
        )
        self.allocator.claiming.add(block.prefix)
        self.allocator.add(block, subnet)
        taken.blocks.append(block)

    def _foreign(self, network: Network, addresses: tuple[Interface, ...], taken: Taken) -> None:
        """Another IPAM gave these: one address still means one endpoint, inside its network."""
        for interface in addresses:
            if not any(interface.ip in s for s in network.subnets):
                pool = ", ".join(str(s) for s in network.subnets)
                raise Invalid(
                    f"address {interface.ip} of the other IPAM is outside network "
                    f"'{network.name}' ({pool})",
                    "make a network with that IPAM's subnet: seaway network create --subnet",
                )
            for other in self.facts.where(Endpoint, "address", interface.ip):
                raise Conflict(
                    f"address {interface.ip} is taken by endpoint '{other.name}'",
                    "give that IPAM a range of its own",
                )
            if self.facts.number(Peer):
                self._own_foreign(network, interface.ip, taken)

    def _own_foreign(self, network: Network, address: Address, taken: Taken) -> None:
        """Other hosts must find the way to it."""
        block = self.missing_single(network, address)
        if block is None or self.allocator.is_granted(address):
            return
        if owner := self.owner_of(network, address):
            raise LoanNeeded(_elsewhere(address, owner), network, address, address)
        self.allocator.claiming.add(block.prefix)
        taken.blocks.append(block)


def _elsewhere(address: Address, owner: str) -> Exhausted:
    return Exhausted(
        f"address {address} is one of host '{owner}', which does not lend it",
        "ask for another, or none",
    )
