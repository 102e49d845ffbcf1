"""Network interfaces: RTM_NEWLINK and its like."""

from __future__ import annotations

import socket
import struct
from typing import Final, NamedTuple

from seaway.kernel.messages.fields import mac_bytes, mac_text, number, text, u32, unpack
from seaway.kernel.rtnl import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    Request,
    attribute,
    attributes,
    chosen,
    nested,
)

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
GROUP: Final = 1  # of notifications
UP: Final = 0x1
RUNNING: Final = 0x40  # up, and in operation
NOARP: Final = 0x80
DORMANT: Final = 5  # IF_OPER_DORMANT (RFC 2863): until the kernel takes notice of the carrier
ETHERNET, LOOPBACK = 1, 772  # kinds of hardware: ARPHRD_ETHER, ARPHRD_LOOPBACK

_HEAD = struct.Struct("=BxHiII")  # family, type, index, flags, which of the flags to change
_ADDRESS, _IFNAME, _MTU, _LINK, _MASTER, _OPERSTATE = 1, 3, 4, 5, 10, 16
_LINKINFO, _AF_SPEC, _GROUP = 18, 26, 27
_NET_NS_FD, _EXT_MASK, _NUM_TX_QUEUES, _NUM_RX_QUEUES = 28, 29, 31, 32
_INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 2, 1
_VXLAN_LEARNING, _VXLAN_PORT, _VXLAN_CHECKSUM, _VXLAN_EXTERNAL = 7, 15, 18, 25
_VXLAN_BARE6 = (19, 20)  # IFLA_VXLAN_UDP_ZERO_CSUM6_TX and _RX
_ADDR_GEN_MODE, _ADDR_GEN_NONE = 8, 1
_SKIP_STATS = 1 << 3
_STATS64 = 23
_COUNTS = struct.Struct("=16xQQ")  # struct rtnl_link_stats64, to the bytes received and sent
_ASKED = frozenset((_ADDRESS, _IFNAME, _MTU, _LINK, _LINKINFO))
_KIND = frozenset((_INFO_KIND,))
_MASTERS = frozenset((_MASTER,))
_STATS = frozenset((_STATS64,))


class LinkEntry(NamedTuple):
    """A network interface, as far as anybody here asks."""

    ifindex: int
    flags: int
    name: str
    mac: str
    mtu: int
    peer: int  # ifindex of the other end, 0 if there is none
    kind: str  # "veth", …, or empty
    hardware: int = 0  # of layer 2: ETHERNET, …


class VethEnd(NamedTuple):
    name: str
    mac: str
    mtu: int
    flags: int = 0
    state: int = 0  # of operation: DORMANT, or what the kernel makes of it


def new_veth(host: VethEnd, peer: VethEnd, peer_netns: int | None = None) -> Request:
    """Create a pair whose peer appears in the namespace of this descriptor, or beside it. EEXIST if
    one is.
    """
    there = b"" if peer_netns is None else u32(_NET_NS_FD, peer_netns)
    inside = attribute(_VETH_PEER, _veth_end(peer) + there)
    info = nested(_LINKINFO, attribute(_INFO_KIND, b"veth"), nested(_INFO_DATA, inside))
    return Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, _veth_end(host) + info)


def _veth_end(end: VethEnd) -> bytes:
    """One queue each way: one per CPU, the default, costs time at creation and gives nothing."""
    state = attribute(_OPERSTATE, bytes([end.state])) if end.state else b""
    return b"".join(
        (
            _HEAD.pack(0, 0, 0, end.flags, end.flags),
            attribute(_IFNAME, end.name.encode() + b"\0"),
            attribute(_ADDRESS, mac_bytes(end.mac)),
            u32(_MTU, end.mtu),
            u32(_NUM_TX_QUEUES, 1),
            u32(_NUM_RX_QUEUES, 1),
            state,
        )
    )


class VxlanEntry(NamedTuple):
    """What is peculiar to a VXLAN device."""

    port: int  # UDP
    external: bool  # what sends says to whom (collect_md)
    bare6: bool  # no checksum of UDP over IPv6, neither sent nor asked for


def new_vxlan(name: str, mac: str, mtu: int, port: int) -> Request:
    """External, learning nothing, and without link-local addresses. EEXIST if one is."""
    data = nested(
        _INFO_DATA,
        attribute(_VXLAN_PORT, struct.pack("!H", port)),
        *(attribute(kind, b"\1") for kind in (_VXLAN_EXTERNAL, *_VXLAN_BARE6)),
        *(attribute(kind, b"\0") for kind in (_VXLAN_LEARNING, _VXLAN_CHECKSUM)),
    )
    body = b"".join(
        (
            _HEAD.pack(0, 0, 0, NOARP, NOARP),
            attribute(_IFNAME, name.encode() + b"\0"),
            attribute(_ADDRESS, mac_bytes(mac)),
            u32(_MTU, mtu),
            u32(_NUM_TX_QUEUES, 1),
            u32(_NUM_RX_QUEUES, 1),
            nested(_LINKINFO, attribute(_INFO_KIND, b"vxlan"), data),
        )
    )
    return Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body)


