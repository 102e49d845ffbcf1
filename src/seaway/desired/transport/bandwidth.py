"""Bandwidth that services give their backends, each: which endpoints have how much.

A service that gives one is found under one label of its selector, and an endpoint looks under its
own: a change makes those alone stale that carry that label. Where slices name backends, the
endpoints of their network look at them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from seaway.desired.transport.services import OF_SERVICE
from seaway.facts import View
from seaway.model.addresses import mapped
from seaway.model.bandwidth import Bandwidth, Ways, ways_of
from seaway.model.facts import Endpoint
from seaway.model.services import EndpointSlice, Service

# Indexes of services that give a bandwidth.
LIMITING: Final = "limiting"  # by network, key and value of a label
LIMITING_SLICED: Final = "limiting sliced"  # by network: those whose backends are named


@dataclass(frozen=True, slots=True)
class Given:
    """What endpoints look at of such a service: more of it is nothing to them."""

    name: str
    selector: Mapping[str, str]
    ways: Ways


def limiting_of(service: Service) -> Mapping[tuple[str, str, str], Given]:
    """Under one label of its selector, with all of them."""
    if not (service.selector and limits_backends(service)):
        return {}
    return {(service.network, *min(service.selector.items())): _given(service)}


def limiting_sliced_of(service: Service) -> Mapping[str, Given]:
    if service.selector or not limits_backends(service):
        return {}
    return {service.network: _given(service)}


def limits_backends(service: Service) -> bool:
    return bool(service.ingress_rate or service.egress_rate)


def _given(service: Service) -> Given:
    ways = ways_of(service, f"{service.network}/{service.name}")
    return Given(service.name, service.selector, ways)


def bandwidth_of(endpoint: Endpoint, view: View) -> Ways:
    """In each way the lowest rate counts, of its own and of all services that it stands behind,
    with the burst of that one. Chosen or not: a limit that came and went with a check were none.
    """
    given = [*_selecting(endpoint, view), *_naming(endpoint, view)]
    into, out = zip(ways_of(endpoint), *(one.ways for one in given), strict=True)
    return _lowest(into), _lowest(out)


def _selecting(endpoint: Endpoint, view: View) -> Iterator[Given]:
    for label in endpoint.labels.items():
        for given in view.parts(Service, LIMITING, (endpoint.network, *label)):
            if given.selector.items() <= endpoint.labels.items():
                yield given


def _naming(endpoint: Endpoint, view: View) -> Iterator[Given]:
    named = view.parts(Service, LIMITING_SLICED, endpoint.network)
    octets = {mapped(interface.ip) for interface in endpoint.addresses} if named else set()
    for given in named:
        slices = view.parts(EndpointSlice, OF_SERVICE, (endpoint.network, given.name))
        if any({one.v4, one.v6} & octets for candidates in slices for one in candidates):
            yield given


def _lowest(ways: Iterable[Bandwidth]) -> Bandwidth:
    """Its own goes first, of services with the same rate the first by name."""
    limited = (way for way in ways if way.rate)
    return min(limited, key=lambda way: (way.rate, way.service), default=Bandwidth())
