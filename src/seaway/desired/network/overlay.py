"""How packets come to other hosts: the overlay's device, whose addresses are where, and the ways.

A host with none beside it needs nothing of this, and has nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from seaway.bpf import abi
from seaway.facts import Derivation, Source, View
from seaway.model.addresses import Address, Prefix, host_prefix, mapped
from seaway.model.facts import Block, Cluster, Host, Network, Overlay, Path, Peer, Uplinks, path_key
from seaway.model.kernel import Vxlan
from seaway.names import OVERLAY_DEVICE

OVERHEAD: Final = {4: 50, 6: 70}  # what carries a packet adds, by its own family: bytes
_FLAGS: Final = {
    "auto": abi.NEXT_HOP_OVERLAY | abi.NEXT_HOP_DIRECT,
    "always": abi.NEXT_HOP_OVERLAY,
    "never": abi.NEXT_HOP_DIRECT,
}


def overhead(underlay: Collection[Address], encapsulation: str) -> int:
    """Bytes that may be added to a packet on its way to whatever is reached by these addresses.

    Of a host's own: to whatever other host may come; a host that has none stays alone.
    """
    if encapsulation == "never":
        return 0
    return max((OVERHEAD[a.version] for a in underlay), default=0)


def _this_host(view: View) -> Host | None:
    return next(iter(view.all(Host)), None)


def _carrier(view: View, peer: Peer) -> Address | None:
    """Where we send to a peer: by the first of our families that it has too."""
    host = _this_host(view)
    theirs = {address.version: address for address in peer.underlay}
    ours = host.underlay if host else ()
    return next((theirs[a.version] for a in ours if a.version in theirs), None)


def _vxlan(name: str, view: View) -> Vxlan | None:
    uplinks, cluster = view.get(Uplinks, "host"), view.get(Cluster, "cluster")
    carriers = [carrier for p in view.all(Peer) if (carrier := _carrier(view, p))]
    if not carriers or not uplinks or not cluster:
        return None
    room = uplinks.mtu - overhead(carriers, cluster.encapsulation)
    return Vxlan(name=name, mtu=room, port=cluster.overlay_port)


VXLAN = Derivation("vxlan", (Source(Peer, lambda _: [OVERLAY_DEVICE]),), _vxlan)


HERE: Final = 0  # the one key of its kind


def _underlay(_key: int, view: View) -> abi.Underlay | None:
    host, cluster = _this_host(view), view.get(Cluster, "cluster")
    if not host or not cluster or not view.all(Peer):
        return None
    own = {address.version: mapped(address) for address in host.underlay}
    return abi.Underlay(
        v4=own.get(4, bytes(16)),
        v6=own.get(6, bytes(16)),
        id=cluster.overlay_id,
        port=cluster.overlay_port.to_bytes(2),
        host=host.number,
    )


UNDERLAYS = Derivation("underlays", (Source(Peer, lambda _: [HERE]),), _underlay)


def _tunnel(ifindex: int, view: View) -> int | None:
    overlay = view.get(Overlay, "host")
    return 1 if overlay and overlay.ifindex == ifindex else None


TUNNELS = Derivation("tunnels", (Source(Overlay, lambda o: [o.ifindex]),), _tunnel)


def holder(prefix: Prefix, view: View) -> Peer | None:
    """Which other host has this prefix: as one of its blocks, or as its own address."""
    block = view.get(Block, str(prefix))
    if block:
        return view.get(Peer, block.host)
    if prefix.prefixlen < prefix.max_prefixlen:
        return None
    return next(iter(view.where(Peer, "address", prefix.network_address)), None)


def _remote(prefix: Prefix, view: View) -> abi.Remote | None:
    peer = holder(prefix, view)
    if not peer:
        return None
    block = view.get(Block, str(prefix))
    if not block:
        return abi.Remote(peer.number, network=0, flags=abi.REMOTE_HOST)
    network = view.get(Network, block.network)
    if not network:
        return None
    flags = abi.REMOTE_OPEN if network.open else 0
    if network.routing == "latency":
        flags |= abi.REMOTE_LATENCY
    return abi.Remote(peer.number, network.number, flags)


REMOTES = Derivation(
    "remotes",
    (
        Source(Block, lambda block: [block.prefix]),
        Source(Peer, lambda peer: map(host_prefix, peer.addresses)),
    ),
    _remote,
)


def _by_number(number: int, view: View) -> Peer | None:
    return next(iter(view.where(Peer, "number", number)), None)


def _way(peer: Peer, view: View) -> Path:
    """As long as nobody has told another one, a peer is its own next hop."""
    return view.get(Path, peer.name) or Path(host=peer.name, via=peer.name)


def _path(key: int, view: View) -> abi.Path | None:
    """By the least time only if a network wants it; as long as none is known, the one with the
    fewest hops will do.
    """
    peer = _by_number(key & ~abi.PATH_LATENCY, view)
    if not peer:
        return None
    path = _way(peer, view)
    if key & abi.PATH_LATENCY:
        if not view.where(Network, "routing", "latency"):
            return None
        path = view.get(Path, path_key(peer.name, "latency")) or path
    numbers = [peer.number for name in path.nexts if (peer := view.get(Peer, name))]
    if not numbers:
        return None
    backup = view.get(Peer, path.backup) if path.backup else None
    return abi.Path(numbers[0], backup.number if backup else 0, *numbers[1:])


PATHS = Derivation(
    "paths",
    (Source(Peer, lambda peer: [peer.number, peer.number | abi.PATH_LATENCY]),),
    _path,
)


def _next_hop(number: int, view: View) -> abi.NextHop | None:
    peer, overlay = _by_number(number, view), view.get(Overlay, "host")
    carrier, cluster = peer and _carrier(view, peer), view.get(Cluster, "cluster")
    if not carrier or not overlay or not cluster:
        return None
    return abi.NextHop(mapped(carrier), number, _FLAGS[cluster.encapsulation], overlay.ifindex)


NEXT_HOPS = Derivation("next_hops", (Source(Peer, lambda peer: [peer.number]),), _next_hop)


def _member(address: Address, view: View) -> abi.Member | None:
    return next((abi.Member(p.number) for p in view.where(Peer, "underlay", address)), None)


MEMBERS = Derivation("members", (Source(Peer, lambda peer: peer.underlay),), _member)
