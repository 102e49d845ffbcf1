"""The host as it is without us: whether it can carry Seaway, and what it routes. Only read."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import re
import socket
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from seaway.errors import Forbidden, HostUnfit
from seaway.kernel import filesystems, netns, nft
from seaway.kernel.messages.address import AddressEntry, list_addresses, parse_address
from seaway.kernel.messages.link import get_link, parse_link
from seaway.kernel.messages.route import UNICAST, RouteEntry, list_routes, parse_route
from seaway.kernel.rtnl import Rtnl
from seaway.model.addresses import ForeignPrefix, host_prefix
from seaway.model.reports import Finding
from seaway.names import ROUTE_PROTOCOL, SET_UP

KERNEL_FLOOR = (6, 1)
_BTF = Path("/sys/kernel/btf/vmlinux")
_BPFFS = Path("/sys/fs/bpf")
_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}
_DEFAULT_MTU = 1500
_LOCAL_TABLE = 255
_SHORTEST_LINK = 8  # bits of a network that one link can be
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


def require(probe: Callable[[], None], btf: Path = _BTF) -> None:
    """Raise the first thing that makes it impossible, before anything is touched.

    `probe` raises what keeps us from bpf(2).
    """
    if missing := missing_capabilities():
        raise Forbidden(f"{', '.join(missing)} missing", "run as root, not in a container")
    if kernel_version() < KERNEL_FLOOR:
        floor = ".".join(map(str, KERNEL_FLOOR))
        raise HostUnfit(f"kernel {platform.release()} is too old", f"expected {floor} or newer")
    if not btf.exists():
        raise HostUnfit(
            "this kernel has no BTF", "use one built with CONFIG_DEBUG_INFO_BTF, as Debian's are"
        )
    _require_bpf(probe)
    if nft.program() is None:
        raise HostUnfit("there is no program 'nft'", "apt-get install nftables")


def _require_bpf(probe: Callable[[], None]) -> None:
    try:
        probe()
    except OSError as error:
        if error.errno == errno.ENOSYS:
            told = "this kernel has no bpf(2)", "use one built with CONFIG_BPF_SYSCALL"
        elif error.errno in (errno.EPERM, errno.EACCES):
            told = "bpf(2) is not allowed here", "run on the host itself, outside of any sandbox"
        else:
            raise
        raise HostUnfit(*told) from None


def kernel_version() -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", platform.release())
    return (int(found[1]), int(found[2])) if found else (0, 0)


def missing_capabilities() -> list[str]:
    """CAP_SYS_ADMIN: to enter namespaces, and for bpf(2)."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"^CapEff:\s*([0-9a-f]+)", status, re.MULTILINE)
    effective = int(found[1], 16) if found else 0
    return [name for name, bit in _CAPABILITIES.items() if not effective >> bit & 1]


def has_bpffs(folder: Path = _BPFFS) -> bool:
    """Whether a BPF file system is there, on top of all else."""
    return filesystems.has(folder, filesystems.BPFFS)


def mount_bpffs(folder: Path = _BPFFS) -> None:
    """Where programs and maps are pinned. Does nothing where it is mounted."""
    if has_bpffs(folder):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"bpf", os.fsencode(folder), b"bpf", 0, None):
        number = ctypes.get_errno()
        raise HostUnfit(f"cannot mount a BPF file system on {folder}: {os.strerror(number)}")


def findings() -> list[Finding]:
    return [*_kernel(), *_rights(), *_forwarding()]


def _kernel() -> Iterator[Finding]:
    release = platform.release()
    if kernel_version() < KERNEL_FLOOR:
        yield _finding("kernel", "error", release, "6.1 or newer is needed")
    else:
        yield _finding("kernel", "ok", release)
    if _BTF.exists():
        yield _finding("btf", "ok", str(_BTF))
    else:
        yield _finding("btf", "error", f"no {_BTF}", "a kernel with CONFIG_DEBUG_INFO_BTF")
    if has_bpffs():
        yield _finding("bpffs", "ok", f"mounted on {_BPFFS}")
    else:
        yield _finding("bpffs", "warning", f"not mounted on {_BPFFS}", "the agent mounts it")
    if program := nft.program():
        yield _finding("nft", "ok", program)
    else:
        yield _finding("nft", "error", "there is no program 'nft'", "apt-get install nftables")


def _rights() -> Iterator[Finding]:
    missing = missing_capabilities()
    if missing and os.geteuid():
        yield _finding("capabilities", "off", "not looked at", "root can: sudo seaway doctor")
    elif missing:
        advice = "run outside of any container or sandbox"
        yield _finding("capabilities", "error", f"{', '.join(missing)} missing", advice)
    else:
        yield _finding("capabilities", "ok", ", ".join(_CAPABILITIES))


