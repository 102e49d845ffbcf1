"""What the kernel and the devices do for many packets at once, or for the CPU: which of it is on
for the devices by which packets come from other hosts. Only read; Seaway turns none on or off.

As linux/ethtool.h has it: `struct ethtool_gfeatures` and the names of its bits.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final, Literal

from seaway.kernel import ethtool, netns, outside
from seaway.kernel.messages.link import parse_link
from seaway.model.reports import Finding
from seaway.names import OVERLAY_DEVICE

State = Literal["on", "off", "not offered"]

# By the word for it: the feature's name in the command `ethtool -K`, and in the kernel, of which
# one that is on is enough.
OFFLOADS: Final[Mapping[str, tuple[str, frozenset[str]]]] = {
    "GRO": ("gro", frozenset(("rx-gro",))),
    "GSO": ("gso", frozenset(("tx-generic-segmentation",))),
    "TSO": ("tso", frozenset(("tx-tcp-segmentation", "tx-tcp6-segmentation"))),
    "TX checksum": (
        "tx",
        frozenset(("tx-checksum-ip-generic", "tx-checksum-ipv4", "tx-checksum-ipv6")),
    ),
    "RX checksum": ("rx", frozenset(("rx-checksum",))),
    "UDP tunnel segmentation": ("tx-udp_tnl-segmentation", frozenset(("tx-udp_tnl-segmentation",))),
}
# By the kind of device. A veth pair hands over what was never cut, so the kernel makes it without;
# the overlay's device is the tunnel, and its uplink what cuts.
_NEEDLESS: Final = {"veth": ("GRO",), "vxlan": ("UDP tunnel segmentation",)}
_COUNT, _NAMES, _FEATURES = 0x37, 0x1B, 0x3A  # ETHTOOL_GSSET_INFO, _GSTRINGS, _GFEATURES
_SET_OF_FEATURES: Final = 4  # ETH_SS_FEATURES
_NAME: Final = 32  # bytes, ETH_GSTRING_LEN
_COUNTED: Final = struct.Struct("@IIQI")
_HEAD: Final = struct.Struct("@II")  # what is asked, and a size; _NAMES has one more word between
_BLOCK: Final = struct.Struct("@IIII")  # available, requested, active, never changed: 32 bits each


def findings(netns_path: Path | None = None) -> list[Finding]:
    """For `seaway doctor`: of each uplink, and of the overlay's device if it is there."""
    return [
        finding
        for device, kind in _devices(netns_path)
        if (states := _of(device, netns_path)) is not None
        for finding in told(device, kind, states)
    ]


def _devices(netns_path: Path | None) -> Iterator[tuple[str, str]]:
    """With their kinds."""
    uplinks = [name for name, _ in outside.addressed_devices(netns_path)]
    with netns.open_rtnl(netns_path) as rtnl:
        for name in (*uplinks, OVERLAY_DEVICE):
            ifindex = rtnl.ifindex(name)
            body = outside.link_if_there(rtnl, ifindex) if ifindex else None
            if body is not None:
                yield name, parse_link(body).kind


def told(device: str, kind: str, states: Mapping[str, State]) -> Iterator[Finding]:
    """Of one device: what it has, and a warning of each that it could have."""
    needed = {o: s for o, s in states.items() if s == "on" or o not in _NEEDLESS.get(kind, ())}
    is_on, off, lacks = (
        [offload for offload, found in needed.items() if found == state]
        for state in ("on", "off", "not offered")
    )
    found = f"{device}: on: {', '.join(is_on) or 'none'}"
    if lacks:
        found += f"; it has no {', '.join(lacks)}"
    yield Finding(check="offloads", level="ok", found=found, advice="")
    for offload in off:
        advice = f"faster: ethtool -K {device} {OFFLOADS[offload][0]} on; if its driver is sound"
        yield Finding(
            check="offloads", level="warning", found=f"{device}: {offload} is off", advice=advice
        )


def _of(device: str, netns_path: Path | None) -> dict[str, State] | None:
    """None: it went away, or tells nothing of itself."""
    try:
        return netns.visit_path(netns_path, partial(offloads, device))
    except OSError as error:
        if error.errno not in {errno.ENODEV, errno.EOPNOTSUPP}:
            raise
        return None


def offloads(device: str) -> dict[str, State]:
    """Of a device of this namespace. ENODEV, EOPNOTSUPP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        names = _names(asking, device)
        blocks = -(-len(names) // 32)
        answer = ethtool.ask(
            asking, device, _HEAD.pack(_FEATURES, blocks) + bytes(blocks * _BLOCK.size)
        )
    masks = list(_BLOCK.iter_unpack(answer[_HEAD.size :]))
    has = {name: [m >> i % 32 & 1 for m in masks[i // 32]] for i, name in enumerate(names)}
    return {offload: _state(has, wanted) for offload, (_, wanted) in OFFLOADS.items()}


def _state(has: Mapping[str, list[int]], wanted: frozenset[str]) -> State:
    found = [bits for name, bits in has.items() if name in wanted]
    if any(active for _, _, active, _ in found):
        return "on"
    return "off" if any(available for available, *_ in found) else "not offered"


def _names(asking: socket.socket, device: str) -> list[str]:
    """Of all features that this kernel knows, in the order of their bits."""
    asked = _COUNTED.pack(_COUNT, 0, 1 << _SET_OF_FEATURES, 0)
    *_, count = _COUNTED.unpack(ethtool.ask(asking, device, asked)[: _COUNTED.size])
    head = struct.pack("@III", _NAMES, _SET_OF_FEATURES, count)
    text = ethtool.ask(asking, device, head + bytes(count * _NAME))[len(head) :]
    starts = range(0, count * _NAME, _NAME)
    return [text[at : at + _NAME].split(b"\0")[0].decode() for at in starts]
