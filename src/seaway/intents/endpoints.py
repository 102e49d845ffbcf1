"""Endpoints: attached, looked at, checked, detached."""

from __future__ import annotations

import errno
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import structlog
from msgspec.structs import replace

from seaway import admission
from seaway.desired.network.endpoints import inside_of, narrowed
from seaway.desired.network.host import IDENTITY_FIRST
from seaway.desired.network.networks import TABLE
from seaway.desired.transport.bandwidth import bandwidth_of
from seaway.desired.transport.limits import client_number
from seaway.desired.transport.naming import told_keys
from seaway.errors import Conflict, ContainerGone, Invalid, SeawayError, SystemFailed
from seaway.facts import View
from seaway.intents.checks import CheckIntents
from seaway.intents.loans import LoanNeeded
from seaway.intents.publications import PublicationIntents
from seaway.intents.taking import TakingIntents
from seaway.model.addresses import Address, Interface, parse_mac
from seaway.model.facts import Attached, Endpoint, Namespace, Network, endpoint_id
from seaway.model.publications import HeldPort
from seaway.model.reports import Drops, EndpointReport
from seaway.model.requests import Listed, NewEndpoint
from seaway.names import link_name, short_name

T = TypeVar("T")
_LOANS = 4  # asked for at most: one for each family, should others have been faster twice
log = structlog.get_logger(__name__)


