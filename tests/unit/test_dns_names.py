"""What is answered to whom: names of endpoints and services, and of those only the asker's."""

from __future__ import annotations

import tracemalloc
from ipaddress import ip_address

import dnslib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seaway.desired.network.resolver import resolver_addresses
from seaway.dns.resolver import Most
from seaway.model.services import EndpointSlice, Service, ServicePort, SliceEndpoint, SlicePort
from zone import CLUSTER, Zone, distant, endpoint

ANNA = "10.208.1.1"  # in front
BERT = "10.208.2.2"  # in back
WEB = Service(
    name="web",
    network="front",
    addresses=(ip_address("10.223.0.9"),),
    ports=(ServicePort(port=80, target=8080, name="http"),),
    selector={"app": "web"},
)
HEADLESS = Service(
    name="db",
    network="front",
    headless=True,
    ports=(ServicePort(port=5432, target="sql", name="sql"),),
    selector={"app": "db"},
)


def replica(name: str, number: int, app: str, **other):
    made = distant if number % 2 else endpoint
    return made(name, number, labels={"app": app}, port_names={"sql": 5000 + number}, **other)


@pytest.fixture
def zone() -> Zone:
    return Zone(
        endpoint("anna", 1, aliases=("annie", "Ann.Example")),
        endpoint("bert", 2, "back"),
        *(replica(f"web-{n}", n, "web") for n in (3, 4)),
        *(replica(f"db-{n}", n, "db") for n in (5, 6)),
        WEB,
        HEADLESS,
    )


@pytest.mark.parametrize(
    "name", ["anna", "ANNA", "anna.front.seaway", "annie", "ann.example", "annie.front.seaway"]
)
def test_an_endpoint_is_found_by_its_names(zone, name):
    assert ["10.208.1.1"] == zone.found(name, by=ANNA)
    assert ["fd00:5ea:1::1"] == zone.found(name, "AAAA", by=ANNA)


@pytest.mark.parametrize(
    "name",
    ["web", "web.front.seaway", "web.front.svc.cluster.local", "WEB.front.SVC.cluster.local"],
)
def test_a_service_is_found_by_its_address(zone, name):
    assert ["10.223.0.9"] == zone.found(name, by=ANNA)
    assert [] == zone.found(name, "AAAA", by=ANNA)


@pytest.mark.parametrize("name", ["tasks.web", "tasks.web.front.seaway"])
def test_tasks_of_a_service_are_its_backends(zone, name):
    assert ["10.208.1.3", "10.208.1.4"] == zone.found(name, by=ANNA)


def test_a_headless_service_is_its_backends(zone):
    assert ["10.208.1.5", "10.208.1.6"] == zone.found("db.front.svc.cluster.local", by=ANNA)
    assert ["10.208.1.5"] == zone.found("db-5.db.front.svc.cluster.local", by=ANNA)
    assert "NXDOMAIN" == zone.code("web-3.db.front.svc.cluster.local", by=ANNA)


def test_of_backends_those_count_that_are_ready_unless_all_do():
    busy = replica("web-3", 3, "web", ready=False)
    gone = replica("web-5", 5, "web", terminating=True)
    zone = Zone(endpoint("anna", 1), WEB, busy, gone, replica("web-4", 4, "web"))
    assert ["10.208.1.4"] == zone.found("tasks.web", by=ANNA)


def test_who_cannot_be_reached_is_told_only_where_there_is_nobody_else(zone):
    zone.reach("elsewhere", there=False)
    assert ["10.208.1.4"] == zone.found("tasks.web", by=ANNA)
    zone.forget(replica("web-4", 4, "web"))
    assert ["10.208.1.3"] == zone.found("tasks.web", by=ANNA)