def parse_vxlan(body: bytes) -> VxlanEntry:
    """Of a link whose kind is "vxlan"."""
    found = attributes(body, _HEAD.size)
    data = attributes(attributes(found.get(_LINKINFO, b"")).get(_INFO_DATA, b""))

    def is_set(kind: int) -> bool:
        return any(data.get(kind, b""))

    port = data.get(_VXLAN_PORT, b"")
    return VxlanEntry(
        port=int.from_bytes(port, "big"),
        external=is_set(_VXLAN_EXTERNAL),
        bare6=all(is_set(kind) for kind in _VXLAN_BARE6),
    )


def change_mac(ifindex: int, mac: str) -> Request:
    return Request(RTM_NEWLINK, 0, _head(ifindex) + attribute(_ADDRESS, mac_bytes(mac)))


def change_mtu(ifindex: int, mtu: int) -> Request:
    return Request(RTM_NEWLINK, 0, _head(ifindex) + u32(_MTU, mtu))


def set_flags(ifindex: int, flags: int) -> Request:
    """Set these; the others stay."""
    return Request(RTM_NEWLINK, 0, _HEAD.pack(0, 0, ifindex, flags, flags))


def no_link_local(ifindex: int) -> Request:
    """Let the kernel give the interface no IPv6 link-local address of its own."""
    mode = nested(socket.AF_INET6, attribute(_ADDR_GEN_MODE, bytes([_ADDR_GEN_NONE])))
    return Request(RTM_NEWLINK, 0, _head(ifindex) + nested(_AF_SPEC, mode))


def into_group(ifindex: int, group: int) -> Request:
    return Request(RTM_NEWLINK, 0, _head(ifindex) + u32(_GROUP, group))


def delete_link(ifindex: int) -> Request:
    return Request(RTM_DELLINK, 0, _head(ifindex))


def delete_group(group: int) -> Request:
    """All links of a group: the kernel waits for its readers once, not once per link."""
    return Request(RTM_DELLINK, 0, _head(0) + u32(_GROUP, group))


def get_link(ifindex: int) -> tuple[int, bytes]:
    """The arguments of `Rtnl.get`."""
    return RTM_GETLINK, _head(ifindex) + u32(_EXT_MASK, _SKIP_STATS)


def get_counts(ifindex: int) -> tuple[int, bytes]:
    """The same, with what it carried."""
    return RTM_GETLINK, _head(ifindex)


def list_links(kind: str = "", master: int = 0) -> tuple[int, bytes]:
    """The arguments of `Rtnl.dump`. Empty, 0: of every kind, of whatever master."""
    body = _head(0) + u32(_EXT_MASK, _SKIP_STATS)
    if master:
        body += u32(_MASTER, master)
    if kind:
        body += nested(_LINKINFO, attribute(_INFO_KIND, kind.encode()))
    return RTM_GETLINK, body


def _head(ifindex: int) -> bytes:
    return _HEAD.pack(0, 0, ifindex, 0, 0)


def parse_link(body: bytes) -> LinkEntry:
    _family, hardware, ifindex, flags, _change = unpack(_HEAD, body)
    found = chosen(body, _HEAD.size, _ASKED)
    info = chosen(found.get(_LINKINFO, b""), 0, _KIND)
    return LinkEntry(
        ifindex=ifindex,
        flags=flags,
        name=text(found.get(_IFNAME, b"")),
        mac=mac_text(found.get(_ADDRESS, b"")),
        mtu=number(found.get(_MTU)),
        peer=number(found.get(_LINK)),
        kind=text(info.get(_INFO_KIND, b"")),
        hardware=hardware,
    )


def parse_counts(body: bytes) -> tuple[int, int]:
    """Bytes that it received, and sent."""
    unpack(_HEAD, body)
    received, sent = unpack(_COUNTS, chosen(body, _HEAD.size, _STATS).get(_STATS64, b""))
    return received, sent


def parse_master(body: bytes) -> int:
    """The ifindex of the bridge, bond, … that it belongs to; 0: to none."""
    unpack(_HEAD, body)
    return number(chosen(body, _HEAD.size, _MASTERS).get(_MASTER))


def parse_name(body: bytes) -> str:
    """Only the name, and quickly: it is the first attribute that the kernel writes."""
    at = _HEAD.size
    if len(body) >= at + 4:
        size, kind = struct.unpack_from("=HH", body, at)
        if kind == _IFNAME and 4 < size <= len(body) - at:
            return text(body[at + 4 : at + size])
    return parse_link(body).name
