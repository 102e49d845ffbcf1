"""Every path and method of the API, as one table: what it takes, does and answers.

`openapi.yaml` says the same in the words of OpenAPI; tests/unit/test_api.py holds it to this.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from seaway.model.addresses import parse_address
from seaway.model.backup import Backup
from seaway.model.facts import Endpoint, Network
from seaway.model.reports import (
    BlockReport,
    EndpointReport,
    Leak,
    NetworkMade,
    NetworkReport,
    Status,
)
from seaway.model.requests import NetworkChange, NewEndpoint, NewNetwork, Publications
from seaway.model.wire import CniAnswer, CniCall

if TYPE_CHECKING:
    from seaway.intents import Intents

CniDoor = Callable[[CniCall], Awaitable[CniAnswer]]


@dataclass(frozen=True)
class Doors:
    """What the API leads to."""

    intents: Intents
    cni: CniDoor


@dataclass(frozen=True)
class Call:
    """One request, parsed."""

    path: Mapping[str, str]
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None  # of the route's `takes`


@dataclass(frozen=True)
class Route:
    method: str
    path: str
    act: Callable[[Doors, Call], Any]  # an answer, or one to wait for
    takes: Any = None
    answers: Any = None  # None: nothing, told as 204
    query: tuple[str, ...] = ()
    created: bool = False
    secret: bool = False  # for root alone, although nothing is changed
    early: bool = False  # decides itself what an agent that is still starting may do

    @property
    def changes(self) -> bool:
        return self.method != "GET"

    @property
    def status(self) -> int:
        return 204 if self.answers is None else 201 if self.created else 200


ROUTES = (
    Route("GET", "/v1/status", lambda to, _: to.intents.status(), answers=Status),
    Route("GET", "/v1/backup", lambda to, _: to.intents.backup(), answers=Backup, secret=True),
    Route("GET", "/v1/networks", lambda to, _: to.intents.networks(), answers=list[NetworkReport]),
    Route(
        "POST",
        "/v1/networks",
        lambda to, call: to.intents.create_network(call.body),
        takes=NewNetwork,
        answers=NetworkMade,
        created=True,
    ),
    Route(
        "GET",
        "/v1/networks/{name}",
        lambda to, call: to.intents.network(call.path["name"]),
        answers=NetworkReport,
    ),
    Route(
        "PATCH",
        "/v1/networks/{name}",
        lambda to, call: to.intents.update_network(call.path["name"], call.body),
        takes=NetworkChange,
        answers=Network,
    ),
    Route(
        "DELETE",
        "/v1/networks/{name}",
        lambda to, call: to.intents.remove_network(call.path["name"]),
    ),
    Route(
        "PUT",
        "/v1/networks/{name}/connections/{other}",
        lambda to, call: to.intents.connect_networks(call.path["name"], call.path["other"]),
    ),
    Route(
        "DELETE",
        "/v1/networks/{name}/connections/{other}",
        lambda to, call: to.intents.disconnect_networks(call.path["name"], call.path["other"]),
    ),
    Route(
        "GET",
        "/v1/endpoints",
        lambda to, call: to.intents.endpoints(call.query.get("network")),
        answers=list[EndpointReport],
        query=("network",),
    ),
    Route(
        "POST",
        "/v1/endpoints",
        lambda to, call: to.intents.attach(call.body),
        takes=NewEndpoint,
        answers=Endpoint,
        created=True,
    ),
    Route(
        "GET",
        "/v1/endpoints/{ref}",
        lambda to, call: to.intents.endpoint(call.path["ref"]),
        answers=EndpointReport,
    ),
    Route(
        "DELETE",
        "/v1/endpoints/{ref}",
        lambda to, call: to.intents.detach(call.path["ref"]),
    ),
    Route(
        "POST",
        "/v1/endpoints/{ref}/publish",
        lambda to, call: to.intents.publish(call.path["ref"], call.body),
        takes=Publications,
        answers=Endpoint,
    ),
    Route(
        "POST",
        "/v1/endpoints/{ref}/unpublish",
        lambda to, call: to.intents.unpublish(call.path["ref"], call.body),
        takes=Publications,
        answers=Endpoint,
    ),
    Route("GET", "/v1/ipam", lambda to, _: to.intents.ipam(), answers=list[BlockReport]),
    Route("GET", "/v1/ipam/check", lambda to, _: to.intents.ipam_check(), answers=list[Leak]),
    Route(
        "DELETE",
        "/v1/ipam/addresses/{address}",
        lambda to, call: to.intents.release_address(parse_address(call.path["address"])),
    ),
    Route(
        "POST",
        "/v1/cni",
        lambda to, call: to.cni(call.body),
        takes=CniCall,
        answers=CniAnswer,
        early=True,
    ),
)
