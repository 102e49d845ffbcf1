"""What `routed` is told: who the other hosts are, and what this one is to do.

A host with none beside it has nothing to tell, and no `routed`.
"""

from __future__ import annotations

from seaway.facts import Derivation, Source, View
from seaway.model.addresses import Prefix
from seaway.model.facts import Cluster, Host, Network, Peer, Probing, Uplinks
from seaway.model.routing import ORDERS_KEY, Member, Orders


def _orders(_: str, view: View) -> Orders | None:
    peers, host = view.all(Peer), next(iter(view.all(Host)), None)
    if not peers or host is None:
        return None
    probing = view.get(Probing, "host") or Probing()
    return Orders(
        host=host.name,
        number=host.number,
        underlay=host.underlay,
        members=tuple(_member(peer) for peer in peers),
        segments=_segments(host, view.get(Uplinks, "host")),
        relay=not host.draining and _may_relay(view),
        routings=tuple(sorted({"hops", *(n.routing for n in view.all(Network))})),
        probes=probing.preset,
    )


def _may_relay(view: View) -> bool:
    """What is relayed is carried: where nothing is encapsulated, paths are direct or none."""
    cluster = view.get(Cluster, "cluster")
    return cluster is None or cluster.encapsulation != "never"


def _member(peer: Peer) -> Member:
    return Member(name=peer.name, number=peer.number, underlay=peer.underlay, key=peer.key)


def _segments(host: Host, uplinks: Uplinks | None) -> tuple[Prefix, ...]:
    """Those in which this host is by an address where others reach it."""
    found = [p for p in uplinks.segments if any(a in p for a in host.underlay)] if uplinks else []
    return tuple(sorted(found, key=lambda p: (p.version, int(p.network_address), p.prefixlen)))


ORDERS = Derivation("orders", (Source(Peer, lambda _: [ORDERS_KEY]),), _orders)
