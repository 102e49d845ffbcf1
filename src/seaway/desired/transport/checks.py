"""Whom this host checks: of each service with a check, those of its endpoints that are here.

Nobody checks for another host: that a host is lost is what paths are for, and its endpoints are
then where nothing leads to, whatever was recorded of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from seaway.desired.transport.backends import Candidate, of_endpoint
from seaway.desired.transport.services import LABEL, asked_port
from seaway.facts import Derivation, Source, View
from seaway.model.addresses import unmapped
from seaway.model.checks import UNASKED, Checked, Checks
from seaway.model.facts import Endpoint
from seaway.model.services import Health, Service

CHECKED: Final = "checked"  # of services with a check, by network, key and value of a label


def keys_of(service: Service) -> tuple[str, ...]:
    there = service.check.by and service.selector
    return (f"{service.network}/{service.name}",) if there else ()


def checked_of(service: Service) -> tuple[tuple[str, str, str], ...]:
    """Where a service with a check is found: under one label of its selector."""
    if not keys_of(service):
        return ()
    return ((service.network, *min(service.selector.items())),)


def unasked(endpoint: Endpoint, view: View) -> Health | None:
    """What is to be recorded of one that is about to be attached: who would check it gives it no
    connection before it has passed.
    """
    candidate = of_endpoint(endpoint)
    failing = {
        service.name: UNASKED
        for label in endpoint.labels.items()
        for service in view.where(Service, CHECKED, (endpoint.network, *label))
        if service.selector.items() <= endpoint.labels.items() and any(_place(service, candidate))
    }
    if not failing:
        return None
    return Health(
        host=endpoint.host, endpoint=endpoint.id, network=endpoint.network, failing=failing
    )


def _checks(key: str, view: View) -> Checks | None:
    service = view.get(Service, key)
    if service is None or not (service.check.by and service.selector):
        return None
    labels = [(service.network, name, value) for name, value in service.selector.items()]
    here: list[Candidate] = view.common(Endpoint, LABEL, labels)
    places = (place for candidate in here for place in _place(service, candidate))
    ordered = sorted(places, key=lambda place: place.endpoint)
    return Checks(service=service.name, check=service.check, places=tuple(ordered))


def _place(service: Service, candidate: Candidate) -> Iterator[Checked]:
    """At its IPv4 address, unless it or the service has none."""
    families = {address.version for address in service.addresses} or {4, 6}
    found = [candidate.address(f) for f in sorted(families) if candidate.address(f)]
    port = candidate.port(asked_port(service))
    if found and port:
        yield Checked(endpoint=candidate.id, address=unmapped(found[0]), port=port)


CHECKS = Derivation("checks", (Source(Service, keys_of),), _checks)