def test_backends_that_a_slice_names_have_no_names_but_their_addresses():
    old = ServicePort(port=9, target=9, name="old")
    silent = Service(name="legacy", network="front", headless=True, ports=(old,))
    of = EndpointSlice(
        name="legacy-1",
        network="front",
        service="legacy",
        family=4,
        ports=(SlicePort(port=9, name="old"),),
        endpoints=(
            SliceEndpoint(addresses=(ip_address("192.0.2.7"),)),
            SliceEndpoint(addresses=(ip_address("192.0.2.8"),), ready=False),
        ),
    )
    zone = Zone(endpoint("anna", 1), silent, of)
    assert ["192.0.2.7"] == zone.found("legacy", by=ANNA)
    told = zone.found("_old._tcp.legacy.front.svc.cluster.local", "SRV", by=ANNA)
    assert ["0 1 9 192-0-2-7.legacy.front.svc.cluster.local"] == told
    assert ["192.0.2.7"] == zone.found("192-0-2-7.legacy.front.svc.cluster.local", by=ANNA)


def test_srv_tells_port_and_target_with_its_addresses(zone):
    answer = zone.ask("_http._tcp.web.front.svc.cluster.local", "SRV", by=ANNA)
    assert ["0 1 80 web.front.svc.cluster.local."] == [str(rr.rdata) for rr in answer.rr]
    assert ["10.223.0.9"] == [str(rr.rdata) for rr in answer.ar]
    assert ["0 1 80 web.front.seaway"] == zone.found("_http._tcp.web", "SRV", by=ANNA)
    told = zone.found("_sql._tcp.db.front.svc.cluster.local", "SRV", by=ANNA)
    assert [f"0 1 500{n} db-{n}.db.front.svc.cluster.local" for n in (5, 6)] == told
    assert "NXDOMAIN" == zone.code("_http._udp.web", "SRV", by=ANNA)
    assert "NXDOMAIN" == zone.code("_other._tcp.web", "SRV", by=ANNA)
    assert "FOREIGN" == zone.code("_http._tcp.nobody", "SRV", by=ANNA)


def test_an_address_is_found_by_its_names(zone):
    for address, name in (
        ("10.208.1.1", "anna.front.seaway"),
        ("fd00:5ea:1::1", "anna.front.seaway"),
        ("10.223.0.9", "web.front.seaway"),
    ):
        pointer = ip_address(address).reverse_pointer
        assert [name] == zone.found(pointer, "PTR", by=ANNA)
        assert "FOREIGN" == zone.code(pointer, "PTR", by=BERT)
        assert "NXDOMAIN" == zone.code(f"{pointer}.front.seaway", "PTR", by=ANNA)


@pytest.mark.parametrize(
    "name",
    [
        *("in-addr.arpa", "10.in-addr.arpa", "01.1.208.10.in-addr.arpa", "x.1.208.10.in-addr.arpa"),
        *("1.0.ip6.arpa", f"{31 * '0.'}00.ip6.arpa", f"{30 * '0.'}00.ip6.arpa", "ip6.arpa"),
    ],
)
def test_what_is_the_name_of_no_address_of_ours_is_for_others(zone, name):
    zone.learn(endpoint("odd", 8, aliases=(name,)))
    assert "FOREIGN" == zone.code(name, "PTR", by=ANNA)


def test_who_has_a_name_but_not_that_type_is_not_asked_of_others(zone):
    for kind in ("MX", "TXT", "SRV", "HTTPS", "NS", "PTR"):
        answer = zone.ask("anna", kind, by=ANNA)
        assert (0, []) == (answer.header.rcode, answer.rr)
        assert [dnslib.QTYPE.SOA] == [rr.rtype for rr in answer.auth]


def test_what_is_not_there_is_told_with_the_time_for_which_it_holds(zone):
    answer = zone.ask("nobody.front.seaway", by=ANNA)
    assert 3 == answer.header.rcode
    assert [(dnslib.QTYPE.SOA, "seaway.", 1)] == [
        (rr.rtype, str(rr.rname), rr.ttl) for rr in answer.auth
    ]
    assert 1 == answer.auth[0].rdata.times[4]


