"""Addresses of many hosts: no address twice, none lost, whatever fails."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from contextlib import suppress
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

import clock
from crowd import LONG, NET, crowd_of, whole
from fakes_etcd import Fate
from seaway.desired.network.blocks import usable
from seaway.errors import Conflict, Exhausted, SeawayError, Unavailable
from seaway.model.facts import Block, Endpoint, Network
from seaway.model.requests import IpRange, NewNetwork

HOSTS = "abc"
SMALL = "10.9.0.0/27"  # one block, of 30 addresses


def run(tmp_path, scenario, subnet=SMALL, hosts=HOSTS):
    async def whole_():
        crowd = await crowd_of(tmp_path, hosts, subnet)
        try:
            await scenario(crowd, *crowd.hosts.values())
        finally:
            await crowd.stop()

    clock.run(whole_())


def addresses(endpoints):
    return [i.ip for e in endpoints for i in e.addresses]


async def settled(crowd):
    """Everything is back, and everybody has looked."""
    crowd.etcd.up = True
    crowd.etcd.do_late()
    for host in crowd.hosts.values():
        host.link.cut, host.link.fate, host.answers_lost = False, Fate.DONE, 0
        if host.agent is None and not host.removed:
            await host.boot()
    await clock.passes(LONG)
    for host in crowd.living:
        host.intents.stirred.set()
    await clock.passes(LONG)


def assert_none_lost(crowd):
    """Each address of a block is free on its host, or somebody's."""
    blocks, endpoints = crowd.records(Block), crowd.records(Endpoint)
    held = {i.ip: e.host for e in endpoints for i in e.addresses}
    assert len(held) == len(addresses(endpoints))
    owners = {b.prefix: b.host for b in blocks}
    singles = {b.prefix.network_address: b.host for b in blocks if b.prefix.num_addresses == 1}
    (network,) = crowd.records(Network)
    for address, host in held.items():
        around = next((o for p, o in owners.items() if p.num_addresses > 1 and address in p), None)
        assert host == singles.get(address, around), address
    assert singles.keys() <= held.keys()
    for block in whole(blocks):
        host = crowd.hosts[block.host]
        allocator = host.intents.allocator
        free = set(allocator._free[NET][block.prefix])
        expected = set(usable(network.subnets[0], block.prefix)) - held.keys()
        assert expected == free, block


# Blocks


def test_hosts_that_attach_at_once_get_blocks_of_their_own(tmp_path):
    async def scenario(crowd, a, b, c):
        made = await asyncio.gather(*(h.attach(str(n)) for h in (a, b, c) for n in range(4)))
        assert 12 == len(set(addresses(made)))
        assert {"a", "b", "c"} == {block.host for block in crowd.records(Block)}
        await settled(crowd)
        assert_none_lost(crowd)

    run(tmp_path, scenario, "10.9.0.0/24")


def test_a_claim_that_was_not_answered_is_found_again_and_used(tmp_path):
    async def scenario(crowd, a, b, _c):
        a.link.fate = Fate.UNANSWERED
        with pytest.raises(Unavailable):
            await a.attach("1")
        await clock.passes(LONG)
        assert [] == crowd.records(Endpoint)
        await a.attach("2")
        await b.attach("3")
        assert 2 == len(crowd.records(Block))
        await settled(crowd)
        assert_none_lost(crowd)

    run(tmp_path, scenario, "10.9.0.0/25")


# Loans


def test_a_host_without_a_block_borrows_single_addresses_and_returns_them(tmp_path):
    async def scenario(crowd, a, b, c):
        await a.attach("1")
        lent = [await h.attach(str(n)) for h in (b, c) for n in range(3)]
        singles = {x.prefix.network_address: x.host for x in crowd.records(Block) if x.host != "a"}
        assert {i: e.host for e in lent for i in addresses([e])} == singles
        await clock.passes(LONG)
        for endpoint in lent:
            await crowd.hosts[endpoint.host].intents.detach(endpoint.id)
        await settled(crowd)
        assert ["a"] == [block.host for block in crowd.records(Block)]
        assert_none_lost(crowd)

    run(tmp_path, scenario)


