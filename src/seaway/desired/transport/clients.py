"""Who may ask services besides the host itself: the network namespaces of its endpoints."""

from __future__ import annotations

from typing import Final

from seaway.bpf import abi
from seaway.desired.network.endpoints import container_number
from seaway.desired.transport.limits import client_number, limit_of_client
from seaway.facts import Derivation, Source, View
from seaway.model.facts import Endpoint

COOKIE: Final = "cookie"  # an index of endpoints
_HALF: Final = (1 << 32) - 1


def cookies_of(endpoint: Endpoint) -> tuple[int, ...]:
    return (endpoint.netns_cookie,) if endpoint.netns_cookie else ()


def _client(cookie: int, view: View) -> abi.Client | None:
    """All endpoints of one namespace are of one container, or at least of one that asks."""
    endpoints = view.where(Endpoint, COOKIE, cookie)
    if not endpoints:
        return None
    return abi.Client(
        container=min(container_number(e) & _HALF for e in endpoints),
        limit=client_number(cookie) if limit_of_client(endpoints) else 0,
    )


CLIENTS = Derivation("clients", (Source(Endpoint, cookies_of),), _client)
