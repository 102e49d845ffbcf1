"""Addresses: never twice, never lost, and the blocks that they come from."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.agents import routes

from seaway.desired.network.blocks import (
    block_of,
    check_unicast,
    free_subnet,
    in_the_way,
    last_of,
    overlaps,
    spared,
    usable,
)
from seaway.errors import Conflict, Exhausted, Invalid
from seaway.ipam import Allocator
from seaway.model.addresses import Address, ForeignPrefix, Prefix
from seaway.model.facts import Network
from seaway.model.requests import IpRange


def nobody(_prefix: Prefix) -> str:
    """No other host has any block."""
    return ""


class Addresses(RuleBasedStateMachine):
    """One host takes and gives back; the model is the set of what is out."""

    @initialize(length=st.integers(24, 31))
    def start(self, length: int) -> None:
        self.network = Network(name="n", number=1, subnets=(ip_network(f"10.9.0.0/{length}"),))
        self.out: list[Address] = []
        self.blocks: list[Prefix] = []
        self.allocator = Allocator("h", lambda a: "somebody" if a in self.out else "", nobody)
        self.most = sum(1 for _ in usable(self.network.subnets[0], self.network.subnets[0]))

    def claim(self) -> None:
        block = self.allocator.claim(self.network, 4, self.blocks)
        assert not any(overlaps(block.prefix, known) for known in self.blocks)
        self.blocks.append(block.prefix)
        self.allocator.add(block, self.network.subnets[0])

    @rule()
    def take(self) -> None:
        address = self.allocator.take(self.network, 4)
        if address is None:
            try:
                self.claim()
            except Exhausted:
                assert self.most == len(self.out)
                return
            address = self.allocator.take(self.network, 4)
        assert address is not None
        assert address not in self.out
        assert address in self.network.subnets[0]
        self.out.append(address)

    @rule(number=st.integers(0, 255))
    def take_certain(self, number: int) -> None:
        address = ip_address(f"10.9.0.{number}")
        try:
            block = self.allocator.missing_block(self.network, address)
            if block:
                self.blocks.append(block.prefix)
                self.allocator.add(block, self.network.subnets[0])
            self.allocator.take_certain(self.network, address)
        except Invalid:
            return
        except Conflict:
            assert address in self.out
            return
        assert address not in self.out
        self.out.append(address)

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        address = data.draw(st.sampled_from(self.out))
        self.out.remove(address)
        self.allocator.release("n", address)

    @rule()
    def restart(self) -> None:
        known = self.blocks
        self.allocator = Allocator("h", lambda a: "somebody" if a in self.out else "", nobody)
        for prefix in known:
            block = self.allocator.missing_block(
                self.network, next(usable(self.network.subnets[0], prefix))
            )
            assert block is not None
            self.allocator.add(block, self.network.subnets[0])

    @invariant()
    def none_is_out_twice(self) -> None:
        assert len(set(self.out)) == len(self.out)


Addresses.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestAddresses = Addresses.TestCase


def test_the_address_that_was_free_the_longest_is_given_first() -> None:
    network = Network(name="n", number=1, subnets=(ip_network("10.9.0.0/29"),))
    out: set[Address] = set()
    allocator = Allocator("h", lambda a: "x" if a in out else "", nobody)
    allocator.add(allocator.claim(network, 4, []), network.subnets[0])
    first = allocator.take(network, 4)
    assert first == ip_address("10.9.0.1")
    allocator.release("n", first)
    assert ip_address("10.9.0.2") == allocator.take(network, 4)


@pytest.mark.parametrize(
    "prefix",
    [
        "0.9.0.0/16", "126.0.0.0/7", "127.9.0.0/16", "169.254.7.0/24", "224.0.0.0/4",
        "240.1.0.0/16", "::ffff:10.9.0.0/112", "64:ff9b::/96", "fe80:1::/32", "ff05::/16",
    ],
)  # fmt: skip
def test_a_range_of_which_no_host_can_have_a_part_is_refused(prefix: str) -> None:
    with pytest.raises(Invalid, match="is no unicast range: it overlaps"):
        check_unicast(ip_network(prefix), "pool")


@pytest.mark.parametrize("prefix", ["10.9.0.0/16", "100.80.0.0/12", "fd00::/48", "2001:db8::/32"])
def test_a_range_of_containers_is_let_pass(prefix: str) -> None:
    check_unicast(ip_network(prefix))


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [("10.9.0.9", None, "10.9.0.9"), (None, None, "10.9.0.1"), ("10.9.0.20", "10.9.0.21", None)],
)
def test_a_range_gives_its_first_free_address(
    start: str | None, end: str | None, expected: str | None
) -> None:
    network = Network(name="n", number=1, subnets=(ip_network("10.9.0.0/24"),))
    taken = {ip_address("10.9.0.20"), ip_address("10.9.0.21")}
    allocator = Allocator("h", lambda a: "x" if a in taken else "", nobody)
    wanted = IpRange(
        subnet=ip_network("10.9.0.0/24"),
        start=ip_address(start) if start else None,
        end=ip_address(end) if end else None,
    )
    if expected is None:
        with pytest.raises(Exhausted):
            allocator.first_of(network, wanted)
    else:
        assert ip_address(expected) == allocator.first_of(network, wanted)


octet = st.integers(0, 255)


@given(st.sets(octet), st.sets(st.integers(0, 3)), octet, octet)
def test_the_first_free_address_of_a_range_is_the_lowest_that_nobody_has(
    taken: set[int], held: set[int], start: int, end: int
) -> None:
    """Also beside the blocks that this host has claimed."""
    base = int(ip_address("10.9.0.0"))
    network = Network(name="n", number=1, subnets=(ip_network("10.9.0.0/24"),))
    out = {ip_address(base + n) for n in taken}
    allocator = Allocator("h", lambda a: "x" if a in out else "", nobody)
    for number in held:
        block = allocator.missing_block(network, ip_address(base + number * 64 + 1))
        assert block is not None
        allocator.add(block, network.subnets[0])
    wanted = IpRange(
        subnet=network.subnets[0], start=ip_address(base + start), end=ip_address(base + end)
    )
    expected = [ip_address(base + n) for n in range(max(start, 1), min(end, 254) + 1)]
    free = [address for address in expected if address not in out]
    if free:
        assert free[0] == allocator.first_of(network, wanted)
    else:
        with pytest.raises(Exhausted):
            allocator.first_of(network, wanted)


def test_a_range_of_full_blocks_is_told_without_asking_for_each_address() -> None:
    network = Network(name="n", number=1, subnets=(ip_network("10.9.0.0/20"),))
    asked: list[Address] = []
    allocator = Allocator("h", lambda a: asked.append(a) or "", nobody)  # type: ignore[func-returns-value]
    for number in range(64):
        block = allocator.missing_block(network, ip_address("10.9.0.1") + 64 * number)
        assert block is not None
        allocator.add(block, network.subnets[0])
    while allocator.take(network, 4):
        continue
    asked.clear()
    with pytest.raises(Exhausted):
        allocator.first_of(network, IpRange(subnet=network.subnets[0]))
    assert [] == asked


prefixes = st.builds(
    lambda number, length: ip_network((number << (32 - length), length)),
    st.integers(0, 255),
    st.integers(8, 30),
)


@given(st.lists(prefixes, max_size=12), st.integers(10, 30))
def test_a_free_subnet_overlaps_nothing_and_is_found_if_there_is_one(
    taken: list[Prefix], length: int
) -> None:
    pool = ip_network("0.0.0.0/8")
    found = free_subnet(pool, taken, length)
    if found is not None:
        assert found.prefixlen == length
        assert overlaps(pool, found)
        assert not any(overlaps(found, t) for t in taken)
    elif length <= 14:
        every = pool.subnets(new_prefix=length)
        assert all(any(overlaps(s, t) for t in taken) for s in every)


def test_the_last_parts_of_a_pool_are_counted_from_its_end() -> None:
    pool = ip_network("10.208.0.0/12")
    assert ip_network("10.223.0.0/16") == last_of(pool, 16, 1)
    assert ip_network("10.222.0.0/16") == last_of(pool, 16, 2)


def test_a_less_specific_route_is_not_in_the_way() -> None:
    pool = ip_network("10.208.0.0/12")
    assert in_the_way(pool, routes("10.0.0.0/8", "0.0.0.0/0")) is None
    assert routes("10.210.0.0/16")[0] == in_the_way(pool, routes("10.210.0.0/16"))


@pytest.mark.parametrize("foreign", ["10.208.0.11/32", "10.0.0.0/8", "10.208.0.0/12"])
def test_what_the_host_has_itself_is_in_the_way_however_large(foreign: str) -> None:
    pool, own = ip_network("10.208.0.0/12"), ForeignPrefix(ip_network(foreign), "", yields=False)
    assert own == in_the_way(pool, [*routes("10.0.0.0/8"), own])
    assert in_the_way(ip_network("172.24.0.0/14"), [own]) is None


@pytest.mark.parametrize("block", ["10.9.0.0/26", "10.9.0.64/26", "10.9.0.0/25", "10.9.0.2/31"])
@pytest.mark.parametrize("subnet", ["10.9.0.0/25", "10.9.0.0/30", "10.9.0.2/31"])
def test_the_usable_addresses_of_a_block_are_counted_without_listing_them(
    subnet: str, block: str
) -> None:
    of, part = ip_network(subnet), ip_network(block)
    if part.subnet_of(of):
        assert len(list(usable(of, part))) == spared(of, part)


def test_the_ends_of_a_subnet_are_spared_but_not_those_of_a_block() -> None:
    subnet = ip_network("10.9.0.0/25")
    assert ip_address("10.9.0.1") == next(usable(subnet, ip_network("10.9.0.0/26")))
    assert ip_address("10.9.0.64") == next(usable(subnet, ip_network("10.9.0.64/26")))
    assert ip_network("10.9.0.64/26") == block_of(subnet, ip_address("10.9.0.100"))
