"""By what the derivations and intents find facts, besides their keys."""

from __future__ import annotations

from seaway.desired.network.blocks import is_single
from seaway.desired.network.firewalls import ASKED
from seaway.desired.network.ports import PUBLISHING
from seaway.desired.network.shapers import DEVICE, devices_of
from seaway.desired.transport import services
from seaway.desired.transport.bandwidth import (
    LIMITING,
    LIMITING_SLICED,
    limiting_of,
    limiting_sliced_of,
)
from seaway.desired.transport.checks import CHECKED, checked_of
from seaway.desired.transport.clients import COOKIE, cookies_of
from seaway.desired.transport.limits import LIMIT, numbers_of, numbers_of_endpoint
from seaway.desired.transport.naming import NAMED, names_of, names_of_service
from seaway.desired.transport.node_ports import (
    HEALTH_PORT,
    SELECTING,
    SLICED,
    health_keys_of,
    selecting_of,
    sliced_of,
)
from seaway.desired.transport.publications import backends_of, claims_of, publications_of
from seaway.desired.transport.tasks import addresses_of
from seaway.facts import Index
from seaway.model.facts import Attached, Block, Endpoint, Host, Network, Path, Peer, Shaped
from seaway.model.services import Distant, EndpointSlice, Health, Service, Vip
from seaway.names import link_name

INDEXES = (
    Index(Network, "subnet", lambda n: n.subnets),
    Index(Network, "number", lambda n: (n.number,)),
    Index(Network, "routing", lambda n: (n.routing,)),
    Index(Endpoint, "address", addresses_of),
    Index(Endpoint, "link", lambda e: (link_name(e.id),)),
    Index(Endpoint, "network", lambda e: (e.network,)),
    Index(Endpoint, "netns", lambda e: (e.netns_inode,)),
    Index(Endpoint, COOKIE, cookies_of),
    Index(Endpoint, "name", lambda e: (e.name,)),
    Index(Endpoint, "container", lambda e: (e.container,)),
    Index(Endpoint, "publication", publications_of),
    Index(Endpoint, "backend", backends_of),
    Index(Endpoint, "port", claims_of),
    Index(Endpoint, PUBLISHING, lambda e: (True,) if e.ports else ()),
    Index(Endpoint, NAMED, names_of),
    Index(Distant, "address", addresses_of),
    Index(Distant, "port", claims_of),
    Index(Distant, NAMED, names_of),
    Index(Service, "address", lambda s: s.addresses),
    Index(Service, NAMED, names_of_service),
    Index(Attached, "ifindex", lambda a: (a.ifindex,)),
    Index(Shaped, DEVICE, devices_of),
    Index(Block, "network", lambda b: (b.network,)),
    Index(Block, "host", lambda b: (b.host,)),
    Index(Block, "single", lambda b: (b.network,) if is_single(b.prefix) else ()),
    Index(Peer, "number", lambda p: (p.number,)),
    Index(Peer, "address", lambda p: p.addresses),
    Index(Peer, "underlay", lambda p: p.underlay),
    Index(Path, services.REACHED, services.reached_of),
    Index(Host, services.SITUATION, services.here_of),
    Index(Peer, services.SITUATION, services.peer_of),
    Index(Endpoint, services.LABEL, services.labels_of),
    Index(Distant, services.LABEL, services.labels_of),
    Index(Health, services.FAILING, services.failing_of),
    Index(Service, services.PLACE, services.places_of),
    Index(Service, CHECKED, checked_of),
    Index(Service, SELECTING, selecting_of),
    Index(Service, SLICED, sliced_of),
    Index(Service, HEALTH_PORT, health_keys_of),
    Index(Service, ASKED, lambda s: {True: s.health_port} if s.health_port else {}),
    Index(Service, LIMIT, numbers_of),
    Index(Endpoint, LIMIT, numbers_of_endpoint),
    Index(Service, LIMITING, limiting_of),
    Index(Service, LIMITING_SLICED, limiting_sliced_of),
    Index(Service, "network", lambda s: (s.network,)),
    Index(Service, "name", lambda s: (s.name,)),
    Index(EndpointSlice, services.OF_SERVICE, services.slice_of),
    Index(EndpointSlice, "network", lambda s: (s.network,)),
    Index(Vip, "family", lambda v: (v.address.version,)),
)
