"""Maglev's tables: everybody has his share, and a change moves little else."""

from __future__ import annotations

import time
from array import array
from collections import Counter
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from seaway.bpf.abi import MAGLEV_PART, MAGLEV_PARTS, MAGLEV_SIZE, Backend
from seaway.desired.transport.maglev import table

ADDRESSES = st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=40, unique=True)
NOBODY = 0xFFFF


def backends(weights: dict[bytes, int], port: int = 80) -> list[Backend]:
    """In the order of their addresses."""
    ordered = sorted(weights.items())
    upto = accumulate(weight for _, weight in ordered)
    return [
        Backend(addr, port.to_bytes(2, "big"), 0, last)
        for (addr, _), last in zip(ordered, upto, strict=True)
    ]


def entries(of: list[Backend]) -> list[bytes]:
    """Whom each leads to."""
    slots = array("H", table(of))
    assert MAGLEV_PARTS * MAGLEV_PART == len(slots)
    assert {NOBODY} == set(slots[MAGLEV_SIZE:])
    return [of[slot].addr for slot in slots[:MAGLEV_SIZE]]


def several(number: int) -> dict[bytes, int]:
    return {b"\x0a" + i.to_bytes(15, "big"): 1 for i in range(number)}


@given(ADDRESSES, st.data())
def test_each_has_its_share_of_entries(addresses: list[bytes], data: st.DataObject) -> None:
    weights = {a: data.draw(st.sampled_from((1, 1, 2, 3, 17, 65535))) for a in addresses}
    found, total = Counter(entries(backends(weights))), sum(weights.values())
    for address, weight in weights.items():
        assert abs(found[address] - MAGLEV_SIZE * weight / total) < 2


@given(ADDRESSES)
def test_it_is_the_same_wherever_it_is_made(addresses: list[bytes]) -> None:
    of = backends(dict.fromkeys(addresses, 1))
    again = [Backend(b.addr, b.port, 0, b.upto) for b in of]
    assert table(of) == table(again)


@given(st.integers(2, 40), st.data())
def test_who_goes_takes_little_with_him(number: int, data: st.DataObject) -> None:
    """Of the entries of others; the paper measured such shares (figure 12)."""
    all_of_them = several(number)
    gone = data.draw(st.sampled_from(sorted(all_of_them)))
    before = entries(backends(all_of_them))
    after = entries(backends({a: w for a, w in all_of_them.items() if a != gone}))
    pairs = list(zip(before, after, strict=True))
    moved = sum(one != other for one, other in pairs if one != gone)
    assert gone not in after
    assert moved < MAGLEV_SIZE / 20


def test_a_heavier_one_takes_of_others_what_it_needs() -> None:
    weights = several(10)
    before = entries(backends(weights))
    heavy = min(weights)
    after = entries(backends(weights | {heavy: 2}))
    lost = sum(one != other for one, other in zip(before, after, strict=True))
    won = after.count(heavy) - before.count(heavy)
    assert won > 0.08 * MAGLEV_SIZE
    assert lost < 2 * won


def test_another_port_of_the_same_backends_has_another_table() -> None:
    one, other = (backends(several(5), port) for port in (80, 81))
    assert table(one) != table(other)


def test_nobody_has_no_table_and_one_has_all_of_it() -> None:
    assert b"" == table([])
    assert {min(several(1))} == set(entries(backends(several(1))))


def test_more_backends_than_entries_have_one_at_most() -> None:
    found = Counter(entries(backends(several(5000))))
    assert {1} == set(found.values())


def test_a_table_is_made_in_milliseconds_of_this_cpu() -> None:
    spent = []
    for number in (10, 100, 1000):
        start = time.process_time()
        table(backends(several(number) | {bytes(16): number}))
        spent.append(time.process_time() - start)
    assert max(spent) < 0.1
