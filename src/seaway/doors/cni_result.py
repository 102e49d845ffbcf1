"""CNI's answers as values: results of every spec version that we speak, and errors.

Parsing accepts what any of these versions may hold; rendering leaves out what the asked one
does not know. Without I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_interface, ip_network
from typing import Any

import msgspec

from seaway.errors import SeawayError, Undecodable
from seaway.model import codec
from seaway.model.addresses import Address, Interface, Prefix, parse_address
from seaway.model.facts import Value

SUPPORTED = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
NEWEST = SUPPORTED[-1]


class Link(Value):
    """An interface of the attachment; of the host, where it has no sandbox."""

    name: str
    mac: str = ""
    mtu: int = 0
    sandbox: str = ""
    socket_path: str = ""
    pci_id: str = ""


class Ip(Value):
    address: Interface
    gateway: Address | None = None
    link: int | None = None  # index in the result's links


class Route(Value):
    dst: Prefix
    gw: Address | None = None
    mtu: int = 0
    advmss: int = 0
    priority: int = 0
    table: int | None = None
    scope: int | None = None


class Dns(Value):
    nameservers: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class Result(Value):
    links: tuple[Link, ...] = ()
    ips: tuple[Ip, ...] = ()
    routes: tuple[Route, ...] = ()
    dns: Dns = Dns()


def at_least(version: str, other: str) -> bool:
    """Both of `SUPPORTED`."""
    return SUPPORTED.index(version) >= SUPPORTED.index(other)


class _Lenient(msgspec.Struct, frozen=True):
    """As others write it: unknown keys are theirs, and `null` is as good as nothing."""


class _WireLink(_Lenient, frozen=True, rename="camel"):
    name: str = ""
    mac: str | None = None
    mtu: int | None = None
    sandbox: str | None = None
    socket_path: str | None = None
    pci_id: str | None = msgspec.field(default=None, name="pciID")


class _WireIp(_Lenient, frozen=True):
    address: str
    gateway: str | None = None
    interface: int | None = None


class _WireRoute(_Lenient, frozen=True):
    dst: str
    gw: str | None = None
    mtu: int | None = None
    advmss: int | None = None
    priority: int | None = None
    table: int | None = None
    scope: int | None = None


class _WireDns(_Lenient, frozen=True):
    nameservers: tuple[str, ...] | None = None
    domain: str | None = None
    search: tuple[str, ...] | None = None
    options: tuple[str, ...] | None = None


class _WireResult(_Lenient, frozen=True, rename="camel"):
    cni_version: str | None = None
    interfaces: tuple[_WireLink, ...] | None = None
    ips: tuple[_WireIp, ...] | None = None
    routes: tuple[_WireRoute, ...] | None = None
    dns: _WireDns | None = None


def parse_result(raw: object) -> Result:
    """A result of 0.3.0 to 1.1.0; `version` of an address in 0.x says nothing new."""
    wire = codec.from_builtins(raw, _WireResult)
    if wire.cni_version and not wire.cni_version.startswith(("0.3.", "0.4.", "1.")):
        raise Undecodable(
            f"a result of CNI version {wire.cni_version} is not understood",
            f"expected one of {', '.join(SUPPORTED)}",
        )
    links = tuple(_link(link) for link in wire.interfaces or ())
    ips = tuple(_ip(ip, len(links)) for ip in wire.ips or ())
    routes = tuple(_route(route) for route in wire.routes or ())
    return Result(links=links, ips=ips, routes=routes, dns=parse_dns(wire.dns))


def _link(wire: _WireLink) -> Link:
    return Link(
        name=wire.name,
        mac=wire.mac or "",
        mtu=wire.mtu or 0,
        sandbox=wire.sandbox or "",
        socket_path=wire.socket_path or "",
        pci_id=wire.pci_id or "",
    )


def _ip(wire: _WireIp, links: int) -> Ip:
    if wire.interface is not None and not 0 <= wire.interface < max(links, 1):
        raise Undecodable(
            f"address {wire.address} is of interface {wire.interface}",
            f"expected the index of one of {links} interfaces",
        )
    return Ip(address=_interface(wire.address), gateway=_gateway(wire.gateway), link=wire.interface)


def _interface(text: str) -> Interface:
    try:
        return ip_interface(text)
    except ValueError:
        raise Undecodable(f"'{text}' is no IP address with prefix", "expected CIDR") from None


def _gateway(text: str | None) -> Address | None:
    return parse_address(text) if text else None


def _route(wire: _WireRoute) -> Route:
    try:
        dst = ip_network(wire.dst, strict=False)
    except ValueError:
        raise Undecodable(f"'{wire.dst}' is no destination of a route", "expected CIDR") from None
    return Route(
        dst=dst,
        gw=_gateway(wire.gw),
        mtu=wire.mtu or 0,
        advmss=wire.advmss or 0,
        priority=wire.priority or 0,
        table=wire.table,
        scope=wire.scope,
    )


def parse_dns(raw: object) -> Dns:
    """Of a result or of a configuration."""
    wire = raw if isinstance(raw, _WireDns) else codec.from_builtins(raw or {}, _WireDns)
    return Dns(
        nameservers=wire.nameservers or (),
        domain=wire.domain or "",
        search=wire.search or (),
        options=wire.options or (),
    )


def merged(previous: Result, own: Result) -> Result:
    """A chain's result so far, with our interface behind it."""
    shift = len(previous.links)
    ips = (
        msgspec.structs.replace(ip, link=None if ip.link is None else ip.link + shift)
        for ip in own.ips
    )
    return Result(
        links=previous.links + own.links,
        ips=(*previous.ips, *ips),
        routes=previous.routes + own.routes,
        dns=previous.dns if own.dns == Dns() else own.dns,
    )


