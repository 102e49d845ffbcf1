"""How often one changed link is told in a cluster whose hosts are not there: every session is, and
all of them are as fast as each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from seaway.bench.simulated import Simulated
from seaway.model.links import LinkState
from seaway.routed.flood import Flood

SIGNATURE = bytes(71)  # as long as ECDSA's, and as a host's certificate
CREDENTIAL = bytes(450)
MOST = 100  # messages that a session sends at once


class Told(NamedTuple):
    messages: int
    octets: int


class Believing:
    """Keys that are not looked at: it is the messages that are counted."""

    credential = CREDENTIAL

    def sign(self, body: bytes) -> bytes:  # noqa: ARG002
        return SIGNATURE

    def holds(self, host: str, credential: bytes, body: bytes, signature: bytes) -> bool:  # noqa: ARG002
        return True


class Flooding:
    """Hosts that have a session with each to which they have a link."""

    def __init__(self, cluster: Simulated) -> None:
        names = frozenset(cluster.names)
        self._now = 0.0
        self._peers = {s.host: [n.host for n in s.neighbours] for s in cluster.states()}
        self._floods = {name: Flood(name, Believing()) for name in cluster.names}
        for name, flood in self._floods.items():
            flood.admit(names)
            for peer in self._peers[name]:
                flood.open(peer)
        self._spread(cluster.names)  # that nothing is known yet

    def change(self, states: Iterable[LinkState]) -> Told:
        """What it takes for all hosts to hear of these."""
        self._now += 1.0
        for state in states:
            self._floods[state.host].announce(state, self._now)
        return self._spread([state.host for state in states])

    def _spread(self, hosts: Iterable[str]) -> Told:
        messages = octets = 0
        while hosts:
            sent = [
                (name, peer, data)
                for name in hosts
                for peer in self._peers[name]
                for data in self._floods[name].send(peer, self._now, MOST)
            ]
            for name, peer, data in sent:
                self._floods[peer].receive(name, data, self._now)
                octets += len(data)
            messages += len(sent)
            hosts = dict.fromkeys(peer for _, peer, _ in sent)
        return Told(messages, octets)
