"""What the agent tells the resolver: what names stand for, and who may ask for which."""

from __future__ import annotations

from typing import Final

from seaway.model.addresses import Address
from seaway.model.facts import Value
from seaway.names import DOMAIN, SERVICE_DOMAIN

ZONES: Final = (
    SERVICE_DOMAIN,
    DOMAIN,
)  # behind a name and its network; the first has services alone
TASKS: Final = "tasks"  # before a service's name: all its backends that are ready


def parted(name: str, zone: str) -> tuple[str, str]:
    """Of one that ends in the zone: the name in its network, and that; each may be empty."""
    rest, _, network = name[: -len(zone)].removesuffix(".").rpartition(".")
    return rest, network


class NamedPort(Value):
    """A port of a service, as SRV tells it."""

    name: str
    protocol: str
    port: int


class Task(Value):
    """A backend, as the names of its service know it."""

    name: str  # its endpoint's, in lower case; without one, its address with dashes
    addresses: tuple[Address, ...]
    ports: tuple[NamedPort, ...] = ()  # of a headless service: the backend's own


class Named(Value):
    """What one name stands for. Key: its network, and the name in lower case."""

    addresses: tuple[Address, ...] = ()  # in order
    service: bool = False
    tasks: tuple[Task, ...] = ()  # of a service, by name
    ports: tuple[NamedPort, ...] = ()  # of a service with an address of its own
    elsewhere: str = ""  # of a service: the name of somebody else that it stands for


class Pointer(Value):
    """A name to which an address leads back."""

    network: str
    name: str


class Asker(Value):
    """Who may ask."""

    networks: tuple[str, ...] = ()  # whose names it gets
    every: bool = False  # the host itself gets all
    resolver: bool = False  # it is the resolver's own, where that listens


class Holder(Value):
    """Who has an address, which is the key."""

    asker: Asker | None = None  # who asks from there; None: nobody of this host
    pointers: tuple[Pointer, ...] = ()
