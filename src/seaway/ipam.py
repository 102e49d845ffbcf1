"""Which address an endpoint gets: from the blocks that this host holds.

An address has no record of its own: it is taken because an endpoint's record holds it, so it
cannot leak apart from its endpoint. The allocator only remembers, for speed, in which order
the free ones were given back: the one that has been free the longest is given first.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping

from seaway.desired.network.blocks import block_of, free_block, is_single, overlaps, usable
from seaway.errors import Conflict, Exhausted, Invalid, Unavailable
from seaway.facts import Facts
from seaway.model.addresses import Address, Prefix, host_prefix
from seaway.model.facts import Block, Endpoint, Network
from seaway.model.requests import IpRange


class Allocator:
    """Addresses of this host's blocks. `holder` tells who has an address ("" for nobody), `owner`
    which host has a block ("" for none).

    What is taken here but not recorded must be given back (`release`). Of a block that is being
    claimed, `claiming` knows: it is no fact yet. A single address that another host has lent is
    given to whom it was lent for, and to nobody else (`grant`).
    """

    def __init__(
        self, host: str, holder: Callable[[Address], str], owner: Callable[[Prefix], str]
    ) -> None:
        self.host = host
        self.claiming: set[Prefix] = set()
        self._holder = holder
        self._owner = owner
        self._free: dict[str, dict[Prefix, deque[Address]]] = defaultdict(dict)
        self.doubted: dict[Address, str] = {}  # perhaps lent, nobody has said: of which network
        self._granted: set[Address] = set()
        self._lent: dict[Address, str] = {}  # to others, of our blocks: of which network

    def add(self, block: Block, subnet: Prefix) -> None:
        """A block of this host, of a network's subnet."""
        free = deque(a for a in usable(subnet, block.prefix) if not self._holder(a))
        self._free[block.network][block.prefix] = free

    def has(self, block: Block) -> bool:
        return block.prefix in self._free[block.network]

    def drop(self, block: Block) -> None:
        """A block that was not claimed after all, or is this host's no more."""
        self._free[block.network].pop(block.prefix, None)

    def remove(self, network: str) -> None:
        """A network that is no more, with its blocks."""
        self._free.pop(network, None)

    def blocks(self) -> list[Block]:
        """Those whose addresses are given here."""
        return [
            Block(prefix=prefix, network=network, host=self.host)
            for network, found in self._free.items()
            for prefix in found
        ]

    def grant(self, address: Address) -> None:
        """Another host has lent it."""
        self._granted.add(address)

    def is_granted(self, address: Address) -> bool:
        return address in self._granted

    def take_granted(self, network: Network, version: int) -> Address | None:
        """What was lent for whom asks now."""
        for address in sorted(self._granted, key=int):
            if address.version == version and any(address in s for s in network.subnets):
                self._granted.discard(address)
                return address
        return None

    def revoke(self, address: Address) -> None:
        """Whom it was lent for has it by now, or needs it no more."""
        self._granted.discard(address)

    def lend(self, lent: Mapping[Address, str]) -> None:
        """These of our addresses other hosts have, by network; what they had is free again."""
        for address, network in self._lent.items():
            if address not in lent:
                self.release(network, address)
        self._lent = dict(lent)

    def take(self, network: Network, version: int) -> Address | None:
        """The address that was free the longest; None where every block is full.

        What another IPAM gave of our blocks is held, but waits here until its turn comes.
        """
        for prefix, free in self._free[network.name].items():
            while prefix.version == version and free:
                address = free.popleft()
                if not self._holder(address):
                    return address
        return None

    def claim(self, network: Network, version: int, taken: Iterable[Prefix]) -> Block:
        """Another block for this host; `taken` are all blocks of all hosts."""
        known = list(taken)
        for subnet in network.subnets:
            if subnet.version == version and (prefix := free_block(subnet, known)):
                return Block(prefix=prefix, network=network.name, host=self.host)
        subnets = ", ".join(str(s) for s in network.subnets if s.version == version)
        raise Exhausted(
            f"network '{network.name}' has no free IPv{version} address left in {subnets}",
            "detach endpoints, or make a network with a larger --subnet",
        )

    def missing_block(self, network: Network, address: Address) -> Block | None:
        """The block to be claimed before this very address can be taken; None: we hold it."""
        subnet = self._subnet_of(network, address)
        prefix = block_of(subnet, address)
        if prefix in self._free[network.name] or address in self._granted:
            return None
        return Block(prefix=prefix, network=network.name, host=self.host)

    def take_certain(self, network: Network, address: Address) -> None:
        """Take this very address, of a block that we hold."""
        if holder := self._holder(address):
            raise Conflict(f"address {address} is taken by {holder}", "ask for another, or none")
        if address in self._granted:
            self._granted.discard(address)
            return
        if not self._is_free(network, address):
            raise Unavailable(f"address {address} is just being given back", "try again")
        self._free[network.name][block_of(self._subnet_of(network, address), address)].remove(
            address
        )

    def _is_free(self, network: Network, address: Address) -> bool:
        """Nobody's record holds it, and its last holder is gone from the kernel, too."""
        block = block_of(self._subnet_of(network, address), address)
        free = self._free[network.name].get(block)
        return not self._holder(address) and (free is None or address in free)

    def _subnet_of(self, network: Network, address: Address) -> Prefix:
        for subnet in network.subnets:
            if address in subnet:
                ends = (subnet.network_address, subnet.broadcast_address)
                if subnet.num_addresses > 2 and address in ends:
                    raise Invalid(
                        f"address {address} is the first or last of {subnet}",
                        "ask for one between them",
                    )
                return subnet
        pool = ", ".join(str(s) for s in network.subnets)
        raise Invalid(
            f"address {address} is outside network '{network.name}'", f"expected one in {pool}"
        )

    def first_of(self, network: Network, wanted: IpRange) -> Address:
        """The first free address of a range that a runtime asked for (CNI `ipRanges`)."""
        subnet = next((s for s in network.subnets if _covers(s, wanted.subnet)), None)
        if subnet is None:
            pool = ", ".join(str(s) for s in network.subnets)
            raise Invalid(
                f"range {wanted.subnet} is outside network '{network.name}'",
                f"expected a part of {pool}",
            )
        first = int(wanted.start or wanted.subnet.network_address)
        last = int(wanted.end or wanted.subnet.broadcast_address)
        for block in self._blocks(network, subnet, first, last):
            free = self._free[network.name].get(block)
            found = [
                address
                for address in (usable(subnet, block) if free is None else free)
                if first <= int(address) <= last and not self._holder(address)
            ]
            if found:
                return min(found, key=int)
        for address in sorted(self._granted, key=int):
            if address in subnet and first <= int(address) <= last:
                return address
        raise Exhausted(f"no free address in range {wanted.subnet}", "detach endpoints of it")

    def take_between(self, network: Network, first: Address, last: Address) -> Address | None:
        """The lowest that is free of the blocks that we hold; None: there is none."""
        found = [
            address
            for free in self._free[network.name].values()
            for address in free
            if address.version == first.version
            and int(first) <= int(address) <= int(last)
            and not self._holder(address)
        ]
        if not found:
            return None
        self.take_certain(network, lowest := min(found, key=int))
        return lowest

    def _blocks(self, network: Network, subnet: Prefix, first: int, last: int) -> Iterator[Prefix]:
        """Those of a range that may have a free address, in their order: full ones are many."""
        blocks = (p for p in self._free[network.name] if p.version == subnet.version)
        held = {int(p.network_address): p for p in blocks}
        kind = type(subnet.network_address)
        block = block_of(subnet, kind(first))
        for start in range(int(block.network_address), last + 1, block.num_addresses):
            known = held.get(start)
            if known is not None and self._free[network.name][known]:
                yield known
            elif known is None and not self._owner(found := block_of(subnet, kind(start))):
                yield found

    def release(self, network: str, address: Address, *, used: bool = True) -> None:
        """Free again: last in the queue; first, if nobody ever used it."""
        if self._holder(address):
            return
        for prefix, free in self._free[network].items():
            if address in prefix and address not in free:
                if used:
                    free.append(address)
                else:
                    free.appendleft(address)