def render_result(result: Result, version: str) -> str:
    """JSON as that version has it."""
    newest = at_least(version, "1.1.0")
    told = {
        "cniVersion": version,
        "interfaces": [_rendered_link(link, newest=newest) for link in result.links],
        "ips": [_rendered_ip(ip, named=not at_least(version, "1.0.0")) for ip in result.ips],
        "routes": [_rendered_route(route, newest=newest) for route in result.routes],
        "dns": _present(codec.to_builtins(result.dns)),
    }
    return _json(_present(told))


def _rendered_link(link: Link, *, newest: bool) -> dict[str, object]:
    told: dict[str, object] = {"name": link.name, "mac": link.mac, "sandbox": link.sandbox}
    if newest:
        told |= {"mtu": link.mtu, "socketPath": link.socket_path, "pciID": link.pci_id}
    return _present(told)


def _rendered_ip(ip: Ip, *, named: bool) -> dict[str, object]:
    told: dict[str, object] = {"version": str(ip.address.version)} if named else {}
    told |= {"address": str(ip.address), "gateway": ip.gateway and str(ip.gateway)}
    return _present(told) | ({} if ip.link is None else {"interface": ip.link})


def _rendered_route(route: Route, *, newest: bool) -> dict[str, object]:
    told: dict[str, object] = {"dst": str(route.dst), "gw": route.gw and str(route.gw)}
    if newest:
        told |= {"mtu": route.mtu, "advmss": route.advmss, "priority": route.priority}
        told |= {k: v for k in ("table", "scope") if (v := getattr(route, k)) is not None}
        return {k: v for k, v in told.items() if v or k in ("table", "scope")}
    return _present(told)


def _present(told: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in told.items() if value}


def render_error(error: SeawayError, version: str, code: int | None = None) -> str:
    """`msg` is the short and the long of it; `details` says what to do."""
    told = {
        "cniVersion": version,
        "code": error.cni_code if code is None else code,
        "msg": error.message,
        "details": error.hint,
    }
    return _json(told)


def render_versions(version: str) -> str:
    return _json({"cniVersion": version, "supportedVersions": list(SUPPORTED)})


def _json(told: Mapping[str, Any]) -> str:
    return msgspec.json.encode(told).decode() + "\n"


def links_of(result: Result, name: str) -> Iterable[int]:
    """The indexes of the interfaces of that name inside a container."""
    return (i for i, link in enumerate(result.links) if link.name == name and link.sandbox)
