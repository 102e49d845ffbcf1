"""Services as rules of nftables and of iptables, laid out as kube-proxy's two modes do it.

Of Kubernetes 1.33: pkg/proxy/nftables and pkg/proxy/iptables, for TCP and IPv4, without node
ports, load balancers, affinity and policies: nothing is in these rules that slows them down and is
not needed. What is changed is written as those write a service that changed, and nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from base64 import b32encode
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Final

from seaway.bench.many_services import Backed, Place

PODS: Final = "10.218.0.0/16"  # who asks from elsewhere is masqueraded


class Ruleset(ABC):
    name: str
    load: tuple[str, ...]  # the command that reads rules
    reload: tuple[str, ...]  # the one that reads `nothing`
    nothing: str

    @abstractmethod
    def whole(self, services: Sequence[Backed]) -> str:
        """All rules, where there are none."""

    @abstractmethod
    def change(self, before: Backed, after: Backed) -> str:
        """One service that became another."""


def _digest(*words: str) -> str:
    return b32encode(sha256("".join(words).encode()).digest()).decode()


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"


_NFT_BASE: Final = """\
add table ip kube-proxy
add set ip kube-proxy cluster-ips { type ipv4_addr ; }
add map ip kube-proxy service-ips { type ipv4_addr . inet_proto . inet_service : verdict ; }
add map ip kube-proxy no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict ; }
add chain ip kube-proxy mark-for-masquerade
add rule ip kube-proxy mark-for-masquerade mark set mark or 0x4000
add chain ip kube-proxy masquerading
add rule ip kube-proxy masquerading mark and 0x4000 == 0 return
add rule ip kube-proxy masquerading mark set mark xor 0x4000
add rule ip kube-proxy masquerading masquerade fully-random
add chain ip kube-proxy cluster-ips-check
add rule ip kube-proxy cluster-ips-check ip daddr @cluster-ips reject
add chain ip kube-proxy service-endpoints-check
add rule ip kube-proxy service-endpoints-check ip daddr . meta l4proto . th dport vmap @no-endpoint-services
add chain ip kube-proxy services
add rule ip kube-proxy services ip daddr . meta l4proto . th dport vmap @service-ips
add chain ip kube-proxy filter-input { type filter hook input priority -110 ; }
add rule ip kube-proxy filter-input ct state new jump service-endpoints-check
add chain ip kube-proxy filter-forward { type filter hook forward priority -110 ; }
add rule ip kube-proxy filter-forward ct state new jump service-endpoints-check
add rule ip kube-proxy filter-forward ct state new jump cluster-ips-check
add chain ip kube-proxy filter-output { type filter hook output priority -110 ; }
add rule ip kube-proxy filter-output ct state new jump service-endpoints-check
add chain ip kube-proxy nat-prerouting { type nat hook prerouting priority -100 ; }
add rule ip kube-proxy nat-prerouting jump services
add chain ip kube-proxy nat-output { type nat hook output priority -100 ; }
add rule ip kube-proxy nat-output jump services
add chain ip kube-proxy nat-postrouting { type nat hook postrouting priority 100 ; }
add rule ip kube-proxy nat-postrouting jump masquerading
"""  # noqa: E501, as nft reads it


class Nftables(Ruleset):
    """A map from the service's place to its chain, and in that one from a number to a backend's."""

    name = "nftables"
    load = reload = ("nft", "-f", "-")
    nothing = "add table ip kube-proxy\ndelete table ip kube-proxy\n"

    def whole(self, services: Sequence[Backed]) -> str:
        return _NFT_BASE + _lines(line for service in services for line in self._new(service))

    def _new(self, service: Backed) -> Iterator[str]:
        vip, chain = service.vip, self._chain(service)
        yield f"add element ip kube-proxy cluster-ips {{ {vip.address} }}"
        yield from self._chains(service)
        place = f"{vip.address} . tcp . {vip.port}"
        yield f"add element ip kube-proxy service-ips {{ {place} : goto {chain} }}"

    def _chains(self, service: Backed) -> Iterator[str]:
        """Written anew, whether they are there or not."""
        vip, chain = service.vip, self._chain(service)
        ends = [self._end(service, backend) for backend in service.backends]
        for end, (address, port) in zip(ends, service.backends, strict=True):
            yield f"add chain ip kube-proxy {end}"
            yield f"flush chain ip kube-proxy {end}"
            yield f"add rule ip kube-proxy {end} ip saddr {address} jump mark-for-masquerade"
            yield f"add rule ip kube-proxy {end} meta l4proto tcp dnat to {address}:{port}"
        yield f"add chain ip kube-proxy {chain}"
        yield f"flush chain ip kube-proxy {chain}"
        asked = f"ip daddr {vip.address} tcp dport {vip.port}"
        outside = f"{asked} ip saddr != {PODS} jump mark-for-masquerade"
        yield f"add rule ip kube-proxy {chain} {outside}"
        drawn = " , ".join(f"{number} : goto {end}" for number, end in enumerate(ends))
        yield f"add rule ip kube-proxy {chain} numgen random mod {len(ends)} vmap {{ {drawn} }}"

    def change(self, before: Backed, after: Backed) -> str:
        gone = [self._end(before, b) for b in before.backends if b not in after.backends]
        deleted = [f"delete chain ip kube-proxy {end}" for end in gone]
        return _lines((*self._chains(after), *deleted))

    def _chain(self, service: Backed) -> str:
        return f"service-{_digest(service.name)[:8]}-default/{service.name}/tcp/"

    def _end(self, service: Backed, backend: Place) -> str:
        place = f"{backend.address}/{backend.port}"
        digest = _digest(service.name, place)[:8]
        return f"endpoint-{digest}-default/{service.name}/tcp/__{place}"


_IPTABLES_BASE: Final = """\
*filter
:KUBE-FORWARD - [0:0]
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
*nat
:KUBE-SERVICES - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
"""  # noqa: E501, as iptables-restore reads it
_NO_RULES: Final = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
COMMIT
"""