class EndpointIntents(PublicationIntents, TakingIntents, CheckIntents):
    def endpoints(self, network: str | None = None) -> list[EndpointReport]:
        if network is not None:
            admission.network(self.facts, network)
            found = self.facts.where(Endpoint, "network", network)
        else:
            found = self.facts.all(Endpoint)
        counted = self.surroundings.drops()
        return [self._report(e, counted) for e in sorted(found, key=lambda e: (e.network, e.name))]

    def endpoint(self, ref: str) -> EndpointReport:
        found = admission.find_endpoint(self.facts, ref)
        return self._report(found, self.surroundings.drops())

    def attached(self, exactly: str) -> Endpoint | None:
        """By its id alone: no name that somebody chose is taken for it."""
        return self.facts.get(Endpoint, exactly)

    def _report(self, endpoint: Endpoint, counted: dict[tuple[int, str], int]) -> EndpointReport:
        attached = self.facts.get(Attached, endpoint.id)
        ifindex = attached.ifindex if attached else 0
        into, out = bandwidth_of(endpoint, View(self.facts))
        return EndpointReport(
            endpoint=endpoint,
            link=link_name(endpoint.id),
            ifindex=ifindex,
            drops=tuple(
                Drops(reason=reason, packets=n)
                for (device, reason), n in sorted(counted.items())
                if device == ifindex
            ),
            use=self.surroundings.use(client_number(endpoint.netns_cookie)),
            ingress=into,
            egress=out,
        )

    def named(self, network: str, name: str) -> bool:
        """Whether an endpoint of the network has this name."""
        return any(e.network == network for e in self.facts.where(Endpoint, "name", name))

    async def attach(self, request: NewEndpoint) -> Endpoint:
        admission.endpoint_form(request)
        request = replace(request, ports=admission.publications_form(request.ports))
        netns, here = self._container_at(request.netns)
        container = request.container or _unnamed(here)
        link = link_name(endpoint_id(container, request.interface))
        await self.convergence.settle([("links", link)])  # of the last endpoint of this id
        held = await self._held(request.ports, request.container)
        endpoint, network = await self._with_loans(
            lambda: self._record(request, (netns, here), held)
        )
        await self.convergence.settle(self.keys_of(endpoint) + told_keys(endpoint))
        if failure := self._failure(endpoint) or self._exposed(network):
            await self._take_back(endpoint, failure)
            if failure.errno == errno.EADDRINUSE and endpoint.default_route:
                # Somebody else's interface leads to everywhere: ours to its own network.
                return await self.attach(replace(request, default_route=False))
            raise _told(failure, endpoint)
        await self.surroundings.at_work(link)
        return endpoint

    async def _with_loans(self, record: Callable[[], Awaitable[T]]) -> T:
        """Another host is asked for an address while nothing is decided here: it may ask us."""
        borrowed: list[Address] = []
        try:
            for _ in range(_LOANS):
                try:
                    return await self.decide(record)
                except LoanNeeded as needed:
                    borrowed.append(await self.borrow(needed))
            return await self.decide(record)
        finally:
            for address in borrowed:
                self.allocator.revoke(address)
                self.stirred.set()

    async def _record(
        self, request: NewEndpoint, netns: tuple[str, Namespace], held: Iterable[HeldPort]
    ) -> tuple[Endpoint, Network]:
        self._refuse_draining()
        network = admission.network(self.facts, request.network)
        if network.leaving:
            raise Conflict(f"network '{network.name}' is being removed", "use another one")
        with self.taken(network, request) as (addresses, blocks):
            endpoint = self._endpoint(request, network, addresses, netns)
            admission.endpoint_name(self.facts, endpoint)
            admission.publications(self.facts, endpoint, request.ports, held)
            await self.records.commit([endpoint, *blocks, *self.unasked(endpoint)])
        return endpoint, network

    def _refuse_draining(self) -> None:
        if self.here.draining:
            raise Conflict(
                f"host '{self.host.name}' drains: it takes no new endpoint",
                f"start the container elsewhere; or: seaway host drain {self.host.name} --undo",
            )

    async def _take_back(self, endpoint: Endpoint, failure: OSError) -> None:
        """What could not be attached. That it cannot be detached either, is told by status."""
        try:
            await self.forget_endpoint(endpoint)
        except SystemFailed as error:
            raise _told(failure, endpoint) from error

    def container_netns(self, given: str) -> str:
        """The path of a namespace that may be a container's.

        In the host's own, the default route of an endpoint would take the place of the host's.
        """
        path = self.surroundings.netns_path(given)
        inode = self.surroundings.netns_inode(path)
        if inode is None:
            raise _no_netns(path)
        if inode == self.surroundings.host_netns():
            raise Invalid(
                f"{path} is the host's own network namespace", "expected that of a container"
            )
        return path

    def _container_at(self, given: str) -> tuple[str, Namespace]:
        path = self.container_netns(given)
        here = self.surroundings.namespace(path)
        if here is None:
            raise _no_netns(path)
        return path, here

    def _endpoint(
        self,
        request: NewEndpoint,
        network: Network,
        addresses: tuple[Interface, ...],
        netns: tuple[str, Namespace],
    ) -> Endpoint:
        path, here = netns
        container = request.container or _unnamed(here)
        mtu = request.mtu or network.mtu
        admission.mtu(mtu, {a.version for a in addresses})
        admission.flow_control(request, mtu)
        return Endpoint(
            id=endpoint_id(container, request.interface),
            name=request.name or short_name(container),
            container=container,
            interface=request.interface,
            host=self.host.name,
            network=network.name,
            netns=path,
            netns_inode=here.inode,
            netns_cookie=here.cookie,
            boot=here.boot,
            addresses=addresses,
            mac=parse_mac(request.mac) if request.mac else _mac_of(addresses[0].ip),
            mtu=mtu,
            routes=request.routes,
            default_route=request.default_route and not self._has_default_route(here),
            labels=request.labels,
            aliases=request.aliases,
            ports=request.ports,
            port_names=request.port_names,
            weight=request.weight,
            limit_connections=request.limit_connections,
            limit_rate=request.limit_rate,
            ingress_rate=request.ingress_rate,
            ingress_burst=request.ingress_burst,
            egress_rate=request.egress_rate,
            egress_burst=request.egress_burst,
            door=request.door,
            door_network=request.door_network,
            identity=IDENTITY_FIRST,
            created=time.time(),
        )

    def _exposed(self, network: Network) -> OSError | None:
        """Why the world might reach a network that masquerades: our table could not be written."""
        return self.convergence.failure(*TABLE) if network.masquerade else None

    def _has_default_route(self, here: Namespace) -> bool:
        """A container's first interface has it; the others route their own network."""
        others = self.facts.where(Endpoint, "netns", here.inode)
        return any(other.default_route and here.is_(other.namespace) for other in others)

    async def detach(self, ref: str) -> None:
        for endpoint in self.lingering_links:
            if endpoint.id == ref:
                raise SystemFailed(
                    f"the kernel does not let go of endpoint '{endpoint.name}' yet", "try again"
                )
        await self.forget_endpoint(admission.find_endpoint(self.facts, ref))

    def _is_there(self, endpoint: Endpoint) -> bool:
        return endpoint.namespace.is_(self.surroundings.namespace(endpoint.netns))

    async def vanished(self, link: str, *, there: bool = False) -> None:
        """The veth of an endpoint is gone (unless it is `there` and only went down).

        With its namespace: release it; else it is drift. OSError: nobody knows of the namespace,
        and the endpoint stays.
        """
        for endpoint in self.facts.where(Endpoint, "link", link):
            if not there:
                self.facts.change(Attached, endpoint.id, None)
            if not self._is_there(endpoint):
                log.info("container is gone", endpoint=endpoint.id, name=endpoint.name)
                await self.forget_endpoint(endpoint)
            elif not there:
                self.convergence.audit("links")

    def repair_inside(self, endpoint_id: str, *, drift: bool = True) -> None:
        """Put back what is missing inside a container; it is drift if somebody took it away."""
        endpoint = self.facts.get(Endpoint, endpoint_id)
        if endpoint is None or self.facts.get(Attached, endpoint_id) is None:
            return
        network = self.facts.get(Network, endpoint.network)
        if network is None:
            return
        inside = inside_of(endpoint, network)
        try:
            problems = self.surroundings.check_inside(inside)
            if problems:
                self.surroundings.repair_inside(inside)
        except OSError as error:  # its namespace is going away
            log.debug("cannot look inside", endpoint=endpoint_id, error=str(error))
            return
        if problems and not drift:
            log.info("mended inside", endpoint=endpoint_id, problems=problems)
        for problem in problems if drift else ():
            self.convergence.report("inside", endpoint.name, problem, "as attached")

    async def check_endpoint(self, ref: str, listed: Listed | None = None) -> list[str]:
        """What is not as it should be, inside the container and on the host.

        `listed`: of the inside, only this.
        """
        endpoint = admission.find_endpoint(self.facts, ref)
        problems = []
        if not self.facts.get(Attached, endpoint.id):
            problems.append(f"interface {link_name(endpoint.id)} of the host is missing")
        if failure := self._failure(endpoint):
            problems.append(str(failure))
        network = self.facts.get(Network, endpoint.network)
        if network is None:  # a restored store has lost it
            return [*problems, f"network '{endpoint.network}' is not there"]
        inside = inside_of(endpoint, network)
        if listed:
            inside = narrowed(inside, listed)
            unpublished = listed.ports - self.published(endpoint.container)
            problems += [f"port {p} is not published" for p in unpublished]
        problems += await self._differing(endpoint)
        return problems + self.surroundings.check_inside(inside)