@pytest.mark.parametrize(
    "name",
    [
        *("bert.back.seaway", "nobody.front.seaway", "bert.front.seaway", "x.nowhere.seaway"),
        *("anna.front.svc.cluster.local", "kubernetes.default.svc.cluster.local"),
        "x.cluster.local",
    ],
)
def test_in_our_domains_there_is_nothing_else(zone, name):
    assert "NXDOMAIN" == zone.code(name, by=ANNA)


@pytest.mark.parametrize("name", ["seaway", "front.seaway", "svc.cluster.local", "cluster.local"])
def test_our_domains_are_there_themselves(zone, name):
    answer = zone.ask(name, by=ANNA)
    assert (0, []) == (answer.header.rcode, answer.rr)


@pytest.mark.parametrize("name", ["bert", "example.com", ".", "tasks.nobody", "com", "a.b.c.d.e"])
def test_other_names_are_for_others(zone, name):
    assert "FOREIGN" == zone.code(name, by=ANNA)


def test_any_is_all(zone):
    assert ["10.208.1.1", "fd00:5ea:1::1"] == zone.found("anna", "ANY", by=ANNA)


def test_a_container_on_several_networks_gets_the_names_of_all(zone):
    zone.learn(endpoint("both", 9, "front"), endpoint("both", 9, "back"))
    for address in ("10.208.1.9", "10.208.2.9", "fd00:5ea:2::9"):
        assert ["10.208.1.1"] == zone.found("anna", by=address)
        assert ["10.208.2.2"] == zone.found("bert", by=address)
    assert ["10.208.2.9"] == zone.found("both", by="10.208.1.9")  # of several, the first
    zone.forget(endpoint("both", 9, "front"))
    assert "FOREIGN" == zone.code("anna", by="10.208.2.9")


def test_the_host_gets_all_and_a_stranger_nothing(zone):
    assert ["10.208.2.2"] == zone.found("bert")
    assert ["10.208.1.1"] == zone.found("anna", by=str(resolver_addresses(CLUSTER)[0]))
    for name in ("anna", "example.com", "nobody.front.seaway"):
        assert "REFUSED" == zone.code(name, by="192.0.2.9")


def test_a_name_dies_with_its_endpoint(zone):
    assert ["10.208.1.3", "10.208.1.4"] == zone.found("tasks.web", by=ANNA)
    zone.forget(replica("web-4", 4, "web"))
    assert ["10.208.1.3"] == zone.found("tasks.web", by=ANNA)
    assert "NXDOMAIN" == zone.code("web-4.front.seaway", by=ANNA)


def test_who_shares_an_alias_is_found_by_it_together():
    zone = Zone(*(endpoint(f"e{n}", n, aliases=("all",)) for n in range(1, 4)))
    assert [f"10.208.1.{n}" for n in range(1, 4)] == zone.found("all", by=ANNA)


def test_a_service_goes_before_an_endpoint_of_its_name(zone):
    zone.learn(endpoint("web", 8))
    assert ["10.223.0.9"] == zone.found("web", by=ANNA)
    assert "NXDOMAIN" == zone.code("web.back.seaway", by=BERT)


def test_each_address_is_the_first_as_often_as_the_others():
    zone = Zone(*(endpoint(f"e{n}", n, aliases=("all",)) for n in range(1, 6)))
    question = bytes(dnslib.DNSRecord.question("all", "A").pack())
    first = []
    for _ in range(10):
        given = zone.resolver.known.get(ANNA, {}).get(question[2:])
        data = question[:2] + given() if given else zone.send(question, ANNA)
        first.append(str(dnslib.DNSRecord.parse(data).rr[0].rdata))
    assert {f"10.208.1.{n}": 2 for n in range(1, 6)} == {a: first.count(a) for a in set(first)}


