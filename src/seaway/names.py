"""The names, numbers and places by which Seaway is known on a host.

An agent without memory recognises its own kernel objects by these alone, so none of them
may change without a path for hosts that carry the old one.
"""

import re
import sys
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

LINK_PREFIX = "swy"  # host side of an endpoint's veth: prefix + 11 digits of the endpoint's id
SHAPER_PREFIXES = ("swyi", "swyo")  # both ends of an endpoint's shaper: prefix + the same 11 digits
OVERLAY_DEVICE = "swyoverlay"  # the VXLAN device, once there are other hosts
ROUTE_PROTOCOL = 83  # rtm_protocol of our routes, ifa_proto of our addresses ('S')
DEFAULT_NETWORK = "default"  # that a cluster begins with, and who names none is in
NFT_TABLE = "seaway"  # family inet
RULE_COMMENT = "seaway"  # of our rules in chains of others
PIN_FOLDER = Path("/sys/fs/bpf/seaway")
STATE_PINS = "state"  # of it, the folder of maps that outlive their layout

GATEWAY4 = IPv4Address("169.254.1.1")  # every endpoint's default gateway (link-local)
GATEWAY6 = IPv6Address("fe80::1")
RESOLVER4 = IPv4Address("169.254.83.53")  # where every host's resolver answers its containers
RESOLVER_TAIL = 0x53  # of its IPv6 address: the last octet, before it ones, in the hosts' subnet
RESOLVER_PORT = 53  # UDP and TCP
DOMAIN = "seaway"  # of names: <name>.<network>.seaway
SERVICE_DOMAIN = "svc.cluster.local"  # of services: <service>.<network>.svc.cluster.local
GATEWAY_MAC = "02:53:57:59:00:01"  # of the host side of every endpoint's veth
OVERLAY_MAC = "02:53:57:59:00:02"  # of the overlay's device on every host
SHAPER_MAC = "02:53:57:59:00:03"  # of both ends of every shaper
OVERLAY_PORT = 8479  # UDP; 4789 is Swarm's and Calico's, 8472 flannel's
OVERLAY_ID = 8479  # VXLAN's identifier of the cluster's overlay

CONFIG_FILE = Path("/etc/seaway/seaway.toml")
STATE_FOLDER = Path("/var/lib/seaway")
STORE_FILE = STATE_FOLDER / "store.db"
SPOOL_FOLDER = STATE_FOLDER / "spool"  # DEL, GC that came while the agent was dead; root only
MEMBER_FILE = STATE_FOLDER / "member.json"  # which host this is, and where its records lie
CACHE_FILE = STATE_FOLDER / "cache.db"  # where the records lie elsewhere: as they were seen last
SET_UP = (STORE_FILE, MEMBER_FILE)  # a host that is set up has one of these
TRUST_FOLDER = STATE_FOLDER / "trust"  # keys and certificates; root only
HOSTS_PORT = 8480  # TCP: where agents of other hosts, and joining hosts, ask
LINK_STATE_FILE = STATE_FOLDER / "link-state"  # as `routed` knew it last
ETCD_FOLDER = STATE_FOLDER / "etcd"  # this host's member of the etcd that Seaway runs
SEAT_FILE = ETCD_FOLDER / "seat.json"  # what it must know
ETCD_PORT, ETCD_PEER_PORT = 2379, 2380  # TCP
NAMES_FILE = STATE_FOLDER / "names.db"  # what the agent tells the resolver
RUN_FOLDER = Path("/run/seaway")
SOCKET = RUN_FOLDER / "agent.sock"
ROUTED_FILE = RUN_FOLDER / "routed.json"  # what the agent tells `routed`
ROUTED_SOCKET = RUN_FOLDER / "routed.sock"  # where `routed` answers
ROUTED_PID_FILE = RUN_FOLDER / "routed.pid"
PATHS_FILE = RUN_FOLDER / "paths.json"  # what `routed` told last
ROUTED_PORT = 8481  # TCP: sessions of `routed` with other hosts; UDP: probes
PID_FILE = RUN_FOLDER / "agent.pid"
LOG_FILE = Path("/var/log/seaway/agent.log")  # only where no systemd keeps the journal
ROUTED_LOG_FILE = LOG_FILE.with_name("routed.log")  # likewise
ETCD_PID_FILE = RUN_FOLDER / "etcd.pid"
ETCD_LOG_FILE = LOG_FILE.with_name("etcd.log")  # likewise
RESOLVER_PID_FILE = RUN_FOLDER / "dns.pid"
RESOLVER_LOG_FILE = LOG_FILE.with_name("dns.log")  # likewise
GROUP = "seaway"  # may read over the socket; root may change
CNI_BIN = Path("/opt/cni/bin")
CNI_CONF = Path("/etc/cni/net.d")

# As engines number containers, some behind a namespace of their own (`default-0123…`).
_NUMBER = re.compile(r"(?:.*-)?([0-9a-f]{32,})")
_KNOWN_DIGITS = 12


def link_name(endpoint_id: str) -> str:
    """The host side's interface name (14 characters; the kernel allows 15): one string for all who
    keep it.
    """
    return sys.intern(LINK_PREFIX + endpoint_id[:11])


def shaper_names(link: str) -> tuple[str, str]:
    """Both ends of an endpoint's shaper: where what goes to it enters, and the other one."""
    into, out = (prefix + link.removeprefix(LINK_PREFIX) for prefix in SHAPER_PREFIXES)
    return into, out


def shaped_link(end: str) -> str:
    """The endpoint's link, by the name of either end of its shaper."""
    return LINK_PREFIX + end[len(SHAPER_PREFIXES[0]) :]


def short_name(container: str) -> str:
    """An engine's long number as people know it, from its other listings; a name whole."""
    number = _NUMBER.fullmatch(container)
    return number[1][:_KNOWN_DIGITS] if number else container
