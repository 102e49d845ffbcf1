"""Names of others: whom they are asked, what is believed, for how long, and how many at a time."""

from __future__ import annotations

import asyncio
import random
import tracemalloc
from collections import defaultdict
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

import dnslib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seaway.dns import wire
from seaway.dns.cache import Answered, Cache, Key, cost, key_of
from seaway.dns.forwarding import Budget, Forwarder, Judge
from seaway.dns.resolver import Foreign
from seaway.dns.servers import Servers, parse

FIRST, SECOND = "192.0.2.53", "2001:db8::53"
Answer = Callable[[dnslib.DNSRecord], dnslib.DNSRecord]


class FakeWays:
    """Servers that are functions; one that is not there says nothing."""

    def __init__(self) -> None:
        self.udp: dict[str, Callable[[bytes], Awaitable[list[bytes]]]] = {}
        self.tcp: dict[str, Answer] = {}
        self.asked: list[tuple[str, str]] = []
        self.messages: list[bytes] = []

    async def by_udp(self, server: str, message: bytes, judge: Judge) -> bytes:
        self.asked.append(("udp", server))
        self.messages.append(message)
        if server not in self.udp:
            raise TimeoutError
        for data in await self.udp[server](message):
            if judge(data):
                return data
        raise TimeoutError

    async def by_tcp(self, server: str, message: bytes) -> bytes:
        self.asked.append(("tcp", server))
        if server not in self.tcp:
            raise ConnectionRefusedError
        return bytes(self.tcp[server](dnslib.DNSRecord.parse(message)).pack())

    def answers(self, server: str, answer: Answer) -> None:
        async def one(message: bytes) -> list[bytes]:
            await asyncio.sleep(0)
            return [bytes(answer(dnslib.DNSRecord.parse(message)).pack())]

        self.udp[server] = one


class Bench:
    def __init__(self, tmp_path) -> None:
        self.file = tmp_path / "resolv.conf"
        self.file.write_text(f"nameserver {FIRST}\nnameserver {SECOND}\n")
        self.ways, self.now = FakeWays(), 100.0
        self.own = [ip_address("169.254.83.53")]
        draw = random.Random(1)
        servers = Servers(self.file, lambda: self.own)
        self.forwarder = Forwarder(servers, self.ways, lambda: self.now, draw.getrandbits)

    def ask(self, name: str = "example.com", kind: str = "A", most: int = 0, **edns: int):
        record = dnslib.DNSRecord.question(name, kind)
        if edns:
            record.add_ar(dnslib.EDNS0(**edns))
        foreign = Foreign(wire.parse_query(bytes(record.pack())))
        return dnslib.DNSRecord.parse(asyncio.run(self.forwarder.ask(foreign, most)))


@pytest.fixture
def bench(tmp_path) -> Bench:
    return Bench(tmp_path)


def address(ttl: int = 60, value: str = "192.0.2.1", **header: int) -> Answer:
    def answer(question: dnslib.DNSRecord) -> dnslib.DNSRecord:
        reply = question.reply()
        reply.header.aa = 1
        reply.add_answer(*dnslib.RR.fromZone(f"{question.q.qname} {ttl} A {value}"))
        reply.add_ar(dnslib.EDNS0(udp_len=1400))
        for field, value_ in header.items():
            setattr(reply.header, field, value_)
        return reply

    return answer


def nothing(rcode: int, soa: str = "60 60 60 60 30") -> Answer:
    def answer(question: dnslib.DNSRecord) -> dnslib.DNSRecord:
        reply = question.reply()
        reply.header.rcode = rcode
        reply.add_auth(*dnslib.RR.fromZone(f"com 900 IN SOA a.com b.com {soa}"))
        return reply

    return answer


def test_the_first_server_is_asked_and_its_answer_told(bench):
    bench.ways.answers(FIRST, address())
    answer = bench.ask()
    assert ["192.0.2.1"] == [str(rr.rdata) for rr in answer.rr]
    assert (0, 1, []) == (answer.header.aa, answer.header.ra, answer.ar)
    assert "example.com." == str(answer.q.qname)
    assert [("udp", FIRST)] == bench.ways.asked


def test_who_does_not_answer_is_passed_over_and_asked_last_for_a_while(bench):
    bench.ways.answers(SECOND, address(ttl=0))
    bench.ask()
    bench.ask()
    assert [("udp", FIRST), ("udp", SECOND), ("udp", SECOND)] == bench.ways.asked
    bench.now += 11
    bench.ask()
    assert [("udp", FIRST), ("udp", SECOND)] == bench.ways.asked[3:]


def test_what_was_lost_is_sent_again(bench):
    bench.file.write_text(f"nameserver {FIRST}\n")
    assert 2 == bench.ask().header.rcode
    assert 3 * [("udp", FIRST)] == bench.ways.asked


