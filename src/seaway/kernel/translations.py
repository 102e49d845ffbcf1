"""Ports of the host that others lead elsewhere, by DNAT or REDIRECT in their own rules. Only read.

Docker without its proxy, the CNI plugin portmap and kube-proxy publish ports without a socket that
anybody could see. Rules of iptables are told by its own programs, in both flavours, those of
nftables by nft; what they match in another way than by a port, or by a set, is not seen.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path
from typing import Any, Final

import structlog

from seaway.kernel import iptables, netns, nft
from seaway.kernel.rules import Generation
from seaway.model.addresses import Address
from seaway.model.node_ports import HostPort
from seaway.model.publications import PROTOCOLS, HeldPort
from seaway.names import NFT_TABLE

log = structlog.get_logger(__name__)

_TARGETS: Final = ("DNAT", "REDIRECT")
_EVERY: Final[dict[int, Address]] = {4: IPv4Address(0), 6: IPv6Address(0)}
_FAMILIES: Final = {"ip": (4,), "ip6": (6,), "inet": (4, 6)}
_TABLES: Final = {("ip", "nat"): "iptables-nft", ("ip6", "nat"): "ip6tables-nft"}


@dataclass(frozen=True, slots=True)
class Match:
    """What a packet is by the rules that it met so far."""

    address: Address
    protocol: str = ""
    ports: tuple[tuple[int, int], ...] = ()  # from, to; none: nobody asked
    words: str = ""  # of those rules: portmap's say for which container they are


@dataclass(frozen=True, slots=True)
class Rule:
    narrowed: Callable[[Match], Match]
    target: str  # a chain, or a verdict


@dataclass(frozen=True, slots=True)
class Translation:
    match: Match
    owner: str


Chains = Mapping[str, Collection[Rule]]


class Translations:
    """Looked at again only where nftables counts a change; the legacy tables each time."""

    def __init__(self, netns_path: Path | None = None) -> None:
        self._netns = netns_path
        self._generation = Generation(netns_path)
        self._seen = -1
        self._counted: list[Translation] = []
        self._lock = threading.Lock()

    def close(self) -> None:
        self._generation.close()

    def held(self, ports: Collection[HostPort], container: str = "") -> list[HeldPort]:
        """Of these protocols and ports, those that rules lead elsewhere, but not to the container.

        May be slow.
        """
        return [
            HeldPort(found.match.protocol, found.match.address, port, found.owner)
            for found in self._look()
            if not (container and container in found.match.words)
            for protocol, port in ports
            if protocol == found.match.protocol
            and any(first <= port <= last for first, last in found.match.ports)
        ]

    def _look(self) -> list[Translation]:
        with self._lock:
            generation = self._generation.read()
            if generation != self._seen:
                self._counted = netns.visit_path(self._netns, _of_nft)
                self._seen = generation
            return self._counted + netns.visit_path(self._netns, _of_legacy)


def _of_nft() -> list[Translation]:
    return [*_of_iptables(iptables.NFT), *_of_tables()]


def _of_legacy() -> list[Translation]:
    return list(_of_iptables(p for p in iptables.LEGACY if iptables.loaded(p, "nat")))


def _of_iptables(programs: Collection[str] | Iterator[str]) -> Iterator[Translation]:
    for program in filter(iptables.installed, programs):
        try:
            listed = iptables.read(program, "nat").rules
        except OSError as error:  # a table that iptables cannot tell in its words
            log.warning("cannot look at published ports", program=program, error=str(error))
            continue
        chains = {name: [_rule(words) for words in rules] for name, rules in listed.items()}
        start = Match(_EVERY[6 if program.startswith("ip6") else 4])
        yield from walk(chains, "PREROUTING", start, program)


def walk(
    chains: Chains, name: str, match: Match, owner: str, seen: frozenset[str] = frozenset()
) -> Iterator[Translation]:
    """Every way from this chain to where ports are led elsewhere."""
    for rule in chains.get(name, ()):
        now = rule.narrowed(match)
        if rule.target in _TARGETS:
            if now.protocol in PROTOCOLS and now.ports:
                yield Translation(now, f"a rule of chain {name} ({owner})")
        elif rule.target in chains and rule.target not in seen:
            yield from walk(chains, rule.target, now, owner, seen | {name})


def _rule(words: tuple[str, ...]) -> Rule:
    """Of iptables-save."""
    found, negated = {}, False
    for option, value in zip(words, (*words[1:], ""), strict=True):
        if option.startswith("-") and not negated:
            found[option] = value
        negated = option == "!"
    ports = found.get("--dport") or found.get("--dports") or ""
    text = " ".join(words)

    def narrowed(match: Match) -> Match:
        return replace(
            match,
            address=_single(found.get("-d", ""), match.address),
            protocol=found.get("-p", match.protocol),
            ports=tuple(map(_span, ports.split(","))) if ports else match.ports,
            words=f"{match.words} {text}",
        )

    return Rule(narrowed, found.get("-j") or found.get("-g") or "")


def _span(text: str) -> tuple[int, int]:
    first, _, last = text.partition(":")
    return int(first), int(last or first)


def _single(text: str, otherwise: Address) -> Address:
    """The address that is matched; of a larger prefix as whatever was matched before."""
    if not text:
        return otherwise
    prefix = ip_network(text, strict=False)
    return prefix.network_address if prefix.prefixlen == prefix.max_prefixlen else otherwise


def _of_tables() -> Iterator[Translation]:
    """Of nftables' own rules."""
    listed = [item["chain"] for item in nft.listed_json("chains") if "chain" in item]
    for base in listed:
        table = base["family"], base["table"]
        hooked = base.get("type") == "nat" and base.get("hook") == "prerouting"
        by_iptables = table in _TABLES and iptables.installed(_TABLES[table])
        if not hooked or by_iptables or table[0] not in _FAMILIES or table[1] == NFT_TABLE:
            continue
        rules = [r["rule"] for r in nft.listed_json(f"table {table[0]} {table[1]}") if "rule" in r]
        chains: dict[str, list[Rule]] = {
            c["name"]: [] for c in listed if (c["family"], c["table"]) == table
        }
        for rule in rules:
            chains.setdefault(rule["chain"], []).append(_nft_rule(rule["expr"]))
        for family in _FAMILIES[table[0]]:
            yield from walk(chains, base["name"], Match(_EVERY[family]), f"nft {' '.join(table)}")


