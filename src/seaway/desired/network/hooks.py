"""What the hooks of sockets do (socket.h, allowance.h), and what the host's own sockets send.

A socket that connects is led to a backend once; what it sends then is for that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Self

from seaway.bpf import abi
from seaway.desired.network.asking import Asking
from seaway.desired.network.tables import AskedService, Held, is_internal
from seaway.desired.network.walked import Spot
from seaway.model.addresses import unmapped
from seaway.model.facts import Attached, Endpoint
from seaway.names import link_name

INSIDE: Final = Spot("routes", "lo")  # the container's own
_BY_PACKETS: Final = (
    "who is not seen by it (raw sockets, what is nested in a container) is led packet by packet, "
    "by from_endpoint; a limit of the service counts that too"
)
_REFUSED_PACKETS: Final = (
    "packets of others are answered by from_endpoint: TCP with a reset, UDP that the port is closed"
)


class Hooks(Asking):
    def connects(self, sender: Endpoint, send: Callable[[Self], None]) -> bool:
        """Whether the hook of an endpoint's socket decides where it goes. `send`: what becomes of
        what it sends then.
        """
        packet, cookie = self.packet, sender.netns_cookie
        client = self.tables.client(cookie)
        if client is None:
            return False
        spot = self._connect()
        asked = self.tables.service(packet.destination, packet.port, packet.protocol)
        own = self.tables.held(client.limit)
        if own and own.full and not (asked and asked.bare and not asked.silent):
            self._over(spot, "its container", own)
            return True

        def lead(other: Self, backend: abi.Backend) -> None:
            other.turn(backend)
            if not other._asks_itself(sender):
                send(other)

        return asked is not None and self._asks(spot, asked, cookie, lead)

    def _connect(self) -> Spot:
        return Spot(f"connect{self.packet.destination.version}")

    def _asks(
        self,
        spot: Spot,
        asked: AskedService,
        cookie: int,
        lead: Callable[[Self, abi.Backend], None],
    ) -> bool:
        """False: the hook leaves the socket alone. `cookie`: of the client, whose share of a limit
        counts; 0: the host's.
        """
        if asked.silent:
            why = "the service is silent, as its policy is Local: the hook leaves the socket alone"
            self.step(spot, "pass", why)
            return False
        held = self.tables.held(asked.service.limit, cookie)
        if asked.bare:
            others = _REFUSED_PACKETS if cookie else ""
            self.nobody_to_choose(spot, asked, "refuse", "refused", others=others)
        elif held and held.full:
            self._over(spot, "the service", held, asked)
        else:
            self.choose(spot, asked, lead, others=_BY_PACKETS if cookie else "")
        return True

    def _over(self, spot: Spot, whose: str, held: Held, asked: AskedService | None = None) -> None:
        found = self.service_asked(asked) if asked else None
        self.step(spot, "refuse", held.told(whose), reason="limited", service=found)

    def _asks_itself(self, sender: Endpoint) -> bool:
        """Then it never leaves the container."""
        there = self.tables.endpoint(self.packet.destination)
        attached = self.facts.get(Attached, sender.id)
        if not (there and attached and self.tables.owns(there, attached.ifindex)):
            return False
        name = self.endpoint_name(there)
        self.step(INSIDE, "deliver", "it asks itself: no program sees that", to=name)
        return True

    # The host's own sockets, and its stack: to_endpoint, to_overlay

    def from_host(self) -> None:
        packet, tables = self.packet, self.tables
        there = packet.destination
        asked = None
        if not there.is_unspecified:  # that is who asks himself
            asked = tables.service(there, packet.port, packet.protocol)
        if asked is None and (is_internal(there) or tables.is_host(there)):
            self._own_port()
        elif asked is None or not self._asks(self._connect(), asked, 0, Hooks._from_host_to):
            self.sent_by_host()

    def _own_port(self) -> None:
        """A port that is published on this host: of an endpoint here, or of a service."""
        packet, tables, spot = self.packet, self.tables, self._connect()
        internal = is_internal(packet.destination)
        look = tables.published if internal else tables.publication
        found = look(packet.destination, packet.port, packet.protocol)
        backend = tables.endpoint(unmapped(found.backend)) if found else None
        if found and backend:
            self.translate(spot, found, backend)
            self.to_endpoint(backend)
            return
        ask = tables.every_host if internal else tables.frontend
        asked = ask(packet.destination, packet.port, packet.protocol)
        if not asked or not self._asks(spot, asked, 0, Hooks._from_host_to):
            self.step(spot, "host", "an address of this host, and no published port")

    def _from_host_to(self, backend: abi.Backend) -> None:
        """The kernel chooses the source after the hook, as the route to the backend says."""
        self.turn(backend)
        self.as_host()
        self.sent_by_host()

    def sent_by_host(self) -> None:
        there, tables = self.packet.destination, self.tables
        if endpoint := tables.endpoint(there):
            self.to_endpoint(endpoint)
        elif remote := tables.remote(there):
            self.to_overlay(remote)
        else:
            self.by_routes()

    def to_endpoint(self, endpoint: abi.Endpoint) -> None:
        names = [
            link_name(attached.endpoint)
            for attached in self.facts.where(Attached, "ifindex", endpoint.ifindex)
        ]
        spot = Spot("to_endpoint", names[0] if names else "")
        self.deliver(spot, endpoint, "from the host's own stack")
