"""Hosts over one store that fails in every way: in the end each knows what a new one would know."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import clock
from clock import JumpingLoop
from fakes_etcd import FakeEtcdStore, Fate
from keepers import HOSTS, LONG, Keeper, begun, block, endpoint, from_nothing, known, network
from seaway.errors import Conflict, Unavailable
from seaway.model.facts import Block, Endpoint, Value
from seaway.records import store_key
from seaway.store.remembering import Remembering

hosts = st.sampled_from(HOSTS)
few = st.integers(1, 3)
mtus = st.sampled_from((1400, 1500))
at_once = st.one_of(st.none(), st.integers(0, 6))  # None: it is waited for


class Hosts(RuleBasedStateMachine):
    """`own`: what the records of each host's endpoints may be, as it was told or asked last."""

    @initialize()
    def begin(self) -> None:
        self.loop = JumpingLoop()
        self.etcd = self.run(begun())
        self.saved = self.etcd.save()
        self.keepers = {name: Keeper(name, self.etcd) for name in HOSTS}
        self.own: dict[tuple[str, str], list[Value | None]] = {}
        for keeper in self.keepers.values():
            self.run(keeper.boot())

    def run(self, work: Awaitable[Any]) -> Any:
        return self.loop.run_until_complete(work)

    # What hosts do

    async def change(
        self, host: str, put: Sequence[Value], delete: Sequence[Value], steps: int | None
    ) -> None:
        """For so many steps of the loop: it may go on while other things happen, or be killed."""
        task = self.keepers[host].start(self._change(host, put, delete))
        if steps is None:
            await asyncio.wait([task])
        for _ in range(steps or 0):
            await asyncio.sleep(0)

    async def _change(self, host: str, put: Sequence[Value], delete: Sequence[Value]) -> None:
        new: dict[str, Value | None] = {store_key(r): r for r in put}
        new |= {store_key(r): None for r in delete}
        own = {k: v for k, v in new.items() if k.startswith("endpoints/")}
        for key, value in own.items():
            self.own.setdefault((host, key), [None]).append(value)
        try:
            await self.keepers[host].records.commit(put, delete)
        except (Conflict, Unavailable):
            return
        for key, value in own.items():
            may_be = self.own[host, key]
            del may_be[: may_be.index(value)]

    @rule(host=hosts, number=few, mtu=mtus, steps=at_once)
    def attach(self, host: str, number: int, mtu: int, steps: int | None) -> None:
        self.run(self.change(host, [endpoint(host, number, mtu)], [], steps))

    @rule(host=hosts, number=few, steps=at_once)
    def detach(self, host: str, number: int, steps: int | None) -> None:
        self.run(self.change(host, [], [endpoint(host, number)], steps))

    @rule(host=hosts, number=few, of=few, steps=at_once)
    def attach_with_a_block(self, host: str, number: int, of: int, steps: int | None) -> None:
        self.run(self.change(host, [endpoint(host, number), block(of, host)], [], steps))

    @rule(host=hosts, of=few, steps=at_once)
    def give_a_block_back(self, host: str, of: int, steps: int | None) -> None:
        if self.keepers[host].facts.get(Block, str(block(of, host).prefix)) == block(of, host):
            self.run(self.change(host, [], [block(of, host)], steps))

    @rule(host=hosts, name=st.sampled_from(("x", "y")), mtu=mtus, steps=at_once)
    def make_a_network(self, host: str, name: str, mtu: int, steps: int | None) -> None:
        self.run(self.change(host, [network(name, mtu)], [], steps))

    @rule(host=hosts, name=st.sampled_from(("x", "y")), steps=at_once)
    def remove_a_network(self, host: str, name: str, steps: int | None) -> None:
        self.run(self.change(host, [], [network(name)], steps))

    @rule(seconds=st.sampled_from((0.0, 1.0, 5.0)))
    def time_passes(self, seconds: float) -> None:
        self.run(clock.passes(seconds))

    # What befalls them

    @rule(host=hosts)
    def kill(self, host: str) -> None:
        self.run(self.keepers[host].kill())
        self.run(self.keepers[host].boot())

    @rule()
    def compact(self) -> None:
        self.etcd.compact()

    @rule()
    def break_watches(self) -> None:
        self.etcd.break_watches()

    @rule(host=hosts, cut=st.booleans())
    def cut(self, host: str, cut: bool) -> None:
        self.keepers[host].link.cut = cut

    @rule(host=hosts, fate=st.sampled_from(Fate))
    def decide(self, host: str, fate: Fate) -> None:
        self.keepers[host].link.fate = fate

    @rule()
    def what_was_late_is_done(self) -> None:
        self.etcd.do_late()

    @rule()
    def save(self) -> None:
        self.saved = self.etcd.save()

    @rule()
    def restore(self) -> None:
        self.etcd.restore(self.saved)

    # What is true

    @invariant()
    def what_a_host_alone_writes_is_as_it_was_told(self) -> None:
        for (host, key), may_be in self.own.items():
            fact = self.keepers[host].facts.get(Endpoint, key.rpartition("/")[2])
            assert fact in may_be

    def teardown(self) -> None:
        try:
            self.run(self._end())
        finally:
            self.run(self.loop.shutdown_asyncgens())
            self.loop.close()

    async def _end(self) -> None:
        for keeper in self.keepers.values():
            keeper.link.cut, keeper.link.fate = False, Fate.DONE
        await clock.passes(LONG)
        try:
            for name, keeper in self.keepers.items():
                assert await from_nothing(self.etcd, name) == known(keeper.facts)
                assert (None, 0) == (keeper.store.lost, keeper.store.unsent)
                alone = FakeEtcdStore(self.etcd)
                alone.cut = True
                remembered = Remembering(alone, FakeEtcdStore(keeper.cache), name)
                assert known(keeper.facts) == await from_nothing(remembered, name)
        finally:
            for keeper in self.keepers.values():
                await keeper.kill()


TestCluster = Hosts.TestCase
TestCluster.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
