"""IP addresses, prefixes, MACs as types of the model: parsed at the edge, no strings inside."""

from __future__ import annotations

import re
from abc import ABC
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import TYPE_CHECKING, Final

from seaway.errors import Invalid

if TYPE_CHECKING:
    Address = IPv4Address | IPv6Address
    Interface = IPv4Interface | IPv6Interface  # an address with the length of its prefix
    Prefix = IPv4Network | IPv6Network
else:
    # msgspec decodes no union of two foreign types, but an abstract class that both belong to.
    # `model/codec.py` parses them.

    class Address(ABC):
        """Of either family."""

    class Interface(ABC):
        """An address of either family with the length of its prefix."""

    class Prefix(ABC):
        """A subnet of either family."""

    for kind in (IPv4Address, IPv6Address):
        Address.register(kind)
    for kind in (IPv4Interface, IPv6Interface):
        Interface.register(kind)
    for kind in (IPv4Network, IPv6Network):
        Prefix.register(kind)

# Every address of the host, where a port is published.
UNSPECIFIED: Final[dict[int, Address]] = {4: IPv4Address(0), 6: IPv6Address(0)}
EVERYWHERE: Final = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}  # a default route
_PLACE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::([0-9]{1,5}))?", re.ASCII)
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


@dataclass(frozen=True, slots=True)
class ForeignPrefix:
    """What this host reaches without us."""

    prefix: Prefix
    what: str = "a route of this host"
    yields: bool = True  # where more specific ones of ours are put beside it

    def __str__(self) -> str:
        return f"{self.prefix}, {self.what}"


def parse_address(text: str) -> Address:
    try:
        return ip_address(text)
    except ValueError:
        raise Invalid(f"'{text}' is no IP address", "expected e.g. 10.208.0.7 or fd00::7") from None


def parse_interface(text: str) -> Interface:
    try:
        return ip_interface(text)
    except ValueError:
        raise Invalid(
            f"'{text}' is no IP address with prefix", "expected e.g. 10.208.0.7/24"
        ) from None


def parse_prefix(text: str) -> Prefix:
    try:
        return ip_network(text)
    except ValueError as error:
        raise Invalid(f"'{text}' is no subnet: {error}", "expected e.g. 10.208.0.0/16") from None


def parse_mac(text: str) -> str:
    """A unicast MAC in lower case with colons."""
    mac = text.strip().lower().replace("-", ":")
    if not _MAC.fullmatch(mac):
        raise Invalid(f"'{text}' is no MAC address", "expected e.g. 02:00:00:00:00:07")
    if int(mac[:2], 16) & 1 or mac == "00:00:00:00:00:00":
        raise Invalid(f"MAC {mac} is a multicast or the zero address", "use a unicast one")
    return mac


def parse_place(text: str, port: int) -> tuple[str, int]:
    """Address or name, and port (that one where none is said): HOST, HOST:PORT, [IPv6]:PORT."""
    found = _PLACE.fullmatch(text)
    if not found:
        with suppress(ValueError):
            return str(IPv6Address(text)), port
        raise Invalid(f"'{text}' is no host", "expected ADDRESS, NAME, or either with :PORT")
    bracketed, name, given = found.groups()
    if bracketed is not None:
        parse_address(bracketed)
    number = int(given) if given else port
    if not 0 < number < 1 << 16:
        raise Invalid(f"'{text}' has no port that there is", "expected 1 to 65535")
    return bracketed or name, number


def mapped(address: Address) -> bytes:
    """The 16 bytes of BPF maps: IPv4 as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2)."""
    if isinstance(address, IPv4Address):
        return b"\0" * 10 + b"\xff\xff" + address.packed
    return address.packed


def unmapped(octets: bytes) -> Address:
    address = IPv6Address(octets)
    return address.ipv4_mapped or address


def host_prefix(address: Address) -> Prefix:
    """The /32 or /128 of one address."""
    return ip_network(address)


def own_prefix(interface: Interface) -> Prefix:
    """The same of an interface's address: where that is its network, which holds it anyway, it is
    not made once more. There are many, and each is half a kilobyte.
    """
    return interface.network if _is_single(interface) else host_prefix(interface.ip)


def address_of(interface: Interface) -> Address:
    """Likewise without a prefix."""
    return interface.network.network_address if _is_single(interface) else interface.ip


def _is_single(interface: Interface) -> bool:
    return interface.network.prefixlen == interface.network.max_prefixlen
