"""What the host itself needs: its cluster addresses, its identity, and forwarding."""

from __future__ import annotations

from seaway.bpf import abi
from seaway.desired.network.resolver import resolver_addresses
from seaway.facts import Derivation, Source, View
from seaway.model.addresses import Address, Prefix, host_prefix
from seaway.model.facts import Cluster, Host, HostAddresses, Uplinks
from seaway.model.kernel import (
    HOOKS,
    OVERLAY_HOOKS,
    SHAPER_HOOKS,
    SOCKET_HOOKS,
    SWEEP,
    UPLINK_HOOKS,
    HostAddress,
    Pin,
    SocketHook,
    Sysctl,
    Uplink,
)

IDENTITY_HOST = 1  # reserved identities: 0 unknown, 1 host, 2 remote-host, 3 world, 4 init
IDENTITY_FIRST = 256  # of the first set of labels: no selector mentions any yet, so all share it

_HOOKS = (HOOKS, UPLINK_HOOKS, OVERLAY_HOOKS, SHAPER_HOOKS)
_PROGRAMS = (*(program for hooks in _HOOKS for program in hooks.values()), *SOCKET_HOOKS, SWEEP)
PINNED = (*abi.MAPS, *(f"programs/{program}" for program in _PROGRAMS))


def _pin(name: str, view: View) -> Pin | None:
    return Pin(name) if view.all(Host) else None


PINS = Derivation("pins", (Source(Host, lambda _: PINNED),), _pin)


def _host_address(address: Address, view: View) -> HostAddress | None:
    if any(address in host.addresses for host in view.all(Host)):
        return HostAddress(address)
    cluster = view.get(Cluster, "cluster")
    return HostAddress(address) if cluster and address in resolver_addresses(cluster) else None


HOST_ADDRESSES = Derivation(
    "addresses",
    (Source(Host, lambda host: host.addresses), Source(Cluster, resolver_addresses)),
    _host_address,
)


def _identity(prefix: Prefix, view: View) -> int | None:
    here = view.get(HostAddresses, "host")
    return IDENTITY_HOST if here and prefix.network_address in here.addresses else None


IDENTITIES = Derivation(
    "identities",
    (Source(HostAddresses, lambda here: [host_prefix(a) for a in here.addresses]),),
    _identity,
)


_DEVICE, _ACCEPT_RA = "net.ipv6.conf.", ".accept_ra"


def accept_ra(device: str) -> str:
    """The setting by which a device believes router advertisements."""
    return f"{_DEVICE}{device.replace('.', '/')}{_ACCEPT_RA}"


def advertised_device(setting: str) -> str:
    """Of which device this is that setting; empty: it is another one."""
    if not (setting.startswith(_DEVICE) and setting.endswith(_ACCEPT_RA)):
        return ""
    return setting.removeprefix(_DEVICE).removesuffix(_ACCEPT_RA).replace("/", ".")


FORWARDING = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}
# What the kernel changes along with ip_forward (inet_forward_change): recorded, never set by us.
ALONG = ("net.ipv4.conf.all.accept_redirects",)


def forwarding(uplinks: Uplinks) -> dict[str, str]:
    """The settings by which the host forwards, and keeps the routes that it has.

    A host that forwards IPv6 believes no router advertisement any more, unless told so (2) for
    the devices that live by them (Linux, ip-sysctl.rst, accept_ra).
    """
    settings = {FORWARDING[4]: "1"}
    if uplinks.ipv6:
        for device in uplinks.by_advertisement:
            settings[accept_ra(device)] = "2"
        settings[FORWARDING[6]] = "1"
    return settings


def family_of(setting: str) -> int:
    """Of the settings above: they are put back together, or none of them."""
    return 6 if setting.startswith("net.ipv6.") else 4


def _sysctl(name: str, view: View) -> Sysctl | None:
    uplinks = view.get(Uplinks, "host")
    value = forwarding(uplinks).get(name) if uplinks else None
    return Sysctl(name, value) if value else None


SYSCTLS = Derivation("sysctls", (Source(Uplinks, forwarding),), _sysctl)


def _uplink(device: str, view: View) -> Uplink | None:
    uplinks = view.get(Uplinks, "host")
    ifindex = dict(uplinks.devices).get(device) if uplinks else None
    return Uplink(device, ifindex) if ifindex else None


UPLINKS = Derivation(
    "uplinks", (Source(Uplinks, lambda u: [device for device, _ in u.devices]),), _uplink
)


def _socket_hook(hook: str, view: View) -> SocketHook | None:
    return SocketHook(hook) if view.all(Host) else None


SOCKETS = Derivation("sockets", (Source(Host, lambda _: SOCKET_HOOKS),), _socket_hook)
