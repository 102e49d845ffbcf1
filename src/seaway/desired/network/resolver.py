"""Where the resolver of each host answers: the same addresses on all of them, on `lo`."""

from __future__ import annotations

from ipaddress import IPv6Address

from seaway.model.addresses import Address
from seaway.model.facts import Cluster
from seaway.names import RESOLVER4, RESOLVER_TAIL


def resolver_addresses(cluster: Cluster) -> tuple[Address, ...]:
    """The link-local one, and of a cluster with IPv6 one near the end of its hosts' subnet, of
    which hosts get the first by their numbers.
    """
    ends = (int(s.broadcast_address) for s in cluster.host_subnets if s.version == 6)
    own = tuple(IPv6Address(end & ~0xFF | RESOLVER_TAIL) for end in ends)
    return (RESOLVER4, *own[:1])
