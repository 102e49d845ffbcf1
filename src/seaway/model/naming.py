"""What the agent tells the resolver: what names stand for, and who may ask for which."""

from __future__ import annotations

from seaway.model.addresses import Address
from seaway.model.facts import Value


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
    """What one name stands for. Key: its network, and the name in lower case; an address goes by
    its name under in-addr.arpa or ip6.arpa.
    """

    addresses: tuple[Address, ...] = ()  # in order
    service: bool = False
    tasks: tuple[Task, ...] = ()  # of a service, by name
    ports: tuple[NamedPort, ...] = ()  # of a service with an address of its own
    elsewhere: str = ""  # of a service: the name of somebody else that it stands for
    pointers: tuple[str, ...] = ()  # of an address: whole names


class Asker(Value):
    """Who may ask: by the address that a question comes from, which is the key."""

    networks: tuple[str, ...] = ()  # whose names it gets
    every: bool = False  # the host itself gets all
    resolver: bool = False  # it is the resolver's own, where that listens
