"""The etcd that Seaway runs itself: who is a member of it, and what a host must know to be one."""

from __future__ import annotations

from typing import NamedTuple

from seaway import names
from seaway.errors import Conflict
from seaway.model.addresses import Address
from seaway.model.facts import Host, Value


class NotYet(Conflict):
    """Etcd refuses a change of its members for now: a learner is behind, too few live."""


class Seat(NamedTuple):
    """A member, as etcd tells it."""

    id: int
    peer: str  # URL, where other members speak with it
    client: str  # URL, where hosts ask it; empty: it was never started
    learner: bool = False  # it has the records, and no vote


class Seating(Value):
    """What a host must know to run its member: a file of its own."""

    id: int  # of the member; 0: the first, which began it all
    cluster: str
    host: str
    address: Address  # where others reach it
    members: dict[str, str]  # all of them when it came, itself too: name and URL


def peer_url(host: Host) -> str:
    """Where its member is met by others; empty: it has no address."""
    return url(host.underlay[0], names.ETCD_PEER_PORT) if host.underlay else ""


def client_url(host: Host) -> str:
    return url(host.underlay[0], names.ETCD_PORT) if host.underlay else ""


def url(address: Address, port: int) -> str:
    return f"https://[{address}]:{port}" if address.version == 6 else f"https://{address}:{port}"
