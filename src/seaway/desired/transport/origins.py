"""What the answers of published ports look like where their flow is forgotten: as from the one
address and port of the host that leads there, or not at all.

Only what leaves by masquerade has to look like its publication: the ports of another network may be
spoken to directly. One backend's port may have several of an endpoint's own, and of services.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from seaway.bpf import abi
from seaway.desired.transport.node_ports import exposing
from seaway.desired.transport.publications import SEVERAL, backends_of, origin_of
from seaway.facts import Derivation, Source, View
from seaway.model.addresses import UNSPECIFIED, Address, mapped
from seaway.model.facts import Endpoint, Network, Peer
from seaway.model.publications import PROTOCOLS


def _origins(address: Address, view: View) -> abi.Origins | None:
    for endpoint in view.where(Endpoint, "address", address):
        network = view.get(Network, endpoint.network)
        if network and network.masquerade:
            return _of_endpoint(endpoint, address, view) or None
    return None


def _of_endpoint(endpoint: Endpoint, address: Address, view: View) -> abi.Origins:
    octets = mapped(address)
    published = {key: of for key, of in backends_of(endpoint).items() if key.addr == octets}
    led: dict[abi.PortKey, list[tuple[abi.PortKey, bool]]] = defaultdict(list)
    for backend, asked, local in _led(endpoint, address, view):
        led[backend].append((asked, local))
    found = {backend: origin_of(of.keys, view) for backend, of in published.items()}
    for backend, ways in led.items():
        (asked, local), *others = ways
        alone = not (others or backend in published) and (local or not view.all(Peer))
        found[backend] = origin_of((asked,), view) if alone else SEVERAL
    return tuple(sorted(found.items(), key=lambda item: (item[0].port, item[0].protocol)))


def _led(
    endpoint: Endpoint, address: Address, view: View
) -> Iterator[tuple[abi.PortKey, abi.PortKey, bool]]:
    """A port of the address, the one of hosts that leads there, and whether by this host alone.
    Chosen or not, its flows go on.
    """
    octets, family = mapped(address), address.version
    every = mapped(UNSPECIFIED[family])
    for exposed, candidate in exposing(endpoint, view):
        if family not in exposed.families or candidate.address(family) != octets:
            continue
        for port in exposed.ports:
            if number := candidate.port(port):
                protocol = PROTOCOLS[port.protocol]
                backend = abi.PortKey(octets, number.to_bytes(2, "big"), protocol)
                asked = abi.PortKey(every, port.node_port.to_bytes(2, "big"), protocol)
                yield backend, asked, exposed.local


ORIGINS = Derivation(
    "origins", (Source(Endpoint, lambda e: [i.ip for i in e.addresses]),), _origins
)