def test_who_fails_is_passed_over_and_who_says_no_is_believed(bench):
    bench.ways.answers(FIRST, nothing(2))
    bench.ways.answers(SECOND, nothing(3))
    assert 3 == bench.ask().header.rcode
    bench.ways.answers(FIRST, nothing(3))
    bench.ways.asked.clear()
    assert 3 == bench.ask("example.org").header.rcode
    assert [("udp", FIRST)] == bench.ways.asked


def test_where_all_fail_that_is_told(bench):
    assert 2 == bench.ask().header.rcode
    bench.ways.answers(SECOND, nothing(5))
    assert 5 == bench.ask().header.rcode
    bench.file.write_text("")
    assert 2 == bench.ask("example.org").header.rcode


def test_an_answer_holds_as_long_as_it_says(bench):
    bench.ways.answers(FIRST, address(ttl=60))
    bench.ask()
    bench.now += 40
    assert [20] == [rr.ttl for rr in bench.ask("EXAMPLE.com").rr]
    assert 1 == len(bench.ways.asked)
    bench.now += 20
    assert [60] == [rr.ttl for rr in bench.ask().rr]
    assert 2 == len(bench.ways.asked)


def test_so_does_one_that_there_is_nothing(bench):
    bench.ways.answers(FIRST, nothing(3))
    bench.ask()
    bench.now += 29
    assert 3 == bench.ask().header.rcode
    assert 1 == len(bench.ways.asked)
    bench.now += 1
    bench.ask()
    assert 2 == len(bench.ways.asked)


def test_what_does_not_fit_is_asked_by_tcp_and_cut_for_who_asked_by_udp(bench):
    def many(question: dnslib.DNSRecord) -> dnslib.DNSRecord:
        reply = question.reply()
        for i in range(100):
            reply.add_answer(*dnslib.RR.fromZone(f"{question.q.qname} 60 A 192.0.2.{i}"))
        return reply

    bench.ways.answers(FIRST, address(tc=1))
    bench.ways.tcp[FIRST] = many
    answer = bench.ask()
    assert [("udp", FIRST), ("tcp", FIRST)] == bench.ways.asked
    assert (1, 30) == (answer.header.tc, len(answer.rr))
    answer = bench.ask(most=0xFFFF)
    assert (0, 100) == (answer.header.tc, len(answer.rr))
    answer = bench.ask(udp_len=1232)
    assert (1, 1) == (answer.header.tc, len(answer.ar))
    assert 2 == len(bench.ways.asked)


def test_a_forged_answer_is_none(bench):
    """Another number, another question, no answer at all; then the true one."""

    async def some(message: bytes) -> list[bytes]:
        await asyncio.sleep(0)
        question = dnslib.DNSRecord.parse(message)
        forged = address(value="192.0.2.66")
        other = dnslib.DNSRecord.question("example.org")
        other.header.id = question.header.id
        number = (question.header.id + 1) & 0xFFFF
        return [
            bytes(address(value="192.0.2.66", id=number)(question).pack()),
            bytes(forged(other).pack()),
            message,
            b"garbage",
            bytes(address()(question).pack()),
        ]

    bench.ways.udp[FIRST] = some
    assert ["192.0.2.1"] == [str(rr.rdata) for rr in bench.ask().rr]


def test_who_spells_the_name_otherwise_is_asked_again_by_tcp(bench):
    async def lower(message: bytes) -> list[bytes]:
        await asyncio.sleep(0)
        reply = address(value="192.0.2.66")(dnslib.DNSRecord.parse(message))
        return [bytes(reply.pack()).replace(reply.q.qname.label[0], b"example")]

    bench.ways.udp[FIRST] = lower
    bench.ways.tcp[FIRST] = address()
    assert ["192.0.2.1"] == [str(rr.rdata) for rr in bench.ask().rr]
    assert ("tcp", FIRST) in bench.ways.asked


def test_each_question_has_a_number_and_a_spelling_of_its_own(bench):
    bench.ways.answers(FIRST, address(ttl=0))
    for _ in range(8):
        bench.ask("a-rather-long-name.example.com")
    read = [dnslib.DNSRecord.parse(message) for message in bench.ways.messages]
    assert 8 == len({question.header.id for question in read})
    assert 8 == len({bytes(question.q.qname.label[0]) for question in read})


def test_who_asks_the_same_meanwhile_waits_for_the_same_answer(bench):
    async def scenario() -> None:
        go = asyncio.Event()

        async def slow(message: bytes) -> list[bytes]:
            await go.wait()
            return [bytes(address()(dnslib.DNSRecord.parse(message)).pack())]

        bench.ways.udp[FIRST] = slow
        queries = [bytes(dnslib.DNSRecord.question("example.com").pack()) for _ in range(5)]
        asked = [bench.forwarder.ask(Foreign(wire.parse_query(q))) for q in queries]

        asyncio.get_running_loop().call_soon(go.set)
        found = await asyncio.gather(*asked)
        assert [q[:2] for q in queries] == [answer[:2] for answer in found]
        assert 1 == len(bench.ways.asked)

    asyncio.run(scenario())