def test_a_large_answer_is_cut_by_udp_and_whole_by_tcp():
    zone = Zone(*(endpoint(f"e{n}", n, aliases=("all",)) for n in range(1, 101)))
    question = dnslib.DNSRecord.question("all", "A")
    read = dnslib.DNSRecord.parse(zone.send(bytes(question.pack()), ANNA))
    assert (1, 30) == (read.header.tc, len(read.rr))
    read = dnslib.DNSRecord.parse(zone.send(bytes(question.pack()), ANNA, most=0xFFFF))
    assert (0, 100) == (read.header.tc, len(read.rr))
    question.add_ar(dnslib.EDNS0(udp_len=1232))
    read = dnslib.DNSRecord.parse(zone.send(bytes(question.pack()), ANNA))
    assert (1, 75, 1) == (read.header.tc, len(read.rr), len(read.ar))


def test_a_name_elsewhere_is_an_alias_that_others_are_asked_about(zone):
    zone.learn(Service(name="mail", network="front", external_name="mail.example.com."))
    due = zone.ask("mail", by=ANNA)
    assert (b"mail", b"example", b"com") == due.labels
    assert ["mail.example.com"] == zone.found("mail", "CNAME", by=ANNA)
    assert ["mail.example.com"] == zone.found("mail", "MX", by=ANNA)
    zone.learn(Service(name="shop", network="front", external_name="anna.front.seaway"))
    assert ["10.208.1.1", "anna.front.seaway"] == zone.found("shop", by=ANNA)


@pytest.mark.parametrize("end", [".front.seaway", ".example.com", "..seaway", ".ü.seaway"])
def test_an_alias_that_is_no_name_fails_whoever_would_answer_it(zone, end):
    zone.learn(Service(name="mail", network="front", external_name="a" * 70 + end))
    assert ["SERVFAIL"] * 2 == [zone.code("mail", kind, by=ANNA) for kind in ("A", "AAAA")]


def sent(name: str = "anna", **header: int) -> bytes:
    record = dnslib.DNSRecord.question(name)
    for field, value in header.items():
        setattr(record.header, field, value)
    return bytes(record.pack())


def test_garbage_gets_the_code_that_it_deserves(zone):
    def code(data: bytes) -> str:
        return dnslib.RCODE[dnslib.DNSRecord.parse(zone.send(data, ANNA)).header.rcode]

    assert "NOTIMP" == code(sent(opcode=5))  # RFC 2136
    assert "NOTIMP" == code(sent(opcode=4)[:12])
    assert "FORMERR" == code(sent()[:-1])
    assert "FORMERR" == code(b"\0\7" + bytes(10))
    assert "REFUSED" == code(bytes(dnslib.DNSRecord.question("anna", "A", "CH").pack()))
    assert "REFUSED" == code(bytes(dnslib.DNSRecord.question("front.seaway", "AXFR").pack()))
    assert "REFUSED" == code(sent("example.com", rd=0))
    for silence in (b"", b"\0" * 11, sent(qr=1)):
        assert None is zone.resolver.answer(silence, ANNA)


def test_an_unknown_version_of_edns_is_told_which_is_known(zone):
    record = dnslib.DNSRecord.question("anna")
    record.add_ar(dnslib.EDNS0(udp_len=900, version=1))
    read = dnslib.DNSRecord.parse(zone.send(bytes(record.pack()), ANNA))
    assert (0, 1, []) == (read.header.rcode, read.ar[0].ttl >> 24, read.rr)


EVERYBODY = tuple(endpoint(f"e{n}", n, aliases=("everybody",)) for n in range(1, 41))


def spelt_in_many_ways(number: int) -> list[bytes]:
    """Questions for a name whose answers are large."""
    record = dnslib.DNSRecord.question("everybody")
    record.add_ar(dnslib.EDNS0(udp_len=1232))
    question = bytes(record.pack())
    ways = (
        bytes(octet & ~0x20 if n >> i & 1 else octet for i, octet in enumerate(b"everybody"))
        for n in range(number)
    )
    return [question.replace(b"everybody", way) for way in ways]


def test_who_asks_in_every_way_takes_no_more_memory_than_he_may():
    most = 1 << 20
    zone = Zone(*EVERYBODY, endpoint("bert", 2, "back"), most=Most(alike=most))
    other = bytes(dnslib.DNSRecord.question("bert").pack())
    zone.send(other, BERT)
    tracemalloc.start()
    try:
        for question in spelt_in_many_ways(128):
            zone.send(question, ANNA)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most / 2 < taken < most * 1.1
    assert other[2:] in zone.resolver.known[BERT]  # what is kept for others is there still


