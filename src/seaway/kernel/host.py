"""The host as it is without us: whether it can carry Seaway, and what it routes. Only read."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from seaway.errors import Forbidden, HostUnfit
from seaway.kernel import filesystems, netns, nft
from seaway.kernel.messages.address import list_addresses, parse_address
from seaway.kernel.messages.link import ETHERNET, LinkEntry, get_link, parse_link
from seaway.kernel.messages.route import BY_RA, UNICAST, RouteEntry, list_routes, parse_route
from seaway.kernel.rtnl import Rtnl
from seaway.model.addresses import Prefix
from seaway.model.facts import Uplinks
from seaway.model.reports import Finding
from seaway.names import LINK_PREFIX, ROUTE_PROTOCOL

KERNEL_FLOOR = (6, 1)
_BTF = Path("/sys/kernel/btf/vmlinux")
_BPFFS = Path("/sys/fs/bpf")
_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}
_DEFAULT_MTU = 1500
_IPV6 = Path("/proc/sys/net/ipv6")
_LOCAL_TABLE = 255
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
    if missing := missing_capabilities():
        yield _finding("capabilities", "error", f"{', '.join(missing)} missing", "run as root")
    else:
        yield _finding("capabilities", "ok", ", ".join(_CAPABILITIES))


def _forwarding() -> Iterator[Finding]:
    for name in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
        path = Path("/proc/sys") / name
        value = path.read_text().strip() if path.exists() else "not there"
        advice = "" if value == "1" else "the agent sets it; does something else reset it?"
        told = f"{name.replace('/', '.')} is {value}"
        yield _finding("forwarding", "ok" if value == "1" else "warning", told, advice)


def _finding(check: str, level: str, found: str, advice: str = "") -> Finding:
    return Finding(check=check, level=level, found=found, advice=advice)


def foreign_prefixes(netns_path: Path | None = None) -> list[Prefix]:
    """Where this host sends packets without us: its routes and its interfaces' networks."""
    with netns.open_rtnl(netns_path) as rtnl:
        entries = (parse_address(body) for body in rtnl.dump(*list_addresses()))
        own = {
            entry.address.network for entry in entries if entry and entry.protocol != ROUTE_PROTOCOL
        }
        routed = {
            entry.dst
            for entry in _routes(rtnl)
            if entry.protocol != ROUTE_PROTOCOL and entry.table != _LOCAL_TABLE
        }
    found = own | routed
    return sorted(
        (p for p in found if not (p.is_loopback or p.is_multicast or p.is_link_local)),
        key=lambda p: (p.version, int(p.network_address), p.prefixlen),
    )


def uplink_mtu(netns_path: Path | None = None) -> int:
    """The smallest of the default routes' devices; 1500 where there is no default route."""
    with netns.open_rtnl(netns_path) as rtnl:
        devices = {entry.ifindex for entry in _defaults(rtnl) if entry.ifindex}
        links = [parse_link(rtnl.get(*get_link(ifindex))) for ifindex in devices]
    return min((link.mtu for link in links), default=_DEFAULT_MTU)


def uplinks(netns_path: Path | None = None) -> Uplinks:
    """How this host reaches others, and they it."""
    return Uplinks(
        ipv6=_IPV6.exists(),
        by_advertisement=tuple(learnt_by_ra(netns_path)),
        devices=tuple(addressed_devices(netns_path)),
        mtu=uplink_mtu(netns_path),
    )


def addressed_devices(netns_path: Path | None = None) -> list[tuple[str, int]]:
    """Ethernet devices with an address: not ours, and none that only serves a bridge or bond."""
    with netns.open_rtnl(netns_path) as rtnl:
        entries = (parse_address(body) for body in rtnl.dump(*list_addresses()))
        found = {entry.ifindex for entry in entries if entry}
        links = filter(None, (_link(rtnl, ifindex) for ifindex in found))
        return sorted(
            (link.name, link.ifindex)
            for link in links
            if link.hardware == ETHERNET and not link.name.startswith(LINK_PREFIX)
        )


def _link(rtnl: Rtnl, ifindex: int) -> LinkEntry | None:
    """None: it went away meanwhile."""
    try:
        return parse_link(rtnl.get(*get_link(ifindex)))
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
        return None


def learnt_by_ra(netns_path: Path | None = None) -> list[str]:
    """Devices whose default route a router told: forwarding would end that (accept_ra=2)."""
    with netns.open_rtnl(netns_path) as rtnl:
        told = _routes(rtnl, BY_RA)
        devices = {e.ifindex for e in told if e.dst.prefixlen == 0 and e.ifindex}
        return sorted(filter(None, (rtnl.ifname(ifindex) for ifindex in devices)))


def _defaults(rtnl: Rtnl) -> Iterator[RouteEntry]:
    return (e for e in _routes(rtnl) if e.dst.prefixlen == 0 and e.type == UNICAST)


def _routes(rtnl: Rtnl, protocol: int = 0) -> Iterator[RouteEntry]:
    """0: of every protocol."""
    for af in _FAMILIES:
        for body in rtnl.dump(*list_routes(af, protocol)):
            entry = parse_route(body)
            if entry:
                yield entry
