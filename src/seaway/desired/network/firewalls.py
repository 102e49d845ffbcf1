"""What other firewalls of the host must let through: all that our endpoints send and get.

Nothing is opened by it that we keep closed: our programs judge every packet of an endpoint, and
our own nftables table what is forwarded to it from elsewhere. Nor what Docker keeps closed: what
goes to one of its bridges is left to its own rules. And where these end in a policy that Docker
would have set to DROP, had not we turned forwarding on before it, its bridges are closed for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType
from typing import Final

from seaway.desired.network.host import FORWARDING
from seaway.facts import Derivation, Source, View
from seaway.model.facts import Barrier, Before, Cluster, Firewalls, Host, Peer, Unguarded
from seaway.model.kernel import DOCKER_CHAIN, TRUSTED, Accept
from seaway.model.services import Service
from seaway.names import ETCD_PEER_PORT, ETCD_PORT, HOSTS_PORT, LINK_PREFIX, ROUTED_PORT

ASKED: Final = "asked"  # an index of the ports at which hosts say whether they have backends

_FORWARDED = Accept((f"-i {LINK_PREFIX}+", f"-o {LINK_PREFIX}+"))
_RULES = MappingProxyType(
    {
        DOCKER_CHAIN: _FORWARDED,
        "FORWARD": _FORWARDED,
        "INPUT": Accept((f"-i {LINK_PREFIX}+",)),
        TRUSTED: Accept((f"{LINK_PREFIX}+",)),
    }
)


def _place(barrier: Barrier) -> tuple[str, str]:
    """Where this firewall wants the rules of others."""
    return barrier.program, DOCKER_CHAIN if barrier.docker_user else barrier.chain


def _accept(place: tuple[str, str], view: View) -> Accept | None:
    firewalls = view.get(Firewalls, "host")
    if not firewalls:
        return None
    for barrier in firewalls.barriers:
        if _place(barrier) == place:
            rules = *_left_to_docker(barrier), *_RULES[place[1]].rules
            return Accept(rules + (_carried(view) if place[1] == "INPUT" else ()))
    for unguarded in firewalls.unguarded:
        if _end(unguarded) == place and _was_closed(unguarded, view):
            return Accept(tuple(f"-o {bridge} -j DROP" for bridge in unguarded.bridges))
    return None


def _carried(view: View) -> tuple[str, ...]:
    """What other hosts send us: packets of containers, probes, link state, questions to the agent
    and to an etcd of ours. Who may send, and what, our programs judge, and by TLS who is asked. And
    what load balancers ask, wherever they are.
    """
    cluster, udp, tcp = (
        view.get(Cluster, "cluster"),
        "-p udp -m udp --dport",
        "-p tcp -m tcp --dport",
    )
    if not cluster:
        return ()
    asked: list[int] = []
    for host in view.all(Host):
        asked += [HOSTS_PORT] if host.key else []  # also by hosts that are about to join
        asked += [ETCD_PORT, ETCD_PEER_PORT] if host.control and cluster.etcd_own else []
    asked += sorted(view.parts(Service, ASKED, True))
    sent = (f"{udp} {cluster.overlay_port}", f"{udp} {ROUTED_PORT}", f"{tcp} {ROUTED_PORT}")
    return (*(sent if view.all(Peer) else ()), *(f"{tcp} {port}" for port in asked))


def _end(unguarded: Unguarded) -> tuple[str, str]:
    return unguarded.program, "FORWARD"


def _was_closed(unguarded: Unguarded, view: View) -> bool:
    """Whether nothing was forwarded here before us: Docker leaves a host that does as it is."""
    setting = FORWARDING[6 if unguarded.program.startswith("ip6") else 4]
    return any(before.sysctls.get(setting) == "0" for before in view.all(Before))


def _places(found: Firewalls) -> Iterator[tuple[str, str]]:
    yield from map(_place, found.barriers)
    yield from map(_end, found.unguarded)


def _left_to_docker(barrier: Barrier) -> Iterator[str]:
    for bridge in barrier.bridges:
        yield f"-i {LINK_PREFIX}+ -o {bridge} -j RETURN"


ACCEPTS = Derivation("accepts", (Source(Firewalls, _places),), _accept)