def test_when_all_addresses_are_taken_everybody_is_told_so(tmp_path):
    async def scenario(crowd, *hosts):
        for n in range(30):
            await hosts[n % 3].attach(str(n))
        for host in hosts:
            with pytest.raises(Exhausted, match="no free IPv4 address left"):
                await host.attach("more")
        assert 30 == len(set(addresses(crowd.records(Endpoint))))
        await hosts[1].intents.detach("b-1")
        await clock.passes(LONG)
        await hosts[2].attach("again")
        await settled(crowd)
        assert_none_lost(crowd)

    run(tmp_path, scenario)


def test_a_host_that_drains_lends_nothing(tmp_path):
    async def scenario(crowd, a, b, c):
        await a.attach("1")
        await c.attach("1")
        await b.intents.drain("a", draining=True)
        await clock.passes(1)
        (of_c,) = (x.prefix for x in whole(crowd.records(Block)) if x.host == "c")
        lent = [await b.attach(str(n)) for n in range(3)]
        assert all(address in of_c for address in addresses(lent))
        (of_a,) = (x.prefix for x in whole(crowd.records(Block)) if x.host == "a")
        with pytest.raises(Exhausted):
            await b.attach("more", addresses=(of_a[9],))
        await b.intents.drain("a", draining=False)
        await clock.passes(1)
        assert [of_a[9]] == addresses([await b.attach("more", addresses=(of_a[9],))])
        await settled(crowd)
        assert_none_lost(crowd)

    run(tmp_path, scenario, "10.9.0.0/25")


def test_two_that_borrow_of_each_other_do_not_wait_for_each_other(tmp_path):
    async def scenario(crowd, a, b, _c):
        await a.attach("1")
        await b.attach("1")
        first, second = (
            x.prefix for x in sorted(whole(crowd.records(Block)), key=lambda x: x.host)
        )
        asked = asyncio.gather(
            a.attach("2", addresses=(second[9],)), b.attach("2", addresses=(first[9],))
        )
        made = await asyncio.wait_for(asked, 3)
        assert [second[9], first[9]] == addresses(made)
        await settled(crowd)
        assert_none_lost(crowd)

    run(tmp_path, scenario, "10.9.0.0/25")


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ("10.9.0.1", Conflict, "10.9.0.1 is taken by endpoint 'a-1' of host 'a'"),
        ("10.9.0.9", None, ""),
        ("10.9.0.31", SeawayError, "is the first or last"),
    ],
)
def test_an_address_of_another_host_is_asked_of_it(tmp_path, asked, error, words):
    async def scenario(crowd, a, b, _c):
        await a.attach("1")
        await clock.passes(1)
        if error is None:
            made = await b.attach("1", addresses=(ip_address(asked),))
            assert [ip_address(asked)] == addresses([made])
        else:
            with pytest.raises(error, match=words):
                await b.attach("1", addresses=(ip_address(asked),))
        await settled(crowd)
        assert_none_lost(crowd)

    run(tmp_path, scenario)


def test_a_range_within_the_block_of_another_host_is_asked_of_it(tmp_path):
    async def scenario(crowd, a, b, _c):
        await a.attach("1")
        await clock.passes(1)
        wish = IpRange(
            subnet=ip_network(SMALL), start=ip_address("10.9.0.20"), end=ip_address("10.9.0.21")
        )
        made = [await b.attach(str(n), ranges=(wish,)) for n in range(2)]
        assert ["10.9.0.20", "10.9.0.21"] == [str(x) for x in addresses(made)]
        with pytest.raises(Exhausted, match="no free address in range"):
            await b.attach("3", ranges=(wish,))
        await settled(crowd)
        assert_none_lost(crowd)

    run(tmp_path, scenario)


def test_an_answer_that_was_lost_leads_to_no_address_twice_and_none_lost(tmp_path):
    async def scenario(crowd, a, b, _c):
        await a.attach("1")
        await clock.passes(1)
        a.answers_lost = 1
        with pytest.raises(Unavailable, match="who could lend one is not reached"):
            await b.attach("1")
        await b.attach("2")
        for n in range(2, 29):
            await a.attach(str(n))
        assert 29 == len(set(addresses(crowd.records(Endpoint))))
        await settled(crowd)
        await a.attach("last")
        assert_none_lost(crowd)

    run(tmp_path, scenario)


def test_a_host_that_cannot_be_asked_lends_nothing_and_is_named(tmp_path):
    async def scenario(_crowd, a, b, _c):
        await a.attach("1")
        await clock.passes(1)
        await a.kill()
        with pytest.raises(Unavailable, match="who could lend one is not reached: host 'a'"):
            await b.attach("1")

    run(tmp_path, scenario)


