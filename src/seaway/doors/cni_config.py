"""The network configuration on standard input, as values. No I/O.

Whatever takes an attachment down (DEL, GC) reads only what it needs: a field that an ADD was
refused for must not keep a runtime from cleaning up. Everything else is read strictly: an
unknown key is an error with its name and value, for a mistyped `network` would silently attach
a container to the wrong one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from itertools import chain
from typing import Any

import msgspec

from seaway.doors.cni_bandwidth import Bandwidth
from seaway.doors.cni_env import Arguments, Attachment, parse_addresses
from seaway.doors.cni_ports import PortMapping, publications_of
from seaway.doors.cni_ranges import WireRange, ranges_of
from seaway.doors.cni_result import (
    NEWEST,
    SUPPORTED,
    Dns,
    Result,
    at_least,
    parse_dns,
    parse_result,
)
from seaway.doors.cni_words import in_words_of_cni
from seaway.errors import IncompatibleVersion, Invalid, Undecodable, Unsupported
from seaway.model import codec
from seaway.model.addresses import Address, parse_mac
from seaway.model.facts import Publication, Value
from seaway.model.forms import check_aliases, check_labels, is_name
from seaway.model.requests import IpRange

OURS = ("network", "mtu", "dns", "ipMasq", "ipam", "bandwidth")
_OF_RUNTIMES = {
    "cniVersion", "cniVersions", "name", "type", "capabilities", "args", "runtimeConfig",
    "prevResult", "disableCheck", "disableGC", "loadOnlyInlinedPlugins",
}  # fmt: skip
CAPABILITIES = (
    "ips", "mac", "ipRanges", "dns", "aliases", "portMappings", "bandwidth", "cgroupPath"
)  # fmt: skip
_FIRST_VERSION = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}
_VERSION = re.compile(r"[0-9.]{1,15}")
OWN_IPAM = ("", "seaway")


class Header(Value):
    """What every verb needs."""

    version: str
    name: str  # of the network configuration
    network: str  # of ours
    ipam: str  # type of a foreign IPAM plugin, or ""
    raw: dict[str, Any]


class Wishes(Value):
    """What an ADD asks for."""

    addresses: tuple[Address, ...] = ()
    ranges: tuple[tuple[IpRange, ...], ...] = ()  # an address of each, out of one of its ranges
    mac: str = ""
    mtu: int = 0
    masquerade: bool | None = None  # None: as the network is
    labels: dict[str, str] = {}
    name: str = ""  # of the container; empty: it has only its id
    aliases: tuple[str, ...] = ()
    ports: tuple[Publication, ...] = ()
    bandwidth: Bandwidth = Bandwidth()
    dns: Dns = Dns()
    previous: Result | None = None


def version_of(stdin: str) -> str:
    """For the answer to what cannot be read: the version that is asked for, if it can be told."""
    try:
        version = _decode(stdin).get("cniVersion")
    except Undecodable:
        return NEWEST
    return version if isinstance(version, str) and _VERSION.fullmatch(version) else NEWEST


def parse_header(verb: str, stdin: str) -> Header:
    raw = _decode(stdin)
    name = _typed(raw, "name", str, "")
    if not is_name(name):
        raise Invalid(
            f"the network configuration's name is '{name}'",
            "expected letters, digits, '_', '.', '-', beginning with a letter or digit",
        )
    version = _typed(raw, "cniVersion", str, "")
    if version not in SUPPORTED:
        raise IncompatibleVersion(
            f"CNI version '{version}' is not supported", f"supported: {', '.join(SUPPORTED)}"
        )
    first = _FIRST_VERSION.get(verb, version)
    if not at_least(version, first):
        raise IncompatibleVersion(
            f"CNI version {version} has no {verb}", f"it came with {first}: raise cniVersion"
        )
    network = _typed(raw, "network", str, "default")
    ipam = _foreign_ipam(raw)
    return Header(version=version, name=name, network=network, ipam=ipam, raw=raw)


def _decode(stdin: str) -> dict[str, Any]:
    try:
        return codec.decode(stdin, dict[str, Any])
    except RecursionError:
        raise Undecodable("the configuration is nested too deeply", "expected JSON") from None


def _typed(raw: Mapping[str, Any], key: str, kind: Any, default: Any) -> Any:
    """`null` is as good as nothing."""
    value = raw.get(key)
    if value is None:
        return default
    try:
        return codec.from_builtins(value, kind)
    except Undecodable as error:
        hint = error.hint or "expected the form that docs/cni.md shows"
        raise Undecodable(f"'{key}': {error.message}", hint) from None


def _foreign_ipam(raw: Mapping[str, Any]) -> str:
    kind: str = _typed(_typed(raw, "ipam", dict[str, Any], {}), "type", str, "")
    if kind in OWN_IPAM:
        return ""
    if not is_name(kind):
        raise Invalid(f"ipam.type is '{kind}'", "expected the file name of a plugin in CNI_PATH")
    return kind


def check_fields(raw: Mapping[str, Any]) -> None:
    """Nothing that we would not act on."""
    for key, value in raw.items():
        if key not in OURS and key not in _OF_RUNTIMES and not key.startswith("cni.dev/"):
            raise _unsupported(key, value, OURS)
    ipam = _typed(raw, "ipam", dict[str, Any], {})
    if ipam.get("type") in (None, *OWN_IPAM):
        for key in ipam.keys() - {"type"}:
            raise _unsupported(f"ipam.{key}", ipam[key], ("ipam.type of another plugin",))
    for key, value in _runtime(raw).items():
        if key not in CAPABILITIES and value:
            raise _unsupported(f"runtimeConfig.{key}", value, CAPABILITIES)


def _runtime(raw: Mapping[str, Any]) -> dict[str, Any]:
    return in_words_of_cni(_typed(raw, "runtimeConfig", dict[str, Any], {}))


def _unsupported(key: str, value: object, offered: tuple[str, ...]) -> Unsupported:
    told = msgspec.json.encode(value).decode()
    return Unsupported(
        f"the field '{key}' with the value {told} is not supported", f"known: {', '.join(offered)}"
    )


def parse_wishes(raw: Mapping[str, Any], arguments: Arguments) -> Wishes:
    """`runtimeConfig` wins over `args`, and `args` over CNI_ARGS."""
    check_fields(raw)
    runtime = _runtime(raw)
    args = _typed(_typed(raw, "args", dict[str, Any], {}), "cni", dict[str, Any], {})
    texts = _typed(runtime, "ips", tuple[str, ...], ()) or _typed(args, "ips", tuple[str, ...], ())
    mac = _typed(runtime, "mac", str, "") or _typed(args, "mac", str, "")
    addresses = _each_family(parse_addresses(texts), arguments.addresses)
    return Wishes(
        addresses=addresses,
        ranges=ranges_of(
            _typed(runtime, "ipRanges", tuple[tuple[WireRange, ...], ...], ()), addresses
        ),
        mac=parse_mac(mac) if mac else arguments.mac,
        mtu=_mtu(raw),
        masquerade=_typed(raw, "ipMasq", bool, None),
        labels=arguments.labels | _labels(args),
        name=arguments.name,
        aliases=_aliases(runtime),
        ports=parse_ports(raw),
        bandwidth=_bandwidth(raw, runtime),
        dns=_dns(raw, runtime),
        previous=parse_previous(raw),
    )


def _each_family(first: tuple[Address, ...], second: tuple[Address, ...]) -> tuple[Address, ...]:
    """nerdctl asks for an IPv4 address by the arguments, and for an IPv6 one by the capability."""
    asked = {address.version for address in first}
    return first + tuple(address for address in second if address.version not in asked)


def _mtu(raw: Mapping[str, Any]) -> int:
    mtu: int = _typed(raw, "mtu", int, 0)
    if mtu and not 576 <= mtu <= 65535:
        raise Invalid(f"mtu {mtu} is out of range", "expected 576 to 65535, or 0: the network's")
    return mtu


class _Label(msgspec.Struct, frozen=True):
    key: str
    value: str = ""


def _labels(args: Mapping[str, Any]) -> dict[str, str]:
    labels = {label.key: label.value for label in _typed(args, "labels", tuple[_Label, ...], ())}
    check_labels(labels)
    return labels


def _aliases(runtime: Mapping[str, Any]) -> tuple[str, ...]:
    """A list; in Podman's form, which is that of the plugin `dnsname`, one by network's name."""
    found: Any = _typed(runtime, "aliases", tuple[str, ...] | dict[str, tuple[str, ...]], ())
    aliases = tuple(chain(*found.values())) if isinstance(found, dict) else found
    check_aliases(aliases)
    return tuple(dict.fromkeys(aliases))


def parse_ports(raw: Mapping[str, Any]) -> tuple[Publication, ...]:
    return publications_of(_typed(_runtime(raw), "portMappings", tuple[PortMapping, ...], ()))


def _bandwidth(raw: Mapping[str, Any], runtime: Mapping[str, Any]) -> Bandwidth:
    """The runtime's word wins over the configuration's, as a whole."""
    own: Bandwidth = _typed(raw, "bandwidth", Bandwidth, Bandwidth())
    given: Bandwidth = _typed(runtime, "bandwidth", Bandwidth, own)
    return given.checked()


class _RuntimeDns(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    servers: tuple[str, ...] | None = None
    searches: tuple[str, ...] | None = None
    options: tuple[str, ...] | None = None


def _dns(raw: Mapping[str, Any], runtime: Mapping[str, Any]) -> Dns:
    """The runtime's lists win over the configuration's, each."""
    own = parse_dns(_typed(raw, "dns", dict[str, Any], {}))
    given: _RuntimeDns = _typed(runtime, "dns", _RuntimeDns, _RuntimeDns())
    dns = Dns(
        nameservers=given.servers or own.nameservers,
        domain=own.domain,
        search=given.searches or own.search,
        options=given.options or own.options,
    )
    for server in dns.nameservers:
        try:
            ip_address(server)
        except ValueError:
            raise Invalid(f"name server '{server}' is no IP address", "mend dns") from None
    return dns


def parse_previous(raw: Mapping[str, Any]) -> Result | None:
    """None where there is none, or an empty one."""
    previous = _typed(raw, "prevResult", dict[str, Any], {})
    return parse_result(previous) if previous else None


class _Valid(msgspec.Struct, frozen=True):
    container: str = msgspec.field(name="containerID")
    interface: str = msgspec.field(name="ifname")


def parse_valid(raw: Mapping[str, Any]) -> frozenset[Attachment]:
    """Of a GC. A list that is not there at all would free everything: an error."""
    keys = [k for k in ("cni.dev/valid-attachments", "cni.dev/attachments") if k in raw]
    if not keys:
        raise Invalid("'cni.dev/valid-attachments' is missing", "expected the list of attachments")
    found = _typed(raw, keys[0], tuple[_Valid, ...], ())
    return frozenset(Attachment(container=v.container, interface=v.interface) for v in found)
