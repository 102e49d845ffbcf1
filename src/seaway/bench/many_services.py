"""Thousands of services that are not there, with ten backends each: the same for every system.

The same number of services gives the same services.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Final, NamedTuple

from seaway.model.facts import Endpoint, Host, Path, Peer, path_key
from seaway.model.requests import NewService, Objects
from seaway.model.services import (
    Distant,
    EndpointSlice,
    Service,
    ServicePort,
    SliceEndpoint,
    SlicePort,
)

NETWORK: Final = "default"
BACKENDS: Final = 10  # of each service
MOST: Final = 20_000  # services that there are addresses for, and room in the kernel's maps
LABEL: Final = "app"
_VIPS: Final = IPv4Network("172.30.0.0/16")
_PLACES: Final = IPv4Network("172.24.0.0/14")
_SPARE: Final = _PLACES[-2]  # of a backend that takes another's place
_PORT, _TARGET = 80, 8080
_HOSTS: Final = 100  # that the backends are on, this one among them
_OF_A_CALL: Final = 500  # services


class Place(NamedTuple):
    address: IPv4Address
    port: int


class Backed(NamedTuple):
    """A TCP port of a virtual address, and who is behind it."""

    name: str
    vip: Place
    backends: tuple[Place, ...]


def simulated(count: int) -> list[Backed]:
    return [_backed(number) for number in range(1, count + 1)]


def _backed(number: int) -> Backed:
    first = number * BACKENDS
    places = (Place(_PLACES[at], _TARGET) for at in range(first, first + BACKENDS))
    return Backed(f"service-{number:05}", Place(_VIPS[number], _PORT), tuple(places))


def replaced(service: Backed) -> Backed:
    """The same with another backend in the place of its last one."""
    others = service.backends[:-1]
    return service._replace(backends=(*others, Place(_SPARE, _TARGET)))


def objects(services: Sequence[Backed]) -> Iterator[Objects]:
    """What an agent is asked for, in calls of a size that it takes."""
    for start in range(0, len(services), _OF_A_CALL):
        part = services[start : start + _OF_A_CALL]
        yield Objects(
            services=tuple(_new(one) for one in part), slices=tuple(_slice(one) for one in part)
        )


def _ports() -> tuple[ServicePort, ...]:
    return (ServicePort(port=_PORT, target=_TARGET),)


def _new(of: Backed) -> NewService:
    return NewService(name=of.name, network=NETWORK, ports=_ports(), families=(4,))


def _slice(of: Backed) -> EndpointSlice:
    return EndpointSlice(
        name=of.name,
        network=NETWORK,
        service=of.name,
        family=4,
        ports=(SlicePort(port=_TARGET),),
        endpoints=tuple(SliceEndpoint(addresses=(place.address,)) for place in of.backends),
    )


def hosts() -> Iterator[tuple[str, Host | Path]]:
    """This one, and the others with a path to each; by their keys."""
    here, *others = (_host_name(number) for number in range(_HOSTS))
    yield here, Host(name=here, addresses=())
    for number, name in enumerate(others, 2):
        yield name, Peer(name=name, addresses=(), number=number)
        yield path_key(name, "hops"), Path(host=name, via=name)


def service_fact(of: Backed) -> Service:
    return Service(
        name=of.name,
        network=NETWORK,
        ports=_ports(),
        addresses=(of.vip.address,),
        selector={LABEL: of.name},
    )


def backend_fact(of: Backed, place: Place) -> Endpoint | Distant:
    """Of a hundred hosts one is this one, and has as many of them as any other."""
    number = int(place.address)
    distant = Distant(
        id=f"{number:016x}",
        name=f"{of.name}-{number:x}",
        network=NETWORK,
        host=_host_name(number % _HOSTS),
        addresses=(place.address,),
        labels={LABEL: of.name},
    )
    if number % _HOSTS:
        return distant
    return Endpoint(
        id=distant.id,
        name=distant.name,
        network=distant.network,
        host=distant.host,
        addresses=(IPv4Interface(place.address),),
        labels=distant.labels,
        container=distant.id,
        interface="eth0",
        netns="",
        netns_inode=number,
        mac="02:00:00:00:00:01",
        mtu=1500,
    )


def _host_name(number: int) -> str:
    return f"host-{number:03}"