def _nft_rule(expressions: list[dict[str, Any]]) -> Rule:
    protocol, address, target = "", "", ""
    ports: tuple[tuple[int, int], ...] = ()
    for expression in expressions:
        target = _nft_target(expression) or target
        match = expression.get("match", {})
        field = match["left"].get("payload", {}) if match.get("op") == "==" else {}
        if field.get("field") == "dport":
            protocol, ports = field["protocol"], tuple(_nft_spans(match["right"]))
        elif field.get("field") == "daddr" and isinstance(match["right"], str):
            address = match["right"]

    def narrowed(match: Match) -> Match:
        return replace(
            match,
            address=_nft_address(address, match.address),
            protocol=protocol or match.protocol,
            ports=ports or match.ports,
        )

    return Rule(narrowed, target)


def _nft_target(expression: dict[str, Any]) -> str:
    for verdict in ("jump", "goto"):
        if verdict in expression:
            return str(expression[verdict]["target"])
    return next((name for name in _TARGETS if name.lower() in expression), "")


def _nft_spans(right: Any) -> Iterator[tuple[int, int]]:
    """A port, a range, or several of these; nothing of a named set."""
    if isinstance(right, int):
        yield right, right
    elif isinstance(right, dict) and "range" in right:
        first, last = right["range"]
        yield int(first), int(last)
    elif isinstance(right, dict) and "set" in right:
        for one in right["set"]:
            yield from _nft_spans(one)


def _nft_address(text: str, otherwise: Address) -> Address:
    return otherwise if not text or text.startswith("@") else _single(text, otherwise)