def load_blocks(allocator: Allocator, facts: Facts) -> None:
    """The recorded blocks of this host, and what others have of them: at start, and whenever
    somebody else has changed something.
    """
    own = {b.prefix: b for b in facts.where(Block, "host", allocator.host)}
    for block in own.values():
        network = facts.get(Network, block.network)
        for subnet in network.subnets if network and not allocator.has(block) else ():
            if overlaps(subnet, block.prefix) and not (
                is_single(block.prefix) and subnet != block.prefix
            ):
                allocator.add(block, subnet)
    for block in allocator.blocks():
        if block.prefix not in own and block.prefix not in allocator.claiming:
            allocator.drop(block)
    lent = {}
    for network in facts.all(Network):
        for single in facts.where(Block, "single", network.name):
            address = single.prefix.network_address
            if single.host != allocator.host and around(own, network, address):
                lent[address] = network.name
    allocator.lend(lent)


def holder(facts: Facts, host: str) -> Callable[[Address], str]:
    """Who has an address, as this host knows: an endpoint of its own, or a host that it was lent
    to.
    """

    def held_by(address: Address) -> str:
        for endpoint in facts.where(Endpoint, "address", address):
            return f"endpoint '{endpoint.name}'"
        single = facts.get(Block, str(host_prefix(address)))
        return f"host '{single.host}'" if single and single.host != host else ""

    return held_by


def owner(facts: Facts, host: str) -> Callable[[Prefix], str]:
    """Which other host has a block."""

    def owned_by(prefix: Prefix) -> str:
        block = facts.get(Block, str(prefix))
        return block.host if block and block.host != host else ""

    return owned_by


def around(own: Mapping[Prefix, Block], network: Network, address: Address) -> Block | None:
    """The block of ours that an address lies in."""
    for subnet in network.subnets:
        if address in subnet and (block := own.get(block_of(subnet, address))):
            return block
    return None


def _covers(subnet: Prefix, inner: Prefix) -> bool:
    return overlaps(subnet, inner) and subnet.prefixlen <= inner.prefixlen
