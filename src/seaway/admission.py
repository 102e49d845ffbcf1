"""What is wrong with a request, seen against the facts; nothing is changed here.

Everything is validated before anything is touched, so that bad input changes nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import NoReturn

from seaway.desired.network.blocks import (
    NETWORK_LENGTH,
    check_unicast,
    first_overlap,
    free_subnet,
    in_the_way,
)
from seaway.desired.network.underlays import as_foreign
from seaway.desired.transport.node_ports import claims
from seaway.desired.transport.publications import (
    Claim,
    host_addresses,
    overlap,
    publications_of,
)
from seaway.errors import Conflict, Exhausted, Invalid, NotFound
from seaway.facts import Facts
from seaway.model import forms, service_forms
from seaway.model.addresses import ForeignPrefix, Prefix
from seaway.model.bandwidth import check_ways
from seaway.model.facts import Cluster, Endpoint, Host, HostAddresses, Network, Peer, Publication
from seaway.model.limits import check_limits
from seaway.model.publications import HeldPort, checked, in_ranges
from seaway.model.requests import NewEndpoint, NewNetwork

_SHORTEST_PART, _HEXADECIMAL = 4, frozenset("0123456789abcdef")  # of an endpoint's id
MTU_LEAST = {4: 576, 6: 1280}  # RFC 791, RFC 8200 section 5
MTU_MOST = 65535
_MOST_PUBLICATIONS = 65536  # bpf/lib/publication.h
_TOLD = 8  # of a long list


def network(facts: Facts, name: str) -> Network:
    found = facts.get(Network, name)
    if found is None:
        known = ", ".join(sorted(n.name for n in facts.all(Network))) or "none"
        raise NotFound(f"there is no network '{name}'", f"known: {known}")
    return found


def mtu(value: int, families: Iterable[int]) -> None:
    least = max(MTU_LEAST[f] for f in families)
    if not least <= value <= MTU_MOST:
        raise Invalid(f"MTU {value} is out of range", f"expected {least} to {MTU_MOST}")


def subnets(
    facts: Facts, request: NewNetwork, foreign: Iterable[ForeignPrefix]
) -> tuple[Prefix, ...]:
    """Those asked for, or one of each family from the cluster's pools.

    `foreign` is what the host reaches without us.
    """
    cluster = facts.get(Cluster, "cluster")
    assert cluster is not None
    ours = [p for n in facts.all(Network) for p in n.subnets]
    ours += cluster.service_subnets + cluster.host_subnets
    foreign = [*foreign, *_reached(facts)]
    if request.subnets:
        for i, subnet in enumerate(request.subnets):
            check_unicast(subnet)
            _check_family(subnet, request.families)
            if other := first_overlap(subnet, [*ours, *request.subnets[:i]]):
                _refuse(subnet, f"{other}, a subnet of this cluster")
            if taken := in_the_way(subnet, foreign):
                _refuse(subnet, str(taken))
        return request.subnets
    families = request.families
    if not families or set(families) - {4, 6} or len(set(families)) != len(families):
        raise Invalid(
            "a network needs IPv4, IPv6 or both", "expected families of 4 and 6, each once"
        )
    used = ours + [f.prefix for f in foreign if any(in_the_way(p, [f]) for p in cluster.pools)]
    return tuple(_from_pools(cluster, family, used) for family in families)


def _reached(facts: Facts) -> Iterator[ForeignPrefix]:
    """Where hosts are; this one too, as it may have another address there than it knows."""
    for host in (*facts.all(Host), *facts.all(Peer)):
        yield from as_foreign(host.underlay, host.name)


def _check_family(subnet: Prefix, families: Sequence[int]) -> None:
    if subnet.version not in families:
        asked = " and ".join(f"IPv{family}" for family in families)
        raise Invalid(
            f"subnet {subnet} is of IPv{subnet.version}, but {asked} was asked for",
            "give a subnet of that family, or leave the family out",
        )


def _refuse(subnet: Prefix, other: str) -> NoReturn:
    raise Conflict(f"subnet {subnet} overlaps {other}", "choose another, or let Seaway choose")


def _from_pools(cluster: Cluster, family: int, taken: list[Prefix]) -> Prefix:
    for pool in cluster.pools:
        if pool.version != family:
            continue
        length = max(NETWORK_LENGTH[family], pool.prefixlen + 2)  # a small pool: four networks
        if found := free_subnet(pool, taken, length):
            return found
    raise Exhausted(
        f"the cluster's pools have no free IPv{family} subnet left",
        "remove a network, or give --subnet",
    )


def endpoint_form(request: NewEndpoint) -> None:
    """All that can be said of the request without looking at facts."""
    forms.check_interface(request.interface)
    if request.container:
        forms.check_container(request.container)
    if request.name:
        forms.check_endpoint(request.name)
    forms.check_aliases(request.aliases)
    forms.check_labels(request.labels)
    service_forms.check_port_names(request.port_names)
    service_forms.check_weight(request.weight)
    flow_control(request)


def flow_control(of: NewEndpoint | Endpoint, mtu: int = 0) -> None:
    """Limits of connections and of bandwidth. `mtu`: of the endpoint; 0: not known yet."""
    check_limits(of.limit_connections, of.limit_rate)
    check_ways(of, mtu)


def publications_form(ports: Iterable[Publication]) -> tuple[Publication, ...]:
    """All that can be said of them without looking at facts."""
    found = tuple(checked(port) for port in ports)
    if twice := [port for port, times in Counter(found).items() if times > 1]:
        raise Invalid(f"{twice[0]} is given twice", "give it once")
    return found


def publications(
    facts: Facts, endpoint: Endpoint, ports: Sequence[Publication], held: Iterable[HeldPort]
) -> None:
    """Whether these may be published for it beside those that it has. `held`: by processes."""
    if not ports:
        return
    families = {i.version for i in endpoint.addresses}
    room = _MOST_PUBLICATIONS - sum(len(publications_of(e)) for e in facts.all(Endpoint) if e.ports)
    taken: dict[tuple[str, int], list[Claim]] = defaultdict(list)
    for had in held:
        taken[had.protocol, had.port].append(Claim("", had.holder, (had.address,)))
    for port in ports:
        _check_host_ip(facts, port, endpoint)
        wanted = tuple(host_addresses(port, families))
        room -= len(wanted)
        place = port.protocol, port.host_port
        of_others = *facts.parts(Endpoint, "port", place), *claims(facts, place)
        for claim in (*of_others, *taken[place]):
            if any(overlap(one, other) for one in wanted for other in claim.addresses):
                _refuse_port(port, claim, endpoint)
        taken[place].append(Claim("", f"{port}, which is asked for too", wanted))
    if room < 0:
        raise Exhausted(
            f"there is no room for {len(ports)} more published ports: this host has "
            f"{_MOST_PUBLICATIONS}, and a port of both families takes two",
            "unpublish some, or publish on an address of one family, e.g. 0.0.0.0:8080:80",
        )


def _check_host_ip(facts: Facts, port: Publication, endpoint: Endpoint) -> None:
    ip = port.host_ip
    if ip is None:
        return
    if ip.is_link_local:  # one of each link: no route leads an answer back
        raise Invalid(
            f"a port is not published on the link-local address {ip}",
            "publish it on another address of this host, or leave the address out",
        )
    here = facts.get(HostAddresses, "host")
    known = {a for a in (here.addresses if here else ()) if not a.is_link_local}
    if not (ip in known or ip.is_loopback or ip.is_unspecified):
        has = ", ".join(sorted(str(a) for a in known if a.version == ip.version)[:_TOLD])
        raise Invalid(f"this host has no address {ip}", f"it has {has or 'none of that family'}")
    if all(i.version != ip.version for i in endpoint.addresses):
        raise Invalid(
            f"endpoint '{endpoint.name}' has no IPv{ip.version} address that {port} could lead to",
            "publish on an address of the other family",
        )


def _refuse_port(port: Publication, claim: Claim, endpoint: Endpoint) -> NoReturn:
    on = "" if port.host_ip is None else f" of {port.host_ip}"
    if claim.endpoint == endpoint.id:
        raise Conflict(
            f"port {port.host_port}/{port.protocol}{on} is published for this endpoint already",
            f"it has {_listed(endpoint)}",
        )
    raise Conflict(
        f"port {port.host_port}/{port.protocol}{on} is taken by {claim.owner}",
        "choose another port of the host, or free that one",
    )


def published(endpoint: Endpoint, ports: Iterable[Publication]) -> None:
    """Only what is published can be taken back."""
    has = set(endpoint.ports)
    for port in ports:
        if port not in has:
            raise NotFound(
                f"endpoint '{endpoint.name}' does not publish {port}", f"it has {_listed(endpoint)}"
            )


def _listed(endpoint: Endpoint) -> str:
    ranges = in_ranges(endpoint.ports)
    more = f" and {len(ranges) - _TOLD} more" if len(ranges) > _TOLD else ""
    return (", ".join(ranges[:_TOLD]) or "none") + more


def endpoint_name(facts: Facts, endpoint: Endpoint) -> None:
    """A name and an interface of a container are there once."""
    other = facts.get(Endpoint, endpoint.id)
    if other:
        raise Conflict(
            f"interface '{endpoint.interface}' of container '{endpoint.container}' is attached "
            f"already, as '{other.name}' of network '{other.network}'",
            "detach it first",
        )
    for other in facts.where(Endpoint, "name", endpoint.name):
        if other.network == endpoint.network:
            raise Conflict(
                f"the name '{endpoint.name}' is taken in network '{endpoint.network}' by "
                f"container '{other.container}'",
                "choose another with --name",
            )


def find_endpoint(facts: Facts, ref: str) -> Endpoint:
    """By id (or what begins only one), name, NETWORK/NAME, container or address.

    A whole id is never ambiguous, whatever names others have chosen.
    """
    if endpoint := facts.get(Endpoint, ref):
        return endpoint
    network_ref, _, name = ref.rpartition("/")
    answering = {e.id: e for e in _answering(facts, name)}.values()
    found = [e for e in answering if not network_ref or e.network == network_ref]
    exact = [e for e in found if name in (e.id, e.name)]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if found:
        several = ", ".join(f"{e.network}/{e.name} ({e.id})" for e in found[:5])
        raise Conflict(f"'{ref}' means several endpoints: {several}", "give NETWORK/NAME or the id")
    raise NotFound(f"there is no endpoint '{ref}'", "see: seaway endpoint ls")


def _answering(facts: Facts, name: str) -> Iterator[Endpoint]:
    """Those that a user may mean by this; some more than once."""
    yield from facts.where(Endpoint, "name", name)
    yield from facts.where(Endpoint, "container", name)
    with suppress(ValueError):
        yield from facts.where(Endpoint, "address", ip_address(name))
    if len(name) >= _SHORTEST_PART and set(name) <= _HEXADECIMAL:
        yield from (e for e in facts.all(Endpoint) if e.id.startswith(name))