class Iptables(Ruleset):
    """One rule after another: a service's leads to its chain, where each backend has one. By the
    tables that iptables had before nftables: those of nftables take the square of their number.
    """

    name = "iptables"
    load = ("iptables-legacy-restore", "--noflush")
    reload = ("iptables-legacy-restore",)
    nothing = _NO_RULES

    def whole(self, services: Sequence[Backed]) -> str:
        chains = (f":{chain} - [0:0]" for s in services for chain in self._names(s))
        asked = (self._asked(service) for service in services)
        rules = (rule for service in services for rule in self._rules(service))
        return _IPTABLES_BASE + _lines((*chains, *asked, *rules, "COMMIT"))

    def change(self, before: Backed, after: Backed) -> str:
        """A chain that is named is empty then."""
        gone = [self._end(before, b) for b in before.backends if b not in after.backends]
        chains = [f":{chain} - [0:0]" for chain in (*self._names(after), *gone)]
        deleted = [f"-X {chain}" for chain in gone]
        return _lines(("*nat", *chains, *self._rules(after), *deleted, "COMMIT"))

    def _names(self, service: Backed) -> list[str]:
        return [self._chain(service), *(self._end(service, b) for b in service.backends)]

    def _asked(self, service: Backed) -> str:
        told = f'-m comment --comment "default/{service.name} cluster IP"'
        return f"-A KUBE-SERVICES {told} {_at(service.vip)} -j {self._chain(service)}"

    def _rules(self, service: Backed) -> Iterator[str]:
        chain, left = self._chain(service), len(service.backends)
        told = f'-m comment --comment "default/{service.name} cluster IP"'
        yield f"-A {chain} {told} {_at(service.vip)} ! -s {PODS} -j KUBE-MARK-MASQ"
        for backend in service.backends:
            drawn = f" -m statistic --mode random --probability {1 / left:.10f}" * (left > 1)
            to = f"{backend.address}:{backend.port}"
            told = f'-m comment --comment "default/{service.name} -> {to}"'
            yield f"-A {chain} {told}{drawn} -j {self._end(service, backend)}"
            left -= 1
        for backend in service.backends:
            end, to = self._end(service, backend), f"{backend.address}:{backend.port}"
            told = f'-m comment --comment "default/{service.name}"'
            yield f"-A {end} {told} -s {backend.address} -j KUBE-MARK-MASQ"
            yield f"-A {end} {told} -m tcp -p tcp -j DNAT --to-destination {to}"

    def _chain(self, service: Backed) -> str:
        return f"KUBE-SVC-{_digest(service.name, 'tcp')[:16]}"

    def _end(self, service: Backed, backend: Place) -> str:
        place = f"{backend.address}:{backend.port}"
        return f"KUBE-SEP-{_digest(service.name, 'tcp', place)[:16]}"


def _at(vip: Place) -> str:
    return f"-m tcp -p tcp -d {vip.address} --dport {vip.port}"


RULESETS: Final[dict[str, Ruleset]] = {
    ruleset.name: ruleset for ruleset in (Nftables(), Iptables())
}
