"""What each network asks for: its subnets known, its connections open, its way to the world."""

from __future__ import annotations

from collections.abc import Iterable

from seaway.bpf import abi
from seaway.desired.network.ports import published, source_spans
from seaway.facts import Derivation, Source, View
from seaway.model.addresses import Prefix
from seaway.model.facts import Cluster, Network, Peer
from seaway.model.kernel import Masquerade

SERVICES = abi.NETWORK_SERVICES  # instead of a network's number: VIPs, which no endpoint has


def is_of_services(prefix: Prefix, view: View) -> bool:
    return any(prefix in cluster.service_subnets for cluster in view.all(Cluster))


def _subnet(prefix: Prefix, view: View) -> int | None:
    """What goes to a VIP itself, past the hooks of sockets, goes nowhere."""
    for network in view.where(Network, "subnet", prefix):
        return network.number
    return SERVICES if is_of_services(prefix, view) else None


SUBNETS = Derivation(
    "subnets",
    (
        Source(Network, lambda network: network.subnets),
        Source(Cluster, lambda cluster: cluster.service_subnets),
    ),
    _subnet,
)


def _pairs(network: Network) -> Iterable[tuple[int, int]]:
    for other in network.connected:
        yield network.number, other
        yield other, network.number


def _connection(pair: tuple[int, int], view: View) -> int | None:
    """Both networks must know of it: half a connection is none."""
    one, other = (view.where(Network, "number", number) for number in pair)
    if not one or not other:
        return None
    mutual = pair[1] in one[0].connected and pair[0] in other[0].connected
    return 1 if mutual else None


CONNECTIONS = Derivation("connections", (Source(Network, _pairs),), _connection)


def _masquerade(_key: str, view: View) -> Masquerade | None:
    networks, cluster = view.all(Network), view.get(Cluster, "cluster")
    if not networks:
        return None
    return Masquerade(
        sources=_sorted(p for n in networks if n.masquerade for p in n.subnets),
        inside=_sorted(p for n in networks for p in n.subnets),
        ports=source_spans(published(view)),
        untracked=cluster.overlay_port if cluster and view.all(Peer) else 0,
    )


def _sorted(prefixes: Iterable[Prefix]) -> tuple[Prefix, ...]:
    return tuple(sorted(prefixes, key=lambda p: (p.version, p.network_address, p.prefixlen)))


TABLE = ("nft", "table")  # the one key of its kind
MASQUERADE = Derivation(TABLE[0], (Source(Network, lambda _: [TABLE[1]]),), _masquerade)
