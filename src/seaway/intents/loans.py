"""Single addresses that hosts lend each other, where one finds no free block, or is asked for an
address of another one's.

The host that has the block decides, as it alone knows whom it has given its addresses to. It
commits a block of one address for the other host, keeps that address from its own endpoints, and
answers; only who was answered uses it. What was lent and is not used is returned by deleting that
block.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import partial

from seaway import admission
from seaway.desired.network.blocks import is_single, overlaps
from seaway.errors import Conflict, Exhausted, Forbidden, SeawayError, Unavailable
from seaway.intents.desk import Desk
from seaway.ipam import around
from seaway.model.addresses import Address, host_prefix
from seaway.model.facts import Block, Endpoint, Network, Peer
from seaway.model.requests import Loan


class LoanNeeded(Exhausted):
    """This host has no address between these (both included), and none is free for all."""

    def __init__(self, why: Exhausted, network: Network, first: Address, last: Address) -> None:
        super().__init__(why.message, why.hint)
        self.network = network
        self.first = first
        self.last = last

    @property
    def certain(self) -> bool:
        """Whether it is one very address."""
        return self.first == self.last


class LoanIntents(Desk):
    async def lend(self, loan: Loan, caller: str) -> Block:
        """The lowest address that is free of this host's blocks becomes another host's. `caller`:
        which host asks; empty: somebody here, for it.
        """
        if self.facts.get(Peer, loan.host) is None or caller not in {loan.host, ""}:
            raise Forbidden(f"host '{loan.host}' is not the one that asks", "each asks for itself")
        return await self.decide(lambda: self._lend(loan))

    async def _lend(self, loan: Loan) -> Block:
        network = admission.network(self.facts, loan.network)
        if network.leaving:
            raise Conflict(f"network '{network.name}' is being removed", "use another one")
        if self.here.draining:
            raise Exhausted(
                f"host '{self.host.name}' is draining, and lends no address",
                f"ask for one of another host's, or: seaway host drain {self.host.name} --undo",
            )
        if loan.first == loan.last:
            self._refuse_held(loan.first)
        address = self.allocator.take_between(network, loan.first, loan.last)
        own = {b.prefix: b for b in self.facts.where(Block, "host", self.host.name)}
        block = around(own, network, address) if address else None
        if address is None or block is None:
            raise Exhausted(
                f"host '{self.host.name}' has no address of network '{network.name}' to lend",
                "detach endpoints there",
            )
        lent = Block(prefix=host_prefix(address), network=network.name, host=loan.host)
        try:
            await self.records.commit([lent], rests=[block])
        except Unavailable:
            self.allocator.doubted[address] = network.name
            self.stirred.set()
            raise
        except BaseException:
            self.allocator.release(network.name, address, used=False)
            raise
        self.learnt()
        return lent

    def _refuse_held(self, address: Address) -> None:
        for endpoint in self.facts.where(Endpoint, "address", address):
            raise Conflict(
                f"address {address} is taken by endpoint '{endpoint.name}' of host "
                f"'{self.host.name}'",
                "ask for another, or none",
            )

    async def borrow(self, needed: LoanNeeded) -> Address:
        """Of the first host that has one and lends it; else `needed` itself is raised."""
        loan = Loan(
            network=needed.network.name,
            host=self.host.name,
            first=needed.first,
            last=needed.last,
        )
        unreached = []
        for peer in self._owners(needed):
            try:
                lent: Block = await self.others.ask(peer, "POST", "/v1/loans", loan, Block)
            except Exhausted:
                continue
            except Unavailable as error:
                unreached.append(error.message)
                continue
            address: Address = lent.prefix.network_address
            self.allocator.grant(address)
            return address
        if unreached:
            raise Unavailable(
                f"{needed.message}; who could lend one is not reached: {'; '.join(unreached)}",
                needed.hint,
            )
        raise needed

    def _owners(self, needed: LoanNeeded) -> Iterator[Peer]:
        """Hosts with a block in which such an address may be."""
        hosts = {
            block.host
            for block in self.facts.where(Block, "network", needed.network.name)
            if block.prefix.version == needed.first.version
            and not is_single(block.prefix)
            and int(block.prefix.broadcast_address) >= int(needed.first)
            and int(block.prefix.network_address) <= int(needed.last)
        }
        for name in sorted(hosts):
            if peer := self.facts.get(Peer, name):
                yield peer

    def singles(self) -> list[Block]:
        """Blocks of one address that this host has, and is not to give to anybody it likes."""
        found = []
        for block in self.facts.where(Block, "host", self.host.name):
            network = self.facts.get(Network, block.network)
            if is_single(block.prefix) and network and block.prefix not in network.subnets:
                found.append(block)
        return found

    async def return_loans(self) -> None:
        """Single addresses that nobody here has any more."""
        for block in self.singles():
            await self.decide(partial(self._return, block))

    async def settle_doubts(self) -> None:
        """What was perhaps lent. It rested on the block being as it was: when that is written anew,
        no late request can lend it any more.
        """
        for address, name in list(self.allocator.doubted.items()):
            await self.decide(partial(self._settle, address, name))

    async def _settle(self, address: Address, name: str) -> None:
        own = {b.prefix: b for b in self.facts.where(Block, "host", self.host.name)}
        network = self.facts.get(Network, name)
        if network and (block := around(own, network, address)):
            await self.records.commit([block])
        await self.records.reload()
        del self.allocator.doubted[address]
        self.learnt()
        if self.facts.get(Block, str(host_prefix(address))) is None:
            self.allocator.release(name, address, used=False)

    async def _return(self, block: Block) -> None:
        address = block.prefix.network_address
        held = self.facts.where(Endpoint, "address", address) or address in self.going
        if held or self.allocator.is_granted(address) or not self._has(block):
            return
        await self.records.commit((), [block])

    def _has(self, block: Block) -> bool:
        return self.facts.get(Block, str(block.prefix)) == block

    async def claim_foreign(self) -> None:
        """What another IPAM gave before there were other hosts: now they must find the way."""
        if not self.facts.number(Peer):
            return
        for endpoint in self.facts.all(Endpoint):
            for interface in endpoint.addresses:
                network = self.facts.get(Network, endpoint.network)
                if network and (block := self.missing_single(network, interface.ip)):
                    with suppress(SeawayError):  # told by `ipam check`
                        await self.records.commit([block])

    def missing_single(self, network: Network, address: Address) -> Block | None:
        """The block of this one address by which other hosts find the way to it; None: there is one
        of this host's that it lies in.
        """
        for block in self.facts.where(Block, "host", self.host.name):
            if overlaps(block.prefix, host_prefix(address)):
                return None
        return Block(prefix=host_prefix(address), network=network.name, host=self.host.name)

    def owner_of(self, network: Network, address: Address) -> str:
        """Which other host has the block around it; empty: none."""
        for block in self.facts.where(Block, "network", network.name):
            if block.host != self.host.name and overlaps(block.prefix, host_prefix(address)):
                return block.host
        return ""