def test_what_a_dead_host_had_is_free_once_it_is_removed_but_for_what_it_lent(tmp_path):
    async def scenario(crowd, a, b, c):
        await a.attach("1")
        await clock.passes(1)
        lent = await b.attach("1")
        await a.kill()
        await c.intents.remove_host("a", force=True)
        await clock.passes(LONG)
        assert ["b"] == [block.host for block in crowd.records(Block)]
        assert lent.id in {e.id for e in crowd.endpoints()}
        with pytest.raises(Exhausted):
            await c.attach("1")  # the block around what b has is nobody's to claim
        await b.intents.detach(lent.id)
        await clock.passes(LONG)
        await c.attach("1")
        await settled(crowd)
        assert_none_lost(crowd)

    run(tmp_path, scenario)


# Another IPAM's


def test_other_hosts_find_the_way_to_what_another_ipam_gave(tmp_path):
    async def scenario(crowd, a, b, _c):
        given = ip_interface("10.9.0.77/24")
        await a.attach("1", foreign=(given,))
        assert [("10.9.0.77/32", "a")] == [(str(x.prefix), x.host) for x in crowd.records(Block)]
        await clock.passes(1)
        with pytest.raises(SeawayError, match=r"10\.9\.0\.77 is (one of|taken by) "):
            await b.attach("1", foreign=(given,))
        await b.attach("2")  # of a block that is not around it
        await a.intents.detach("a-1")
        await settled(crowd)
        assert_none_lost(crowd)
        await b.attach("3", foreign=(given,))

    run(tmp_path, scenario, "10.9.0.0/24")


# Shown and checked


def test_every_host_shows_the_holders_of_all(tmp_path):
    async def scenario(_crowd, a, b, _c):
        await a.attach("1")
        await b.attach("1")
        await clock.passes(1)
        for host in (a, b):
            shown = await host.intents.ipam()
            assert ["a", "b"] == [block.host for block in shown]
            assert [1, 1] == [block.used for block in shown]
            assert ["a-1", "b-1"] == [h.reason.split(",")[0] for x in shown for h in x.holders]
            assert [] == [
                leak for leak in await host.intents.ipam_check() if "twice" in leak.problem
            ]

    run(tmp_path, scenario)


def test_what_is_inconsistent_across_hosts_is_found_and_named(tmp_path):
    async def scenario(crowd, a, b, _c):
        made = await a.attach("1")
        other = replace(made, host="b", id="00000000000000bb", name="other")
        await b.intents.records.commit([other])
        gone = Block(prefix=ip_network("10.9.0.5/32"), network=NET, host="nobody")
        await crowd.etcd_records.commit([gone])
        await clock.passes(1)
        told = {leak.problem for leak in await b.intents.ipam_check()}
        assert told >= {
            "held twice: endpoint web/other on host b and endpoint web/a-1 on host a",
            "of endpoint web/other on host b, which has no block of it: others do not reach it",
            "block of a host 'nobody' that is not there",
        }
        with pytest.raises(Conflict, match="is held by endpoint web/a-1 on host a"):
            await crowd.hosts["c"].intents.release_address(made.addresses[0].ip)

    run(tmp_path, scenario)


# Networks


def test_a_network_that_another_host_uses_is_not_removed(tmp_path):
    async def scenario(crowd, a, b, _c):
        await a.attach("1")
        await clock.passes(1)
        with pytest.raises(Conflict, match="network 'web' has 1 endpoints on host 'a': a-1"):
            await b.intents.remove_network(NET)
        await clock.passes(1)
        await a.attach("2")
        for name in ("a-1", "a-2"):
            await a.intents.detach(name)
        await b.intents.remove_network(NET)
        await clock.passes(LONG)
        assert [] == crowd.records(Network) + crowd.records(Block)
        assert [] == a.intents.allocator.blocks()

    run(tmp_path, scenario)


def test_a_network_is_not_removed_while_a_host_that_may_use_it_is_away(tmp_path):
    async def scenario(_crowd, a, b, _c):
        endpoint = await a.attach("1")
        await a.intents.detach(endpoint.id)
        await clock.passes(1)
        a.link.cut = True
        with pytest.raises(Unavailable, match="host 'a' does not answer"):
            await b.intents.remove_network(NET)
        await a.attach("2")  # without the store: it has a block
        a.link.cut = False
        await clock.passes(LONG)
        with pytest.raises(Conflict, match="on host 'a': a-2"):
            await b.intents.remove_network(NET)

    run(tmp_path, scenario)