def _no_netns(path: str) -> ContainerGone:
    return ContainerGone(
        f"there is no network namespace at {path}",
        "expected a path, a name under /run/netns, or the id of a running process",
    )


def _unnamed(here: Namespace) -> str:
    """The name of a container that nobody gave one."""
    return f"netns-{here.cookie or here.inode}"


def _mac_of(address: Address) -> str:
    """Locally administered, the same for the same address: no neighbour keeps a wrong one."""
    tail = address.packed[-4:]
    return ":".join(f"{b:02x}" for b in (0x02, 0x53, *tail))


def _told(failure: OSError, endpoint: Endpoint) -> SeawayError:
    """The kernel's refusal in our words. The endpoint was taken back."""
    if failure.errno == errno.EEXIST:
        return Conflict(
            f"interface '{endpoint.interface}' exists already in {endpoint.netns}",
            "choose another name, or remove it",
        )
    if failure.errno == errno.EADDRINUSE:
        return Conflict(str(failure.strerror), "remove that route, or attach to another network")
    if failure.errno in (errno.ENOENT, errno.ESTALE):
        return ContainerGone(
            f"the network namespace {endpoint.netns} went away while it was attached", "try again"
        )
    return SystemFailed(
        f"the kernel refused endpoint '{endpoint.name}': {failure}", "see: seaway doctor"
    )
