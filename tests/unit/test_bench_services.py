"""Services that are not there: as facts, as what an agent is asked for, and as others' rules."""

from __future__ import annotations

import re

import pytest

from seaway import bench
from seaway.bench.kube_rules import RULESETS
from seaway.bench.many_services import (
    BACKENDS,
    MOST,
    backend_fact,
    hosts,
    objects,
    replaced,
    service_fact,
    simulated,
)
from seaway.bench.service import Cell, against
from seaway.desired.indexes import INDEXES
from seaway.desired.transport.services import SERVICES
from seaway.errors import Invalid
from seaway.facts import Facts
from seaway.model import service_forms
from seaway.model.facts import Endpoint
from seaway.records import fact_key

JUMPS = {
    "nftables": re.compile(r"(?:jump|goto) (\S+)"),
    "iptables": re.compile(r" -j (KUBE-\S+)"),
}
CHAINS = {
    "nftables": re.compile(r"^add chain ip kube-proxy (\S+)"),
    "iptables": re.compile(r"^:(KUBE-\S+) "),
}
ALL_RULESETS = pytest.mark.parametrize("name", RULESETS)
COUNT = 20


def test_no_two_share_a_place():
    services = simulated(1000)
    places = [place for one in services for place in one.backends]

    assert {BACKENDS} == {len(one.backends) for one in services}
    assert len(places) == len(set(places))
    assert len(services) == len({one.vip for one in services})


def test_there_are_addresses_for_the_most_that_may_be_asked_for():
    last = simulated(MOST)[-1]
    changed = replaced(last)

    assert last.backends[-1].address < changed.backends[-1].address
    assert last.backends[:-1] == changed.backends[:-1]


def learnt(count: int) -> Facts:
    facts = Facts((SERVICES,), INDEXES)
    for key, fact in hosts():
        facts.change(type(fact), key, fact)
    for service in simulated(count):
        for fact in (
            service_fact(service),
            *(backend_fact(service, place) for place in service.backends),
        ):
            facts.change(type(fact), fact_key(fact), fact)
    return facts


def test_as_facts_they_are_frontends_with_all_their_backends():
    facts = learnt(COUNT)
    found = facts.derive()[SERVICES.name]

    assert COUNT == len(found)
    assert {BACKENDS} == {len(frontend.backends) for frontend in found.values()}
    assert 0 < facts.number(Endpoint) < COUNT  # of this host


def test_a_replaced_backend_is_news_of_its_service_alone():
    facts, one = learnt(COUNT), simulated(COUNT)[COUNT // 2]
    facts.derive()
    gone, new = (backend_fact(of, of.backends[-1]) for of in (one, replaced(one)))
    facts.change(type(gone), fact_key(gone), None)
    facts.change(type(new), fact_key(new), new)
    (frontend,) = facts.derive()[SERVICES.name].values()

    assert BACKENDS == len(frontend.backends)


def test_an_agent_is_asked_for_what_it_takes():
    told = list(objects(simulated(1001)))

    assert [500, 500, 1] == [len(part.services) for part in told]
    for part in told:
        for new, slice_ in zip(part.services, part.slices, strict=True):
            service_forms.check_service(new)
            service_forms.check_slice(slice_)
            assert new.name == slice_.service


@ALL_RULESETS
def test_whatever_rules_lead_to_is_there_before(name):
    ruleset, one = RULESETS[name], simulated(COUNT)[3]
    known: set[str] = set()
    for text in (ruleset.whole(simulated(COUNT)), ruleset.change(one, replaced(one))):
        for line in text.splitlines():
            assert known.issuperset(JUMPS[name].findall(line)), line
            known.update(CHAINS[name].findall(line))


@ALL_RULESETS
def test_rules_name_each_vip_and_each_backend(name):
    services = simulated(COUNT)
    told = RULESETS[name].whole(services)

    for place in (place for one in services for place in one.backends):
        assert re.search(
            rf"(dnat to|--to-destination) {place.address}:{place.port}$", told, re.MULTILINE
        )
    for one in services:
        assert f" {one.vip.address} " in told


@ALL_RULESETS
def test_a_change_takes_away_who_is_gone_and_names_nobody_elses(name):
    one = simulated(COUNT)[3]
    told = RULESETS[name].change(one, replaced(one))
    others = RULESETS[name].whole([o for o in simulated(COUNT) if o != one])
    chains = {c for line in others.splitlines() for c in CHAINS[name].findall(line)}
    gone = re.findall(r"^(?:-X|delete chain ip kube-proxy) (\S+)$", told, re.MULTILINE)

    assert 1 == len(gone)
    assert chains.isdisjoint(gone)
    assert str(replaced(one).backends[-1].address) in told


def test_each_backend_is_drawn_as_often_as_any_other():
    told = RULESETS["iptables"].whole(simulated(1))
    drawn = [float(found) for found in re.findall(r"--probability (\S+)", told)]

    left, shares = 1.0, []
    for probability in [*drawn, 1.0]:
        shares.append(left * probability)
        left *= 1 - probability
    assert pytest.approx([1 / BACKENDS] * BACKENDS, abs=1e-8) == shares


def test_ours_is_compared_with_all_and_with_one_service():
    systems = bench.SYSTEMS["service"]

    assert ["direct@9", "nftables@9", "iptables@9", "seaway-vip@1"] == [
        str(cell) for cell in against(Cell("seaway-vip", 9), systems)
    ]
    assert ["direct@9", "iptables@1"] == [
        str(cell) for cell in against(Cell("iptables", 9), systems)
    ]
    assert ["direct@1"] == [str(cell) for cell in against(Cell("nftables", 1), systems)]
    assert [] == against(Cell("direct", 1), systems)


@pytest.mark.parametrize("services", [0, MOST + 1])
def test_a_number_of_services_that_cannot_be_is_refused(services):
    with pytest.raises(Invalid, match=f"expected numbers from 1 to {MOST}"):
        bench.run("service", bench.Options(services=(1, services)))
