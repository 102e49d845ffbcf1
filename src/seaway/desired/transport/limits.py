"""How many connections each host lets be open, and opened in a second: of a service by all that
ask it there, of a container by what its own sockets open.

Every service and every network namespace with a limit has a number, made of its name: it says the
same on every host, and after every start.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

from seaway.bpf import abi
from seaway.facts import Derivation, Source, View
from seaway.model.facts import Endpoint
from seaway.model.services import Service

LIMIT: Final = "limit"  # an index of services and of endpoints, by the number of the limit


def service_number(service: Service) -> int:
    """0: it has no limit."""
    limited = service.limit_connections or service.limit_rate
    return _number(f"service\0{service.network}/{service.name}") if limited else 0


def client_number(cookie: int) -> int:
    return _number(f"client\0{cookie}")


def _number(named: str) -> int:
    return int.from_bytes(blake2b(named.encode(), digest_size=8).digest(), "little") or 1


def numbers_of(service: Service) -> tuple[int, ...]:
    number = service_number(service)
    return (number,) if number else ()


def numbers_of_endpoint(endpoint: Endpoint) -> tuple[int, ...]:
    limited = endpoint.limit_connections or endpoint.limit_rate
    return (client_number(endpoint.netns_cookie),) if limited and endpoint.netns_cookie else ()


def limit_of_client(endpoints: Iterable[Endpoint]) -> abi.Limit | None:
    """Of the endpoints of one network namespace: which of them a connection leaves by is not known
    when it is opened, so the lowest counts.
    """
    found = list(endpoints)
    connections = _lowest(e.limit_connections for e in found)
    rate = _lowest(e.limit_rate for e in found)
    return abi.Limit(connections, rate) if connections or rate else None


def _lowest(given: Iterable[int]) -> int:
    return min((one for one in given if one), default=0)


def _limit(number: int, view: View) -> abi.Limit | None:
    for service in view.where(Service, LIMIT, number):
        return abi.Limit(service.limit_connections, service.limit_rate)
    return limit_of_client(view.where(Endpoint, LIMIT, number))


LIMITS = Derivation(
    "limits", (Source(Service, numbers_of), Source(Endpoint, numbers_of_endpoint)), _limit
)
