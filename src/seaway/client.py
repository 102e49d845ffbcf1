"""Calls the agent over its unix socket, and waits for the answer.

Small on purpose: commands start with it. An error of the agent comes back as the same class
that the agent raised, and an agent that is not there as `Unavailable`.
"""

from __future__ import annotations

import socket
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, urlencode

from seaway import names
from seaway.errors import Forbidden, SeawayError, StoreDamaged, Unavailable
from seaway.model import codec
from seaway.model.backup import Backup
from seaway.model.facts import Endpoint, Network
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
    RouteReport,
    ServiceDetail,
    ServiceReport,
    Status,
    TokenReport,
)
from seaway.model.routing import RoutedReport
from seaway.model.services import EndpointSlice
from seaway.model.trace import TraceReport
from seaway.model.wire import CniAnswer, CniCall, ErrorReport
from seaway.store import file

if TYPE_CHECKING:
    from pathlib import Path

    from seaway.model.addresses import Address
    from seaway.model.requests import (
        EndpointChange,
        HostChange,
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

T = TypeVar("T")

_TIMEOUT = 60.0  # seconds; what changes the kernel may wait behind a burst


class _UnixConnection(HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Client:
    """One call, one connection: there is nothing to close and nothing to share."""

    def __init__(self, path: Path = names.SOCKET, timeout: float = _TIMEOUT) -> None:
        self._path = path
        self._timeout = timeout

    def status(self) -> Status:
        return self._get("/v1/status", Status)

    def backup(self) -> Backup:
        return self._get("/v1/backup", Backup)

    def networks(self) -> list[NetworkReport]:
        return self._get("/v1/networks", list[NetworkReport])

    def network(self, name: str) -> NetworkReport:
        return self._get(_path("networks", name), NetworkReport)

    def create_network(self, new: NewNetwork) -> NetworkMade:
        return codec.decode(self._call("POST", "/v1/networks", new), NetworkMade)

    def update_network(self, name: str, change: NetworkChange) -> Network:
        return codec.decode(self._call("PATCH", _path("networks", name), change), Network)

    def connect_networks(self, name: str, other: str) -> None:
        self._call("PUT", _path("networks", name, "connections", other))

    def disconnect_networks(self, name: str, other: str) -> None:
        self._call("DELETE", _path("networks", name, "connections", other))

    def remove_network(self, name: str) -> None:
        self._call("DELETE", _path("networks", name))

    def endpoints(self, network: str | None = None) -> list[EndpointReport]:
        return self._get("/v1/endpoints" + _of(network), list[EndpointReport])

    def endpoint(self, ref: str) -> EndpointReport:
        return self._get(_path("endpoints", ref), EndpointReport)

    def attach(self, new: NewEndpoint) -> Endpoint:
        return codec.decode(self._call("POST", "/v1/endpoints", new), Endpoint)

    def update_endpoint(self, ref: str, change: EndpointChange) -> Endpoint:
        return codec.decode(self._call("PATCH", _path("endpoints", ref), change), Endpoint)

    def detach(self, ref: str) -> None:
        self._call("DELETE", _path("endpoints", ref))

    def publish(self, ref: str, ports: Publications) -> Endpoint:
        return codec.decode(self._call("POST", _path("endpoints", ref, "publish"), ports), Endpoint)

    def unpublish(self, ref: str, ports: Publications) -> Endpoint:
        answer = self._call("POST", _path("endpoints", ref, "unpublish"), ports)
        return codec.decode(answer, Endpoint)

    def services(self, network: str | None = None) -> list[ServiceReport]:
        return self._get("/v1/services" + _of(network), list[ServiceReport])

    def service(self, ref: str) -> ServiceDetail:
        return self._get(_path("services", ref), ServiceDetail)

    def create_service(self, new: NewService) -> ServiceReport:
        return codec.decode(self._call("POST", "/v1/services", new), ServiceReport)

    def update_service(self, ref: str, change: ServiceChange) -> ServiceReport:
        return codec.decode(self._call("PATCH", _path("services", ref), change), ServiceReport)

    def remove_service(self, ref: str) -> None:
        self._call("DELETE", _path("services", ref))

    def drain_backend(self, service: str, backend: str) -> BackendDrain:
        path = _path("services", service, "drain", backend)
        return codec.decode(self._call("PUT", path), BackendDrain)

    def drained_backend(self, service: str, backend: str) -> BackendDrain:
        return self._get(_path("services", service, "drain", backend), BackendDrain)

    def undrain_backend(self, service: str, backend: str) -> BackendDrain:
        path = _path("services", service, "drain", backend)
        return codec.decode(self._call("DELETE", path), BackendDrain)

    def slices(self, network: str | None = None) -> list[EndpointSlice]:
        return self._get("/v1/slices" + _of(network), list[EndpointSlice])

    def apply(self, objects: Objects) -> list[Applied]:
        return codec.decode(self._call("POST", "/v1/apply", objects), list[Applied])

    def delete(self, refs: Refs) -> list[Applied]:
        return codec.decode(self._call("POST", "/v1/delete", refs), list[Applied])

    def links(self) -> RoutedReport:
        return self._get("/v1/links", RoutedReport)

    def routes(self, to: str = "", routing: str = "") -> list[RouteReport]:
        asked = {"to": to, "routing": routing}
        query = urlencode({name: value for name, value in asked.items() if value})
        return self._get(f"/v1/routes?{query}" if query else "/v1/routes", list[RouteReport])

    def trace(self, source: str, to: str) -> TraceReport:
        return self._get("/v1/trace?" + urlencode({"from": source, "to": to}), TraceReport)

    def ipam(self) -> list[BlockReport]:
        return self._get("/v1/ipam", list[BlockReport])

    def ipam_check(self) -> list[Leak]:
        return self._get("/v1/ipam/check", list[Leak])

    def release_address(self, address: Address) -> None:
        self._call("DELETE", _path("ipam", "addresses", str(address)))

    def tokens(self) -> list[TokenReport]:
        return self._get("/v1/tokens", list[TokenReport])

    def create_token(self, new: NewToken) -> NewTokenReport:
        return codec.decode(self._call("POST", "/v1/tokens", new), NewTokenReport)

    def revoke_token(self, token: str) -> None:
        self._call("DELETE", _path("tokens", token))

    def hosts(self) -> list[HostReport]:
        return self._get("/v1/hosts", list[HostReport])

    def update_host(self, name: str, change: HostChange) -> HostReport:
        return codec.decode(self._call("PATCH", _path("hosts", name), change), HostReport)

    def remove_host(self, name: str, *, force: bool) -> None:
        self._call("DELETE", _path("hosts", name) + _forced(force=force))

    def drain_host(self, name: str, *, force: bool = False) -> DrainReport:
        path = _path("hosts", name, "drain") + _forced(force=force)
        return codec.decode(self._call("PUT", path), DrainReport)

    def drained_host(self, name: str) -> DrainReport:
        return self._get(_path("hosts", name, "drain"), DrainReport)

    def undrain_host(self, name: str) -> DrainReport:
        return codec.decode(self._call("DELETE", _path("hosts", name, "drain")), DrainReport)

    def leave(self, *, force: bool) -> None:
        self._call("POST", "/v1/leave" + _forced(force=force))

    def cni(self, call: CniCall) -> CniAnswer:
        return codec.decode(self._call("POST", "/v1/cni", call), CniAnswer)

    def _get(self, path: str, kind: type[T]) -> T:
        return codec.decode(self._call("GET", path), kind)

    def _call(self, method: str, path: str, body: object = None) -> bytes:
        """The body of the answer; an error of the agent is raised as its own class."""
        connection = _UnixConnection(self._path, self._timeout)
        try:
            data = None if body is None else codec.encode(body)
            connection.request(method, path, data, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
        except (OSError, HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()
        if response.status < 400:
            return answer
        raise _told(response.status, response.headers.get_content_type(), answer)

    def _unreachable(self, error: Exception) -> SeawayError:
        if isinstance(error, PermissionError):
            return Forbidden(
                f"this user may not open {self._path}",
                f"use root, or become a member of group {names.GROUP} to read",
            )
        if isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
            return _absent(self._path)
        if isinstance(error, TimeoutError):
            return Unavailable(
                f"the agent did not answer on {self._path} within {self._timeout:.0f} s",
                "try again, and see its log",
            )
        return Unavailable(
            f"the agent hung up on {self._path}: {error}", "try again, and see its log"
        )


def _absent(socket: Path) -> SeawayError:
    """With what is to be done about it: that depends on what the host's store is."""
    message, store = f"no agent answers on {socket}", names.STORE_FILE
    try:
        if not any(path.exists() for path in names.SET_UP):
            return Unavailable(message, "this host is not set up: seaway init")
        if store.exists():
            with file.told(store):
                file.look_at(store)
    except PermissionError:
        pass  # only root may look
    except StoreDamaged as error:
        return Unavailable(f"{message}: {error.message}", f"{error.hint}; see: seaway doctor")
    except SeawayError as error:
        return Unavailable(f"{message}: {error.message}", "see: seaway doctor")
    return Unavailable(message, "start it: seaway init, or systemctl start seaway")


def _path(*parts: str) -> str:
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)


def _of(network: str | None) -> str:
    return "" if network is None else "?" + urlencode({"network": network})


def _forced(*, force: bool) -> str:
    return "?force=yes" if force else ""


def _told(status: int, content_type: str, answer: bytes) -> SeawayError:
    if content_type == "application/json":
        return codec.decode(answer, ErrorReport).error.error()
    return SeawayError(
        f"the agent met a defect (HTTP {status})",
        "its log has the traceback; 'seaway support' collects what a report needs",
    )
