"""DNS messages: what is well formed is read, by us as by dnslib; all else is told as malformed."""

from __future__ import annotations

import dnslib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seaway.dns import wire
from seaway.dns.wire import Malformed

labels = st.lists(st.binary(min_size=1, max_size=63), max_size=5).filter(
    lambda found: sum(len(label) + 1 for label in found) < 254
)
types = st.integers(1, 0xFFFF).filter(lambda kind: kind != wire.OPT)


def asked(name: str, kind: str = "A", **edns: int) -> bytes:
    record = dnslib.DNSRecord.question(name, kind)
    if edns:
        record.add_ar(dnslib.EDNS0(**edns))
    return bytes(record.pack())


@given(labels, types, st.integers(0, 0xFFFF))
def test_a_question_reads_as_it_was_written(found, kind, number):
    data = wire.HEADER.pack(number, wire.RD, 1, 0, 0, 0) + wire.question(found, kind)
    query = wire.parse_query(data)

    assert (number, tuple(found), kind, wire.IN) == (query.id, query.labels, query.type, query.kind)
    assert (wire.LEAST, None) == (query.limit, query.edns)


@given(st.binary(max_size=300))
def test_nothing_but_malformed_is_raised_of_arbitrary_bytes(data):
    for read in (wire.parse, wire.parse_query, lambda d: wire.name_at(d, 12)):
        try:
            read(data)
        except Malformed:
            continue


@given(st.data())
def test_nor_of_a_message_with_a_few_octets_changed(data):
    record = dnslib.DNSRecord.question("web.default.seaway", "A")
    record.add_answer(*dnslib.RR.fromZone("web.default.seaway 5 A 10.208.0.7"))
    record.add_auth(*dnslib.RR.fromZone("seaway 5 NS dns.seaway"))
    record.add_ar(dnslib.EDNS0(udp_len=4096))
    octets = bytearray(bytes(record.pack()))
    for _ in range(data.draw(st.integers(1, 4))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(octets[: data.draw(st.integers(0, len(octets)))])
    try:
        message = wire.parse(cut)
        wire.bare(cut, message)
        wire.with_ttls_less(cut, message, 3)
        wire.cut(cut, 40)
    except Malformed:
        pass


def test_edns_says_how_much_an_answer_may_be():
    assert 512 == wire.parse_query(asked("web")).limit
    assert 512 == wire.parse_query(asked("web", udp_len=100)).limit
    assert 900 == wire.parse_query(asked("web", udp_len=900)).limit
    assert wire.MOST == wire.parse_query(asked("web", udp_len=4096)).limit


def test_more_than_one_opt_is_malformed():
    record = dnslib.DNSRecord.question("web")
    record.add_ar(dnslib.EDNS0(udp_len=900), dnslib.EDNS0(udp_len=900))
    with pytest.raises(Malformed, match="OPT"):
        wire.parse_query(bytes(record.pack()))


def test_an_answer_to_a_question_with_edns_has_it_too():
    query = wire.parse_query(asked("web", udp_len=900, version=1, flags="do"))
    read = dnslib.DNSRecord.parse(wire.answer(query, wire.BADVERS))

    assert [dnslib.QTYPE.OPT] == [record.rtype for record in read.ar]
    assert (1, 0x8000) == (read.ar[0].ttl >> 24, read.ar[0].ttl & 0x8000)  # BADVERS is 1 << 4
    assert 0 == read.header.rcode


def test_an_answer_that_is_too_long_is_cut_between_records_and_says_so():
    record = dnslib.DNSRecord.question("web").reply()
    for i in range(100):
        record.add_answer(*dnslib.RR.fromZone(f"web 5 A 10.208.0.{i}"))
    record.add_ar(dnslib.EDNS0(udp_len=900))
    data = wire.cut(bytes(record.pack()), 512)
    read = dnslib.DNSRecord.parse(data)

    assert len(data) <= 512 < len(data) + 16
    assert 1 == read.header.tc
    assert 1 == len(read.ar)
    assert [str(rr.rdata) for rr in record.rr[: len(read.rr)]] == [str(rr.rdata) for rr in read.rr]


def test_a_message_without_its_opt_is_the_same_else():
    record = dnslib.DNSRecord.question("web").reply()
    record.add_answer(*dnslib.RR.fromZone("web 7 A 10.208.0.1"))
    plain = bytes(record.pack())
    record.add_ar(dnslib.EDNS0(udp_len=900))
    data = bytes(record.pack())

    assert plain == wire.bare(data, wire.parse(data))
    later = wire.with_ttls_less(plain, wire.parse(plain), 3)
    assert 4 == dnslib.DNSRecord.parse(later).rr[0].ttl


def test_a_pointer_leads_back_or_nowhere():
    ring = wire.HEADER.pack(1, 0, 1, 0, 0, 0) + b"\1a\xc0\x0c"
    with pytest.raises(Malformed, match="pointer"):
        wire.name_at(ring, 12)
    assert b"\1a\0" == wire.name_at(b"\1a\0\xc0\x00", 3)
