"""Every kind of kernel object there is, in the order in which they are put.

A thing exists before what refers to it: devices before the programs on them, programs and
map entries before the routes that bring packets.
"""

from __future__ import annotations

from seaway.desired.network.endpoints import ATTACHMENTS, ENDPOINTS, INTERFACES, LINKS, ROUTES
from seaway.desired.network.firewalls import ACCEPTS
from seaway.desired.network.host import (
    HOST_ADDRESSES,
    IDENTITIES,
    PINS,
    SOCKETS,
    SYSCTLS,
    UPLINKS,
)
from seaway.desired.network.networks import CONNECTIONS, MASQUERADE, SUBNETS
from seaway.desired.network.numbers import NUMBERS
from seaway.desired.network.orders import ORDERS
from seaway.desired.network.overlay import (
    MEMBERS,
    NEXT_HOPS,
    PATHS,
    REMOTES,
    TUNNELS,
    UNDERLAYS,
    VXLAN,
)
from seaway.desired.network.ports import RESERVED
from seaway.desired.network.shapers import SHAPED, SHAPERS
from seaway.desired.transport.checks import CHECKS
from seaway.desired.transport.clients import CLIENTS
from seaway.desired.transport.limits import LIMITS
from seaway.desired.transport.naming import HOLDERS, NAMES
from seaway.desired.transport.node_ports import BEHIND, HEALTH_PORTS
from seaway.desired.transport.origins import ORIGINS
from seaway.desired.transport.publications import PUBLICATIONS
from seaway.desired.transport.services import SERVICES

DERIVATIONS = (
    PINS,
    SYSCTLS,
    RESERVED,
    HOST_ADDRESSES,
    IDENTITIES,
    SUBNETS,
    CONNECTIONS,
    NUMBERS,
    MASQUERADE,
    ACCEPTS,
    LINKS,
    SHAPERS,
    VXLAN,
    TUNNELS,
    UNDERLAYS,
    MEMBERS,
    NEXT_HOPS,
    PATHS,
    REMOTES,
    SHAPED,
    INTERFACES,
    ENDPOINTS,
    PUBLICATIONS,
    ORIGINS,
    BEHIND,
    LIMITS,
    CLIENTS,
    SERVICES,
    ATTACHMENTS,
    ROUTES,
    UPLINKS,
    SOCKETS,
    NAMES,
    HOLDERS,
    ORDERS,
    CHECKS,
    HEALTH_PORTS,
)
