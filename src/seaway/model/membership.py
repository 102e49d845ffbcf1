"""Which host this is, and what a host that joins and its cluster tell each other."""

from __future__ import annotations

from seaway.model.addresses import Address, ForeignPrefix
from seaway.model.facts import Cluster, Host, Value


class Membership(Value):
    """What a host must know before it can read any record: a file of its own.

    Where neither `etcd` nor `through` is given, the records lie in the host's own file.
    """

    cluster: str
    host: str
    etcd: tuple[str, ...] = ()  # URLs
    through: tuple[str, ...] = ()  # addresses of hosts whose agents pass records on

    @property
    def elsewhere(self) -> bool:
        """Whether the records lie elsewhere than in this host's own file."""
        return bool(self.etcd or self.through)


class Ground(Value):
    """What whoever wants to join may know before he trusts, or is trusted."""

    authority: str  # the CA's certificate, PEM: its hash is in the token
    clock: float  # seconds since the epoch
    version: str


class Joining(Value):
    """What a host that wants to join says of itself."""

    token: str  # its id
    secret: str
    name: str
    request: str  # PEM: a certificate signing request, of which only the key counts
    underlay: tuple[Address, ...]  # where others reach it, at most one per family
    foreign: tuple[ForeignPrefix, ...]  # what it reaches without us
    clock: float
    version: str
    again: bool = False  # it is a host of this cluster, and wants another certificate


class EtcdAccess(Value):
    """How the records in etcd are reached; without files, by the cluster's own certificates."""

    urls: tuple[str, ...] = ()
    authority: str = ""  # PEM
    identity: str = ""  # PEM: key and certificate of its clients


class Joined(Value):
    """What it needs from then on."""

    cluster: Cluster
    host: Host
    certificate: str  # PEM
    authority_key: str = ""  # PEM; only for a control host
    etcd: EtcdAccess = EtcdAccess()
    through: tuple[str, ...] = ()  # addresses of the host that answers


class Signing(Value):
    """A member asks for its next certificate."""

    request: str  # PEM


class Signed(Value):
    certificate: str  # PEM