def test_an_alias_gets_the_addresses_of_whom_it_leads_to(bench):
    def led(question: dnslib.DNSRecord) -> dnslib.DNSRecord:
        reply = question.reply()
        zone = f"{question.q.qname} 60 CNAME www.example.com\nwww.example.com 60 A 192.0.2.9"
        reply.add_answer(*dnslib.RR.fromZone(zone))
        return reply

    bench.ways.answers(FIRST, led)
    query = wire.parse_query(bytes(dnslib.DNSRecord.question("mail").pack()))
    data = asyncio.run(bench.forwarder.ask(Foreign(query, "mail.example.com")))
    read = dnslib.DNSRecord.parse(data)
    assert "mail." == str(read.q.qname)
    assert ["mail.example.com.", "www.example.com.", "192.0.2.9"] == [
        str(rr.rdata) for rr in read.rr
    ]
    assert "mail." == str(read.rr[0].rname)


def test_servers_are_read_anew_when_they_change_and_we_are_none_of_ours(bench):
    bench.ways.answers(SECOND, address(ttl=0))
    bench.file.write_text(f"search x\nnameserver 169.254.83.53\nnameserver {SECOND} # ours\n")
    bench.ask()
    assert [("udp", SECOND)] == bench.ways.asked
    bench.file.unlink()
    assert 2 == bench.ask().header.rcode


def test_resolv_conf_is_read_as_libc_does():
    text = "# nameserver 192.0.2.1\n nameserver  192.0.2.2\nnameserver fe80::1%eth0\nnameserver x\n"
    assert ["192.0.2.2", "fe80::1%eth0"] == parse(text)
    assert ["192.0.2.1", "192.0.2.2", "192.0.2.3"] == parse(
        "".join(f"nameserver 192.0.2.{n}\n" for n in (1, 1, 2, 3, 4))
    )


@given(st.text())
def test_any_resolv_conf_is_read(text):
    assert len(parse(text)) <= 3


def test_a_flood_of_one_leaves_room_for_others():
    budget = Budget(most=100, share=10, reserved=2)
    assert 10 == sum(budget.take("greedy") for _ in range(1000))
    for n in range(9):
        assert 10 == sum(budget.take(f"greedy{n}") for _ in range(1000))
    assert 2 == sum(budget.take("modest") for _ in range(10))
    assert not budget.take("greedy")
    for _ in range(10):
        budget.give_back("greedy")
    assert budget.take("modest")


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5))))
def test_what_is_given_back_can_be_taken_again(steps):
    budget, had = Budget(most=8, share=3, reserved=1), defaultdict(int)
    for take, who in steps:
        if take:
            had[who] += budget.take(str(who))
        elif had[who]:
            had[who] -= 1
            budget.give_back(str(who))
        assert sum(had.values()) <= 16
        assert max(had.values()) <= 3
    for who, number in had.items():
        for _ in range(number):
            budget.give_back(str(who))
    assert 3 == sum(budget.take("new") for _ in range(9))


def key(name: str) -> Key:
    query = wire.parse_query(bytes(dnslib.DNSRecord.question(name).pack()))
    return key_of(query, query.labels)


def answered(name: str, records: int = 1) -> Answered:
    query = wire.parse_query(bytes(dnslib.DNSRecord.question(name).pack()))
    head = wire.HEADER.pack(query.id, wire.QR, 1, records, 0, 0)
    record = wire.record(wire.ASKED, wire.A, 60, bytes(4))
    data = head + query.question + records * record
    return Answered(data, wire.parse(data))


def test_a_full_cache_forgets_what_was_used_least_lately():
    cache = Cache(most=2 * cost(key("a"), answered("a")))
    cache.put(key("a"), answered("a"), 0.0)
    cache.put(key("b"), answered("b"), 0.0)
    assert cache.get(key("A"), 1.0)
    cache.put(key("c"), answered("c"), 1.0)
    assert [True, False, True] == [bool(cache.get(key(n), 2.0)) for n in "abc"]


@pytest.mark.parametrize("records", [1, 250])
def test_a_cache_takes_no_more_memory_than_it_may(records):
    """However small or large others make their answers."""
    most = 1 << 20
    cache = Cache(most)
    cache.put(key("first"), answered("first", records), 0.0)
    tracemalloc.start()
    try:
        for number in range(2 * most // cost(key("0"), answered("0", records))):
            cache.put(key(str(number)), answered(str(number), records), 0.0)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most / 2 < taken < most * 1.1
    assert not cache.get(key("first"), 1.0)
    assert cache.get(key(str(number)), 1.0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 3), st.booleans())))
def test_a_cache_is_as_large_as_what_is_in_it(steps):
    cache = Cache(most=2000)
    for number, (name, records, known) in enumerate(steps):
        now = 30.0 * number  # it holds for two steps
        if known:
            cache.get(key(name), now)
        else:
            cache.put(key(name), answered(name, records), now)
        assert sum(cost(k, a) for k, (a, *_) in cache._kept.items()) == cache._size <= 2000
