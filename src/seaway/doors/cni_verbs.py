"""What each CNI verb does, by the agent's intents and, where another IPAM is asked for, by it.

The calls of one attachment are served one after another, and so are the ADDs of one container:
its networks may be asked for at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Protocol

import structlog
from msgspec.structs import replace

from seaway.desired.network.blocks import room
from seaway.doors.cni_attachment import (
    DOOR,
    answer_of,
    dns_of,
    id_of,
    listed_of,
    name_of,
    requests_of,
    result_of,
)
from seaway.doors.cni_config import (
    Header,
    Wishes,
    parse_ports,
    parse_previous,
    parse_valid,
    parse_wishes,
)
from seaway.doors.cni_env import Attachment, Environment
from seaway.doors.cni_ipam import Delegate
from seaway.doors.cni_result import render_result
from seaway.doors.turns import Turns
from seaway.errors import (
    Conflict,
    Drifted,
    Exhausted,
    Invalid,
    InvalidEnvironment,
    NotFound,
    NotReady,
    SeawayError,
    SystemFailed,
)
from seaway.model.addresses import Address
from seaway.model.facts import Endpoint, Network, Publication
from seaway.model.reports import EndpointReport, NetworkReport
from seaway.model.requests import Listed, NewEndpoint

_CHECKS = 5  # a CHECK may come while the kernel still converges
_BETWEEN_CHECKS = 0.2  # seconds

log = structlog.get_logger(__name__)


class Intents(Protocol):
    def ready(self) -> None: ...
    def healthy(self) -> None: ...
    def network(self, name: str) -> NetworkReport: ...
    def known_network(self, name: str) -> Network: ...
    def resolvers(self) -> tuple[Address, ...]: ...
    def container_netns(self, given: str) -> str: ...
    def attached(self, exactly: str) -> Endpoint | None: ...
    def endpoints(self, network: str | None = None) -> list[EndpointReport]: ...
    def named(self, network: str, name: str) -> bool: ...
    def published(self, container: str) -> frozenset[Publication]: ...
    async def attach(self, request: NewEndpoint) -> Endpoint: ...
    async def detach(self, ref: str) -> None: ...
    async def check_endpoint(self, ref: str, listed: Listed | None = None) -> list[str]: ...


@dataclass(frozen=True)
class Call:
    env: Environment
    header: Header
    delegate: Delegate | None  # another IPAM
    before: float | None = None  # spooled: touches nothing that was made after this
    netns_inode: int = 0
    tried: float = 0.0  # when an earlier try of this ADD was sent, which nobody answered

    @property
    def attachment(self) -> Attachment:
        return self.env.attachment


class Verbs:
    def __init__(self, intents: Intents) -> None:
        self._intents = intents
        self._turns = Turns()

    async def add(self, call: Call) -> str:
        wishes = parse_wishes(call.header.raw, call.env.arguments)
        turn, container = self._turns.of(call.attachment), self._turns.of(call.attachment.container)
        async with turn, container, AsyncExitStack() as undo:
            if call.tried:
                await self._take_back(call)
            network = self._admit(call, wishes)
            wishes = self._to_be_had(call, wishes)
            foreign = None
            if call.delegate:
                undo.push_async_callback(call.delegate.undo)
                foreign = await call.delegate.add()
            requests = requests_of(call.env, call.header, wishes, foreign)
            endpoint = await self._attach(list(requests))
            undo.pop_all()
        own = result_of(endpoint, call.env, network.subnets, foreign)
        resolver = dns_of(endpoint, self._intents.resolvers())
        return render_result(answer_of(own, wishes, resolver), call.header.version)

    def _to_be_had(self, call: Call, wishes: Wishes) -> Wishes:
        """Without a name that another container goes by here, and without ports that this one
        has by another interface: runtimes ask each of a container's networks for all of them.
        """
        ports = self._intents.published(call.attachment.container)
        name = wishes.name
        if name and self._intents.named(call.header.network, name_of(call.attachment, name)):
            name = ""
        return replace(wishes, name=name, ports=tuple(p for p in wishes.ports if p not in ports))

    async def _take_back(self, call: Call) -> None:
        """What an earlier try of this ADD left, whose agent died before it answered.

        The runtime knows of none of it. An attachment that is older than that try is another
        ADD's, and stays.
        """
        found = self._find(call.attachment)
        if found and found.created < call.tried:
            return
        if found:
            log.info("taken back, to be attached anew", endpoint=found.id)
            await self._detach(call.attachment)
        if call.delegate:
            await call.delegate.undo()

    async def _attach(self, requests: list[NewEndpoint]) -> Endpoint:
        """The first that finds an address."""
        for request in requests[:-1]:
            with contextlib.suppress(Exhausted):
                return await self._intents.attach(request)
        return await self._intents.attach(requests[-1])

    def _admit(self, call: Call, wishes: Wishes) -> Network:
        """What can be refused is refused before another IPAM is asked for an address.

        Its DEL after a failed ADD would free what an earlier ADD of the same attachment holds.
        """
        self._check_netns(call.env.netns)
        network = self._masquerading(call.header.network, wishes)
        chained = wishes.previous.links if wishes.previous else ()
        there = {link.name for link in chained if link.sandbox}
        interface = call.attachment.interface
        if interface in there or (call.delegate and self._find(call.attachment)):
            raise Conflict(
                f"interface '{interface}' of container '{call.attachment.container}' is there "
                "already",
                "DEL it first, or use another CNI_IFNAME",
            )
        return network

    def _check_netns(self, path: str) -> None:
        try:
            self._intents.container_netns(path)
        except Invalid as error:
            raise InvalidEnvironment(f"CNI_NETNS {error.message}", error.hint) from None

    def _masquerading(self, name: str, wishes: Wishes) -> Network:
        network = self._intents.known_network(name)
        masquerade = network.masquerade
        if wishes.masquerade is not None and wishes.masquerade != masquerade:
            raise Invalid(
                f"ipMasq is {wishes.masquerade}, but network '{name}' has masquerade {masquerade}",
                "leave ipMasq out, or change the network: seaway network update",
            )
        return network

    def _find(self, attachment: Attachment) -> Endpoint | None:
        return self._intents.attached(id_of(attachment))

    async def delete(self, call: Call) -> str:
        async with self._turns.of(call.attachment):
            if call.before is not None:
                found = self._find(call.attachment)
                if found and _is_newer(found, call):
                    log.info("spooled DEL is older than its endpoint", endpoint=found.id)
                    return ""
            await self._detach(call.attachment)
            if call.delegate:
                await call.delegate.forward()
        return ""

    async def _detach(self, attachment: Attachment) -> None:
        if self._find(attachment) is None:
            return  # repeated, or vanished with its container
        with contextlib.suppress(NotFound):
            await self._intents.detach(id_of(attachment))

    async def check(self, call: Call) -> str:
        previous, ports = parse_previous(call.header.raw), parse_ports(call.header.raw)
        listed = listed_of(previous, call.attachment.interface, ports)
        problems = await self._problems(call.attachment, listed)
        if problems:
            raise Drifted(
                f"interface '{call.attachment.interface}' of container "
                f"'{call.attachment.container}': {'; '.join(problems)}",
                "the agent mends what it can; see: seaway status",
            )
        if call.delegate:
            await call.delegate.forward()
        return ""

    async def _problems(self, attachment: Attachment, listed: Listed) -> list[str]:
        problems: list[str] = []
        for attempt in range(_CHECKS):
            if attempt:
                await asyncio.sleep(_BETWEEN_CHECKS)
            async with self._turns.of(attachment):
                if self._find(attachment) is None:
                    raise NotFound(
                        f"interface '{attachment.interface}' of container "
                        f"'{attachment.container}' is not attached",
                        "see: seaway endpoint ls",
                    )
                problems = await self._intents.check_endpoint(id_of(attachment), listed)
            if not problems:
                break
        return problems

    async def collect(self, call: Call) -> str:
        """Goes on behind what fails, and tells of it at the end."""
        valid = parse_valid(call.header.raw)
        failures: list[SeawayError | OSError] = []
        for endpoint in self._attached_by(call.header.name):
            attachment = Attachment(container=endpoint.container, interface=endpoint.interface)
            if attachment in valid or _is_newer(endpoint, call):
                continue
            async with self._turns.of(attachment):
                try:
                    await self._detach(attachment)
                except (SeawayError, OSError) as error:
                    failures.append(error)
        if call.delegate:
            try:
                await call.delegate.forward()
            except (SeawayError, OSError) as error:
                failures.append(error)
        if failures:
            told = "; ".join(str(f) for f in failures)
            raise SystemFailed(f"{len(failures)} parts of GC failed: {told}", "seaway ipam check")
        return ""

    def _attached_by(self, name: str) -> list[Endpoint]:
        found = (report.endpoint for report in self._intents.endpoints())
        return [e for e in found if e.door == DOOR and e.door_network == name]

    async def status(self, call: Call) -> str:
        wishes = parse_wishes(call.header.raw, call.env.arguments)
        self._intents.healthy()
        self._intents.ready()
        try:
            self._masquerading(call.header.network, wishes)
        except NotFound as error:
            raise NotReady(error.message, error.hint) from None
        _check_room(self._intents.network(call.header.network))
        if call.delegate:
            await call.delegate.forward()
        return ""


def _is_newer(endpoint: Endpoint, call: Call) -> bool:
    """Made after a spooled call, for another network namespace than that call was for.

    Of that the front told the inode, which a later namespace may have again; but no ADD is served
    before the calls that were kept are done. The inode tells a clock that was set back.
    """
    return (
        call.before is not None
        and endpoint.created > call.before
        and endpoint.netns_inode != call.netns_inode
    )


def _check_room(report: NetworkReport) -> None:
    """A network whose every address is taken can serve no ADD."""
    rooms: Counter[int] = Counter()
    for subnet in report.network.subnets:
        rooms[subnet.version] += room(subnet)
    for version, most in rooms.items():
        if report.endpoints >= most:
            raise NotReady(
                f"network '{report.network.name}' has no free address of IPv{version}",
                "detach endpoints, or make a larger network",
            )