def test_networks_made_at_once_on_many_hosts_are_different_ones(tmp_path):
    async def scenario(_crowd, *hosts):
        made = await asyncio.gather(
            *(
                h.intents.create_network(
                    NewNetwork(name=f"n{n}", subnets=(ip_network(f"10.{n}.0.0/16"),))
                )
                for n, h in enumerate(hosts, 50)
            )
        )
        assert 3 == len({network.number for network in made})

    run(tmp_path, scenario)


class Addresses(RuleBasedStateMachine):
    """Hosts attach, detach, die, are cut off and removed in any order; commits get lost or late."""

    hosts_ = st.sampled_from(HOSTS)

    @initialize(subnet=st.sampled_from(["10.9.0.0/28", SMALL, "10.9.0.0/25"]))
    def start(self, subnet):
        self.runner = asyncio.Runner(loop_factory=clock.JumpingLoop)
        self.folder = tempfile.TemporaryDirectory()
        self.crowd = self.do(crowd_of(Path(self.folder.name), HOSTS, subnet))
        self.number = 0

    def do(self, work):
        return self.runner.run(work)

    def alive(self, name):
        host = self.crowd.hosts[name]
        return host if host.agent and not host.removed else None

    async def attach(self, host):
        self.number += 1
        with suppress(Exhausted, Unavailable, Conflict):
            await host.attach(str(self.number))

    @rule(names=st.lists(hosts_, min_size=1, max_size=4))
    def attach_at_once(self, names):
        hosts = filter(None, map(self.alive, names))

        async def all_of_them():
            await asyncio.gather(*(self.attach(host) for host in hosts))

        self.do(all_of_them())

    @rule(name=hosts_, data=st.data())
    def detach(self, name, data):
        if (host := self.alive(name)) and (found := host.intents.facts.all(Endpoint)):
            chosen = data.draw(st.sampled_from(sorted(found, key=lambda e: e.id)))
            self.do(host.intents.detach(chosen.id))

    @rule(name=hosts_)
    def crash(self, name):
        if host := self.alive(name):
            self.do(host.kill())

    @rule(name=hosts_)
    def boot(self, name):
        host = self.crowd.hosts[name]
        if host.agent is None and not host.removed:
            self.do(host.boot())

    @rule(name=hosts_, cut=st.booleans())
    def partition(self, name, cut):
        self.crowd.hosts[name].link.cut = cut
        self.crowd.etcd.break_watches()

    @rule(name=hosts_, fate=st.sampled_from(Fate))
    def next_commit(self, name, fate):
        self.crowd.hosts[name].link.fate = fate

    @rule(name=hosts_)
    def lose_an_answer(self, name):
        self.crowd.hosts[name].answers_lost = 1

    @rule(up=st.booleans())
    def etcd(self, up):
        self.crowd.etcd.up = up
        self.crowd.etcd.break_watches()

    @rule()
    def late_requests_are_done(self):
        self.crowd.etcd.do_late()

    @rule(seconds=st.sampled_from([0.01, 2.0, 30.0]))
    def time_passes(self, seconds):
        self.do(clock.passes(seconds))

    @precondition(lambda self: not any(h.removed for h in self.crowd.hosts.values()))
    @rule(name=hosts_, by=hosts_)
    def remove_a_dead_host(self, name, by):
        host, other = self.crowd.hosts[name], self.alive(by)
        if host.agent or other is None or name == by:
            return
        with suppress(SeawayError):
            self.do(other.intents.remove_host(name, force=True))

    @invariant()
    def no_address_is_out_twice(self):
        if hasattr(self, "crowd"):
            twice = [a for a, n in Counter(addresses(self.crowd.endpoints())).items() if n > 1]
            assert [] == twice

    def teardown(self):
        if not hasattr(self, "crowd"):
            return
        try:
            self.do(settled(self.crowd))
            assert_none_lost(self.crowd)
            known = {e.id for e in self.crowd.endpoints()}
            assert known == {e.id for e in self.crowd.records(Endpoint)}
        finally:
            self.do(self.crowd.stop())
            self.runner.close()
            self.folder.cleanup()


Addresses.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestAddresses = Addresses.TestCase