def test_all_together_take_no_more_memory_than_they_may():
    zone = Zone(*EVERYBODY, endpoint("bert", 2, "back"), most=Most(all=40_000))
    zone.send(bytes(dnslib.DNSRecord.question("bert").pack()), BERT)
    first, second = spelt_in_many_ways(2)
    zone.send(first, ANNA)
    assert [1, 1] == [len(zone.resolver.known[by]) for by in (ANNA, BERT)]
    zone.send(second, ANNA)
    assert [second[2:]] == list(zone.resolver.known[ANNA])
    assert {} == zone.resolver.known[BERT]


@given(st.binary(max_size=200))
def test_whatever_comes_is_answered_or_not_and_never_fails(data):
    for by in (ANNA, "192.0.2.1", "fe80::1%eth0"):
        due = ZONE.resolver.answer(data, by)
        assert not isinstance(due, bytes) or due[:2] == data[:2]


ZONE = Zone(endpoint("anna", 1), endpoint("bert", 2, "back"), WEB)
names_of_all = st.sampled_from(["anna", "bert", "carl", "tasks.carl", "1.2.208.10.in-addr.arpa"])
ends = st.sampled_from(["", ".front.seaway", ".back.seaway", ".back.svc.cluster.local"])


@given(
    st.lists(st.tuples(st.integers(1, 6), st.sampled_from(["front", "back"])), unique=True),
    names_of_all,
    ends,
    st.sampled_from(["A", "AAAA", "PTR", "ANY", "SRV"]),
    st.integers(1, 6),
)
def test_nobody_is_told_of_a_network_that_he_is_not_in(placed, name, end, kind, asker):
    called = ("anna", "bert", "carl", "dora", "anna", "bert")
    made = [endpoint(called[n - 1], n, network) for n, network in placed]
    zone = Zone(*made)
    own = {network for n, network in placed if n == asker}
    for network in own:
        third = {"front": 1, "back": 2}[network]
        answer = zone.ask(name + end, kind, by=f"10.208.{third}.{asker}")
        if not isinstance(answer, dnslib.DNSRecord):
            continue
        for told in (str(rr.rdata) for rr in (*answer.rr, *answer.ar)):
            of = {"10.208.1": "front", "10.208.2": "back", "fd00:5ea:1": "front"}
            of |= {"fd00:5ea:2": "back"}
            seen = {n for start, n in of.items() if told.startswith(start)}
            seen |= {n for n in ("front", "back") if f".{n}.seaway" in told}
            assert seen <= own


SOME = (
    *(endpoint(n, i, net) for n, i, net in (("anna", 1, "front"), ("bert", 2, "back"))),
    endpoint("both", 9, "front"),
    endpoint("both", 9, "back", netns_inode=8),
    endpoint("both", 9, "back"),
    *(replica(f"web-{n}", n, "web") for n in (3, 4)),
    replica("web-3", 3, "web", ready=False),
    replica("web-4", 4, "db", aliases=("web",)),
    WEB,
    HEADLESS,
    Service(name="web", network="front", external_name="example.com"),
)


@given(st.lists(st.tuples(st.sampled_from(SOME), st.booleans()), max_size=12), st.randoms())
def test_what_is_told_does_not_depend_on_what_was(events, order):
    zone, last = Zone(), {}
    for fact, learnt in events:
        (zone.learn if learnt else zone.forget)(fact)
        key = type(fact), getattr(fact, "id", "") or f"{fact.network}/{fact.name}"
        last[key] = fact if learnt else None
    present = [fact for fact in last.values() if fact]
    order.shuffle(present)
    fresh = Zone(*present)

    named = {name: found for name, found in zone.told.names.items() if found}
    assert {name: found for name, found in fresh.told.names.items() if found} == named
    assert fresh.told.holders == zone.told.holders
