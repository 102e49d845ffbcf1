"""Who is chosen behind a service: the statements of Kubernetes' Service, as tables.

Numbers in brackets are those of the statements that a table is taken from.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seaway.desired.transport.backends import (
    Candidate,
    Rules,
    Situation,
    choose,
    lack,
    of_endpoint,
    of_slice,
    why,
    why_no_nearer,
    why_not,
)
from seaway.model.services import (
    Distant,
    Distribution,
    EndpointSlice,
    ServicePort,
    SliceEndpoint,
    SlicePort,
)

HOSTS = {
    "here": Situation(zone="a"),
    "near": Situation(zone="a"),
    "far": Situation(zone="b"),
    "lost": Situation(zone="b", reached=False),
    "drains": Situation(zone="b", draining=True),
}
CONDITIONS: dict[str, dict[str, bool]] = {
    "ready": {},
    "unready": {"ready": False, "serving": False},
    "ending": {"terminating": True},  # and serving
    "dying": {"terminating": True, "ready": False, "serving": False},
}


def candidates(words: str) -> list[Candidate]:
    """Of words such as `here:ready`; their names say how many of them there were before."""
    made = []
    for number, word in enumerate(words.split()):
        host, _, rest = word.partition(":")
        condition, *hints = rest.split("+")
        zones = tuple(h.removeprefix("zone=") for h in hints if h.startswith("zone="))
        hosts = tuple(h.removeprefix("host=") for h in hints if h.startswith("host="))
        made.append(
            Candidate(
                id=str(number),
                name=word,
                host="" if host == "-" else host,
                v4=bytes(16),
                for_zones=zones,
                for_hosts=hosts,
                **CONDITIONS[condition],
            )
        )
    return made


def rules(**wanted: Any) -> Rules:
    return Rules("here", HOSTS, **wanted)


def chosen(words: str, **wanted: Any) -> str:
    return " ".join(c.name for c in choose(candidates(words), rules(**wanted)))


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        # [5] what is ready and does not terminate, wherever it is
        ("here:ready far:ready", "here:ready far:ready"),
        ("here:ready far:unready", "here:ready"),
        ("here:ending far:ready", "far:ready"),
        ("here:dying far:ready", "far:ready"),
        # [5] where all terminate: those that serve
        ("here:ending far:ending", "here:ending far:ending"),
        ("here:ending far:dying", "here:ending"),
        ("here:ending far:unready", "here:ending"),
        # [5] never what terminates and does not serve; [3] then there is nobody
        ("here:dying far:dying", ""),
        ("here:unready far:dying", ""),
        ("", ""),
        # outside of the cluster there is no host that could be lost
        ("-:ready far:ready", "-:ready far:ready"),
        # a host that drains takes no new connections
        ("drains:ready far:ready", "far:ready"),
        ("drains:ready here:unready", "drains:ready"),
        ("drains:unready here:unready", ""),
        # who is not reached comes last
        ("lost:ready far:ready", "far:ready"),
        ("lost:ready far:ending", "far:ending"),
        ("lost:ready far:unready", "lost:ready"),
        ("lost:ending lost:ready", "lost:ready"),
    ],
)
def test_what_is_ready_is_chosen_and_else_what_still_serves(there: str, expected: str) -> None:
    assert expected == chosen(there)


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ("here:unready far:ready", "here:unready far:ready"),
        ("here:dying far:ready", "here:dying far:ready"),
        ("here:ending", "here:ending"),
        ("drains:ready far:ready", "drains:ready far:ready"),
        ("lost:unready here:unready", "here:unready"),
    ],
)
def test_who_publishes_what_is_not_ready_gets_it(there: str, expected: str) -> None:
    assert expected == chosen(there, publish_not_ready=True)


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        # [5] the scope is this host
        ("here:ready far:ready", "here:ready"),
        ("here:ending far:ready", "here:ending"),
        ("here:ending here:ready far:ready", "here:ready"),
        ("here:dying far:ready", ""),
        ("here:unready far:ready", ""),
        ("far:ready -:ready", ""),
        # [7] what is near is nothing to it, hints neither
        ("near:ready+host=here here:ready+host=far", "here:ready+host=far"),
        ("near:ready+zone=a here:ready+zone=b", "here:ready+zone=b"),
    ],
)
def test_a_local_policy_chooses_on_this_host_alone(there: str, expected: str) -> None:
    assert expected == chosen(there, policy="Local", distribution="PreferSameZone")


@pytest.mark.parametrize(
    ("there", "distribution", "expected"),
    [
        ("here:ready near:ready far:ready", "PreferSameZone", "here:ready near:ready"),
        ("far:ready far:ready", "PreferSameZone", "far:ready far:ready"),
        ("here:unready near:unready far:ready", "PreferSameZone", "far:ready"),
        ("here:ending far:ready", "PreferSameZone", "far:ready"),
        ("here:ready near:ready far:ready", "PreferSameNode", "here:ready"),
        # nobody on this host: the zone
        ("near:ready far:ready", "PreferSameNode", "near:ready"),
        ("far:ready", "PreferSameNode", "far:ready"),
        # one of which nobody knows where it is would be nobody's
        ("here:ready -:ready far:ready", "PreferSameZone", "here:ready -:ready far:ready"),
        ("here:ready -:ready", "PreferSameNode", "here:ready -:ready"),
        # one that is not ready has no say
        ("here:ready -:unready far:ready", "PreferSameZone", "here:ready"),
        # what terminates is all of it
        ("here:ending far:ending", "PreferSameNode", "here:ending far:ending"),
    ],
)
def test_who_prefers_what_is_near_gets_it_where_it_is(
    there: str, distribution: str, expected: str
) -> None:
    assert expected == chosen(there, distribution=distribution)


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        # [6] every ready one has hints for hosts, and one of them this host
        ("far:ready+host=here here:ready+host=far", "far:ready+host=here"),
        ("far:ready+host=far here:ready+host=near", "far:ready+host=far here:ready+host=near"),
        ("far:ready+host=here here:ready", "far:ready+host=here here:ready"),
        # [6] else zones, in the same way
        ("far:ready+zone=a here:ready+zone=b", "far:ready+zone=a"),
        ("far:ready+zone=a+zone=b here:ready+zone=b", "far:ready+zone=a+zone=b"),
        ("far:ready+zone=c here:ready+zone=b", "far:ready+zone=c here:ready+zone=b"),
        ("far:ready+zone=a here:ready", "far:ready+zone=a here:ready"),
        ("far:ready+host=x+zone=a here:ready+host=y+zone=b", "far:ready+host=x+zone=a"),
        # [6] those that are not ready have no say
        ("far:ready+zone=a here:unready", "far:ready+zone=a"),
        ("far:unready+zone=a here:ready+zone=b", "here:ready+zone=b"),
    ],
)
def test_hints_count_where_all_that_is_ready_has_them(there: str, expected: str) -> None:
    assert expected == chosen(there)


def test_without_a_zone_of_its_own_a_host_knows_nothing_near() -> None:
    nowhere = Rules("here", {"far": Situation(zone="b")}, distribution="PreferSameZone")
    assert 2 == len(choose(candidates("far:ready far:ready"), nowhere))


@pytest.mark.parametrize(
    ("there", "distribution", "expected"),
    [
        ("here:ready far:ready", "", ""),
        ("here:ready far:ready", "PreferSameZone", ""),
        ("here:ready far:ready", "PreferSameNode", ""),
        ("near:ready far:ready", "PreferSameNode", ""),
        ("far:ready far:unready", "PreferSameZone", "none is of zone 'a'"),
        ("here:ready zoneless:ready", "PreferSameZone", "host 'zoneless' has no zone"),
        ("near:ready zoneless:ready", "PreferSameNode", "host 'zoneless' has no zone"),
        ("here:ready zoneless:unready", "PreferSameZone", ""),
        ("here:ready -:ready", "PreferSameZone", "slice '-:ready' names one without a zone"),
        ("far:ready+zone=a here:ready+zone=b", "", ""),
        ("far:ready+host=here here:ready+host=far", "", ""),
        ("far:ready+zone=c here:ready+zone=b", "", "none is of zone 'a'"),
        ("far:ready+zone=a here:ready", "", "slice 'here:ready' names one without a hint"),
        ("here:ending far:ending", "PreferSameZone", None),
    ],
)
def test_what_is_preferred_in_vain_is_told(
    there: str, distribution: Distribution, expected: str | None
) -> None:
    by = Rules("here", HOSTS | {"zoneless": Situation()}, distribution=distribution)
    best = choose(candidates(there), by)
    told = {why(candidate, by, why_no_nearer(best, by)) for candidate in best}
    if expected is None:
        assert {"it ends, but there are no others"} == told
    else:
        assert {f"it is ready, near or not: {expected}" if expected else "it is ready"} == told


def test_a_host_without_a_zone_tells_so_unless_it_has_a_backend_that_is_preferred() -> None:
    hosts = {"far": Situation(zone="b")}
    for distribution in get_args(Distribution):
        by = Rules("here", hosts, distribution=distribution)
        expected = "this host has no zone" if distribution else ""
        assert expected == why_no_nearer(candidates("far:ready far:ready"), by)
    by = Rules("here", hosts, distribution="PreferSameNode")
    assert "" == why_no_nearer(candidates("here:ready"), by)
    by = Rules("here", hosts, distribution="PreferSameZone", policy="Local")
    assert "" == why_no_nearer(candidates("here:ready"), by)


def distant(**given_: Any) -> Candidate:
    given_ = {"addresses": (ip_address("10.0.0.1"),)} | given_
    return of_endpoint(Distant(id="1", name="e", network="n", host="h", **given_))


HTTP = ServicePort(port=80, target="http")


@pytest.mark.parametrize(
    ("candidate", "family", "port", "expected"),
    [
        (distant(), 4, ServicePort(port=80, target=8080), 8080),
        # [13] a name of a port may mean another one at each
        (distant(port_names={"http": 8000}), 4, HTTP, 8000),
        (distant(port_names={"http": 9000}), 4, HTTP, 9000),
        (distant(port_names={"web": 9000}), 4, HTTP, "it has no port 'http' of tcp"),
        # [13] each family stands for itself
        (distant(), 6, ServicePort(port=80, target=8080), "it has no IPv6 address"),
        (distant(weight=0), 4, ServicePort(port=80, target=8080), "its weight is 0"),
    ],
)
def test_an_endpoint_needs_an_address_a_port_and_a_weight(
    candidate: Candidate, family: int, port: ServicePort, expected: object
) -> None:
    found = lack(candidate, family, port)
    assert expected == (found or candidate.port(port))


def test_a_slice_gives_the_ports_that_are_called_as_the_service_calls_them() -> None:
    (one, two) = of_slice(
        EndpointSlice(
            name="s",
            network="n",
            service="web",
            family=4,
            ports=(SlicePort(port=8080, name="http"), SlicePort(port=53, protocol="udp")),
            endpoints=(
                SliceEndpoint(addresses=(ip_address("10.0.0.1"), ip_address("10.0.0.2"))),
                SliceEndpoint(
                    addresses=(ip_address("10.0.0.3"),), ready=False, terminating=True, weight=7
                ),
            ),
        )
    )
    # Its target is for selectors.
    assert 8080 == one.port(ServicePort(port=80, target=1, name="http"))
    assert 53 == one.port(ServicePort(port=53, target=1, protocol="udp"))
    assert "it has no port '' of tcp" == lack(one, 4, ServicePort(port=53, target=1))
    # What is not told of conditions means: ready, serving, not terminating.
    assert (True, True, False, 1) == (one.ready, one.serving, one.terminating, one.weight)
    assert (False, True, True, 7) == (two.ready, two.serving, two.terminating, two.weight)
    assert one.v4.endswith(ip_address("10.0.0.1").packed)


words = st.lists(
    st.builds(
        lambda host, condition, hint: f"{host}:{condition}{hint}",
        st.sampled_from(("-", *HOSTS)),
        st.sampled_from(tuple(CONDITIONS)),
        st.sampled_from(("", "", "+zone=a", "+zone=b", "+host=here", "+host=far")),
    )
).map(" ".join)
all_rules = st.builds(
    rules,
    policy=st.sampled_from(("Cluster", "Local")),
    distribution=st.sampled_from(("", "PreferSameZone", "PreferSameNode")),
    publish_not_ready=st.booleans(),
)


@given(words, all_rules)
def test_none_is_chosen_that_never_may_be_and_somebody_where_somebody_may(
    there: str, by: Rules
) -> None:
    able = candidates(there)
    found = choose(able, by)
    scope = [c for c in able if by.policy == "Cluster" or c.host == "here"]
    ready = [c for c in scope if c.ready and not c.terminating and c.host != "drains"]

    assert all(c in scope for c in found)
    assert by.publish_not_ready or all(c.ready or c.serving for c in found)
    assert found or not (ready or (by.publish_not_ready and scope))
    assert all(why_not(c, by) for c in able if c not in found)


@given(words, all_rules, st.randoms(use_true_random=False))
def test_the_order_in_which_they_are_known_is_nothing_to_the_choice(
    there: str, by: Rules, random: Any
) -> None:
    able = candidates(there)
    mixed = random.sample(able, len(able))
    assert {c.id for c in choose(able, by)} == {c.id for c in choose(mixed, by)}
