"""Names in two networks, for tests of what is answered: facts in, a resolver in memory out."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import dnslib

from seaway.desired.catalogue import DERIVATIONS
from seaway.desired.indexes import INDEXES
from seaway.dns.resolver import Foreign, Most, Resolver
from seaway.facts import Facts
from seaway.model.facts import Cluster, Endpoint, Host, HostAddresses, Path, Value
from seaway.model.naming import Holder, Named
from seaway.model.services import Distant
from seaway.records import fact_key

CLUSTER = Cluster(
    id="c",
    pools=(ip_network("10.208.0.0/12"), ip_network("fd00:5ea::/48")),
    service_subnets=(ip_network("10.223.0.0/16"),),
    host_subnets=(ip_network("10.222.0.0/16"), ip_network("fd00:5ea::fffe:0/112")),
)
HOST = "10.222.0.1"


class FakeNames:
    """What the resolver knows, in memory."""

    def __init__(self) -> None:
        self.names: dict[str, dict[str, Named]] = defaultdict(dict)
        self.holders: dict[str, Holder] = {}
        self.asked = 0

    def named(self, name: str) -> Mapping[str, Named]:
        self.asked += 1
        return dict(self.names.get(name, {}))

    def holder(self, address: str) -> Holder | None:
        return self.holders.get(address)


def endpoint(name: str, number: int, network: str = "front", **other: Any) -> Endpoint:
    third = {"front": 1, "back": 2}[network]
    usual: dict[str, Any] = {
        "id": f"{third}{number:015x}",
        "container": name,
        "interface": "eth0",
        "host": "h",
        "netns": f"/run/netns/{name}",
        "netns_inode": number,
        "addresses": (
            ip_interface(f"10.208.{third}.{number}/32"),
            ip_interface(f"fd00:5ea:{third}::{number}/128"),
        ),
        "mac": "02:00:00:00:00:01",
        "mtu": 1500,
    }
    return Endpoint(name=name, network=network, **(usual | other))


def distant(name: str, number: int, network: str = "front", **other: Any) -> Distant:
    like = endpoint(name, number, network)
    addresses = tuple(i.ip for i in like.addresses)
    usual: dict[str, Any] = {"id": like.id, "host": "elsewhere", "addresses": addresses}
    return Distant(name=name, network=network, **(usual | other))


class Zone:
    """The names that follow from facts, and answers as dnslib reads them."""

    def __init__(self, *facts: Value, most: Most | None = None) -> None:
        self.facts = Facts(DERIVATIONS, INDEXES)
        self.told = FakeNames()
        draw = random.Random(1)
        shuffled = lambda found: draw.sample(found, len(found))  # noqa: E731
        self.resolver = Resolver(self.told, shuffled, most or Most())
        self.facts.change(Cluster, "cluster", CLUSTER)
        here = HostAddresses(addresses=frozenset({ip_address(HOST)}))
        self.facts.change(HostAddresses, "host", here)
        self.facts.change(Host, "h", Host(name="h", addresses=()))
        self.reach("elsewhere")
        self.learn(*facts)

    def reach(self, host: str, *, there: bool = True) -> None:
        """Whether a path leads to it."""
        self.facts.change(Path, host, Path(host=host, via=host) if there else None)
        self.write()

    def learn(self, *facts: Value) -> None:
        for fact in facts:
            self.facts.change(type(fact), fact_key(fact), fact)
        self.write()

    def forget(self, fact: Value) -> None:
        self.facts.change(type(fact), fact_key(fact), None)
        self.write()

    def write(self) -> None:
        derived = self.facts.derive()
        for (network, name), named in derived.get("names", {}).items():
            if named is None:
                self.told.names[name].pop(network, None)
            else:
                self.told.names[name][network] = named
        for address, holder in derived.get("holders", {}).items():
            self.told.holders |= {str(address): holder} if holder else {}
            if holder is None:
                self.told.holders.pop(str(address), None)
        self.resolver.forget()

    def ask(self, name: str, kind: str = "A", by: str = HOST) -> dnslib.DNSRecord | Foreign:
        due = self.send(bytes(dnslib.DNSRecord.question(name, kind).pack()), by)
        return due if isinstance(due, Foreign) else dnslib.DNSRecord.parse(due)

    def send(self, data: bytes, by: str = HOST, most: int = 0) -> bytes | Foreign:
        due = self.resolver.answer(data, by, most)
        assert due is not None
        return due

    def found(self, name: str, kind: str = "A", by: str = HOST) -> list[str]:
        """What is told of it, in order; refuses what is not answered by us, and well."""
        answer = self.ask(name, kind, by)
        assert isinstance(answer, dnslib.DNSRecord)
        assert 0 == answer.header.rcode
        return sorted(str(record.rdata).rstrip(".") for record in answer.rr)

    def code(self, name: str, kind: str = "A", by: str = HOST) -> str:
        """NOERROR, NXDOMAIN, …, or FOREIGN."""
        answer = self.ask(name, kind, by)
        return "FOREIGN" if isinstance(answer, Foreign) else dnslib.RCODE[answer.header.rcode]
