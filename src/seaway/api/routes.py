"""Every path and method of the API, as one table: what it takes, does and answers.

`openapi.yaml` says the same in the words of OpenAPI; tests/unit/test_api.py holds it to this.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from seaway.errors import Invalid
from seaway.model.addresses import parse_address
from seaway.model.backup import Backup
from seaway.model.facts import Block, Endpoint, Network
from seaway.model.membership import EtcdAccess, Ground, Joined, Joining, Signed, Signing
from seaway.model.reports import (
    Applied,
    BackendDrain,
    BlockReport,
    DrainReport,
    EndpointReport,
    HostReport,
    Leak,
    NetworkMade,
    NetworkReport,
    NewTokenReport,
    RelayReport,
    RouteReport,
    ServiceDetail,
    ServiceReport,
    Serving,
    Status,
    TokenReport,
    UseReport,
)
from seaway.model.requests import (
    EndpointChange,
    HostChange,
    Loan,
    NetworkChange,
    NewEndpoint,
    NewNetwork,
    NewService,
    NewToken,
    Objects,
    Publications,
    Refs,
    ServiceChange,
)
from seaway.model.routing import RoutedReport
from seaway.model.services import EndpointSlice
from seaway.model.store import Changes, Committed, Committing, Stored
from seaway.model.trace import Step, Traced, TraceReport, from_query, parse_target
from seaway.model.wire import CniAnswer, CniCall
from seaway.store.base import Moment

if TYPE_CHECKING:
    from seaway.cluster.passing import Passing
    from seaway.intents import Intents

_MOST_DIGITS = 20  # of a revision
CniDoor = Callable[[CniCall], Awaitable[CniAnswer]]


@dataclass(frozen=True)
class Doors:
    """What the API leads to."""

    intents: Intents
    cni: CniDoor
    passing: Passing


@dataclass(frozen=True)
class Caller:
    """Who asks: on the socket somebody of this host, over TCP another host."""

    host: str = ""  # its name, as its certificate says; empty: none was shown, or it is this one
    address: str = ""  # over TCP

    @property
    def stranger(self) -> str:
        """The address of who has shown no certificate; empty: it is somebody we know."""
        return "" if self.host else self.address


@dataclass(frozen=True)
class Call:
    """One request, parsed."""

    path: Mapping[str, str]
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None  # of the route's `takes`
    caller: Caller = Caller()


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
    hosts: bool = False  # over TCP, for the other hosts of the cluster
    anyone: bool = False  # over TCP, also for who shows no certificate

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
        "PATCH",
        "/v1/endpoints/{ref}",
        lambda to, call: to.intents.update_endpoint(call.path["ref"], call.body),
        takes=EndpointChange,
        answers=Endpoint,
        hosts=True,
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
    Route(
        "GET",
        "/v1/services",
        lambda to, call: to.intents.services(call.query.get("network")),
        answers=list[ServiceReport],
        query=("network",),
    ),
    Route(
        "POST",
        "/v1/services",
        lambda to, call: to.intents.create_service(call.body),
        takes=NewService,
        answers=ServiceReport,
        created=True,
    ),
    Route(
        "GET",
        "/v1/services/{ref}",
        lambda to, call: to.intents.service(call.path["ref"]),
        answers=ServiceDetail,
    ),
    Route(
        "PATCH",
        "/v1/services/{ref}",
        lambda to, call: to.intents.update_service(call.path["ref"], call.body),
        takes=ServiceChange,
        answers=ServiceReport,
    ),
    Route(
        "DELETE",
        "/v1/services/{ref}",
        lambda to, call: to.intents.remove_service(call.path["ref"]),
    ),
    Route(
        "GET",
        "/v1/services/{ref}/drain/{backend}",
        lambda to, call: to.intents.backend_drained(call.path["ref"], call.path["backend"]),
        answers=BackendDrain,
    ),
    Route(
        "PUT",
        "/v1/services/{ref}/drain/{backend}",
        lambda to, call: to.intents.drain_backend(
            call.path["ref"], call.path["backend"], draining=True
        ),
        answers=BackendDrain,
    ),
    Route(
        "DELETE",
        "/v1/services/{ref}/drain/{backend}",
        lambda to, call: to.intents.drain_backend(
            call.path["ref"], call.path["backend"], draining=False
        ),
        answers=BackendDrain,
    ),
    Route(
        "GET",
        "/v1/services/{ref}/serving/{backend}",
        lambda to, call: to.intents.connections_to(call.path["ref"], call.path["backend"]),
        answers=Serving,
        hosts=True,
    ),
    Route(
        "GET",
        "/v1/slices",
        lambda to, call: to.intents.slices(call.query.get("network")),
        answers=list[EndpointSlice],
        query=("network",),
    ),
    Route(
        "POST",
        "/v1/apply",
        lambda to, call: to.intents.apply(call.body),
        takes=Objects,
        answers=list[Applied],
    ),
    Route(
        "POST",
        "/v1/delete",
        lambda to, call: to.intents.remove_objects(call.body),
        takes=Refs,
        answers=list[Applied],
    ),
    Route("GET", "/v1/links", lambda to, _: to.intents.links(), answers=RoutedReport),
    Route(
        "GET",
        "/v1/routes",
        lambda to, call: to.intents.routes(call.query.get("to", ""), call.query.get("routing", "")),
        answers=list[RouteReport],
        query=("to", "routing"),
    ),
    Route(
        "GET",
        "/v1/trace",
        lambda to, call: to.intents.trace(
            call.query.get("from", ""), parse_target(call.query.get("to", ""))
        ),
        answers=TraceReport,
        query=("from", "to"),
    ),
    Route(
        "GET",
        "/v1/trace/onward",
        lambda to, call: to.intents.trace_on(call.query.get("at", ""), from_query(call.query)),
        answers=list[Step],
        query=("at", *Traced.__struct_fields__),
        hosts=True,
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
    Route(
        "GET",
        "/v1/networks/{name}/use",
        lambda to, call: to.intents.network_use(call.path["name"]),
        answers=UseReport,
        hosts=True,
    ),
    Route(
        "POST",
        "/v1/loans",
        lambda to, call: to.intents.lend(call.body, call.caller.host),
        takes=Loan,
        answers=Block,
        created=True,
        hosts=True,
    ),
    Route("GET", "/v1/tokens", lambda to, _: to.intents.tokens(), answers=list[TokenReport]),
    Route(
        "POST",
        "/v1/tokens",
        lambda to, call: to.intents.create_token(call.body),
        takes=NewToken,
        answers=NewTokenReport,
        created=True,
    ),
    Route(
        "DELETE", "/v1/tokens/{token}", lambda to, call: to.intents.revoke_token(call.path["token"])
    ),
    Route("GET", "/v1/hosts", lambda to, _: to.intents.hosts(), answers=list[HostReport]),
    Route(
        "PATCH",
        "/v1/hosts/{host}",
        lambda to, call: to.intents.update_host(call.path["host"], call.body),
        takes=HostChange,
        answers=HostReport,
    ),
    Route(
        "DELETE",
        "/v1/hosts/{host}",
        lambda to, call: to.intents.remove_host(call.path["host"], force="force" in call.query),
        query=("force",),
    ),
    Route(
        "GET",
        "/v1/hosts/{host}/drain",
        lambda to, call: to.intents.drained(call.path["host"]),
        answers=DrainReport,
    ),
    Route(
        "PUT",
        "/v1/hosts/{host}/drain",
        lambda to, call: to.intents.drain(
            call.path["host"], draining=True, force="force" in call.query
        ),
        answers=DrainReport,
        query=("force",),
    ),
    Route(
        "DELETE",
        "/v1/hosts/{host}/drain",
        lambda to, call: to.intents.drain(call.path["host"], draining=False),
        answers=DrainReport,
    ),
    Route(
        "GET",
        "/v1/hosts/{host}/relay",
        lambda to, call: to.intents.sent_to(call.path["host"]),
        answers=RelayReport,
        hosts=True,
    ),
    Route(
        "PUT",
        "/v1/hosts/{host}/certificate",
        lambda to, call: to.intents.certify(call.path["host"], call.body),
        takes=Signing,
        answers=Signed,
        hosts=True,
    ),
    Route("GET", "/v1/join", lambda to, _: to.intents.ground(), answers=Ground, anyone=True),
    Route(
        "POST",
        "/v1/join",
        lambda to, call: to.intents.join(call.body, call.caller.stranger),
        takes=Joining,
        answers=Joined,
        created=True,
        anyone=True,
    ),
    Route(
        "GET",
        "/v1/etcd",
        lambda to, _: to.intents.etcd_access(),
        answers=EtcdAccess,
        secret=True,
        hosts=True,
    ),
    Route(
        "POST",
        "/v1/leave",
        lambda to, call: to.intents.leave(force="force" in call.query),
        query=("force",),
    ),
    Route(
        "GET",
        "/v1/store",
        lambda to, call: to.passing.load(call.query.get("via", "")),
        answers=Stored,
        query=("via",),
        secret=True,
        hosts=True,
    ),
    Route(
        "POST",
        "/v1/store",
        lambda to, call: to.passing.commit(call.body, call.query.get("via", "")),
        takes=Committing,
        answers=Committed,
        query=("via",),
        hosts=True,
    ),
    Route(
        "GET",
        "/v1/store/changes",
        lambda to, call: to.passing.changes(_moment(call), now=bool(call.query.get("now"))),
        answers=Changes,
        query=("via", "since", "mark", "now"),
        secret=True,
        hosts=True,
    ),
)


def _moment(call: Call) -> Moment:
    since = call.query.get("since", "")
    if not (since.isascii() and since.isdecimal() and len(since) < _MOST_DIGITS):
        raise Invalid(f"'{since[:40]}' is no revision", "expected that of: GET /v1/store")
    return Moment(int(since), call.query.get("mark", ""))