def _forwarding() -> Iterator[Finding]:
    for name in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
        path = Path("/proc/sys") / name
        value = path.read_text().strip() if path.exists() else "not there"
        advice = "" if value == "1" else _turns_on()
        told = f"{name.replace('/', '.')} is {value}"
        yield _finding("forwarding", "ok" if value == "1" else "warning", told, advice)


def _turns_on() -> str:
    try:
        known = any(path.exists() for path in SET_UP)
    except PermissionError:  # only root may look: then somebody made it
        known = True
    if known:
        return "the agent sets it; does something else reset it?"
    return "seaway init turns it on"


def _finding(check: str, level: str, found: str, advice: str = "") -> Finding:
    return Finding(check=check, level=level, found=found, advice=advice)


def foreign_prefixes(netns_path: Path | None = None) -> list[ForeignPrefix]:
    """What this host reaches without us, each once: its addresses, the networks that it is in,
    the next hops of its routes, and what it routes.
    """
    with netns.open_rtnl(netns_path) as rtnl:
        found = [*_routed(rtnl), *_addressed(rtnl)]
    by_prefix = {one.prefix: one for one in found}  # the last told is the one that says most
    return sorted(
        (
            f
            for p, f in by_prefix.items()
            if not (p.is_loopback or p.is_multicast or p.is_link_local)
        ),
        key=lambda f: (f.prefix.version, int(f.prefix.network_address), f.prefix.prefixlen),
    )


def _routed(rtnl: Rtnl) -> Iterator[ForeignPrefix]:
    entries = [
        entry
        for entry in routes(rtnl)
        if entry.protocol != ROUTE_PROTOCOL and entry.table != _LOCAL_TABLE
    ]
    yield from (ForeignPrefix(entry.dst) for entry in entries)
    for entry in entries:
        if _is_on_link(entry):
            yield ForeignPrefix(entry.dst, "a network that this host is in", yields=False)
    for entry in entries:
        for hop in (entry.gateway, *entry.hops):
            if hop:
                what = f"the next hop of this host's route to {_destination(entry)}"
                yield ForeignPrefix(host_prefix(hop), what, yields=False)


def _is_on_link(entry: RouteEntry) -> bool:
    """Not what stands for the default route: VPNs write it in two halves, tunnels as it is."""
    by_router = entry.gateway or entry.hops
    return entry.type == UNICAST and not by_router and entry.dst.prefixlen >= _SHORTEST_LINK


def _destination(entry: RouteEntry) -> str:
    return str(entry.dst) if entry.dst.prefixlen else "everywhere"


def _addressed(rtnl: Rtnl) -> Iterator[ForeignPrefix]:
    own = [entry.address for entry in _addresses(rtnl) if entry.protocol != ROUTE_PROTOCOL]
    for network in (address.network for address in own):
        if network.prefixlen >= _SHORTEST_LINK:
            yield ForeignPrefix(network, "a network that this host is in", yields=False)
    for address in own:
        yield ForeignPrefix(host_prefix(address.ip), "an address of this host", yields=False)


def _addresses(rtnl: Rtnl) -> Iterator[AddressEntry]:
    return filter(None, (parse_address(body) for body in rtnl.dump(*list_addresses())))


def uplink_mtu(netns_path: Path | None = None) -> int:
    """The smallest of the devices with an address by which a default route leads; 1500 where there
    is none.
    """
    with netns.open_rtnl(netns_path) as rtnl:
        devices = default_devices(rtnl, {entry.ifindex for entry in _addresses(rtnl)})
        links = [parse_link(rtnl.get(*get_link(ifindex))) for ifindex in devices]
    return min((link.mtu for link in links), default=_DEFAULT_MTU)


def default_devices(rtnl: Rtnl, among: Iterable[int]) -> set[int]:
    """Of these, by which a default route leads. Each is asked for by itself: of thousands of routes
    the kernel then passes over those by other devices.
    """
    return {ifindex for ifindex in among if any(map(_is_default, routes(rtnl, ifindex=ifindex)))}


def _is_default(entry: RouteEntry) -> bool:
    return entry.dst.prefixlen == 0 and entry.type == UNICAST


def routes(rtnl: Rtnl, protocol: int = 0, ifindex: int = 0) -> Iterator[RouteEntry]:
    """Of every table and family. 0: of every protocol, by every device."""
    for af in _FAMILIES:
        for body in rtnl.dump(*list_routes(af, protocol, ifindex=ifindex)):
            entry = parse_route(body)
            if entry:
                yield entry
