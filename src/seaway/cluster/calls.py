"""Calls the agents of other hosts over TLS, and waits for the answer.

An error of theirs comes back as the class that they raised, as over the socket (`client.py`).
What TLS refused is told in words: by whose certificate, and why.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp

from seaway import names
from seaway.errors import Forbidden, SeawayError, Unavailable
from seaway.model import codec
from seaway.model.addresses import parse_place
from seaway.model.facts import Host
from seaway.model.wire import ErrorReport
from seaway.trust.keeper import Keeper

T = TypeVar("T")
_CONNECT, _ANSWER = 5.0, 30.0  # seconds
_INSIDE = 2.0  # to connect to an address inside the cluster: of who is off at that, too
_EXPIRED = 10  # X509_V_ERR_CERT_HAS_EXPIRED
_NOT_YET = 9
_NUMBERS = re.compile(r"\[Errno ([0-9]+)\]")


class Unreached(Unavailable):
    """Nobody answered. What an agent answers may be `Unavailable` too, but no more than that."""


@dataclass(frozen=True)
class AgentAddress:
    """Where an agent answers. `host` is its name; empty: any host of the cluster will do."""

    address: str  # an address or a name, perhaps with a port
    host: str = ""
    port: int = names.HOSTS_PORT  # where the address says none
    within: float = _CONNECT  # seconds to connect

    @property
    def url(self) -> str:
        address, port = parse_place(self.address, self.port)
        return f"https://[{address}]:{port}" if ":" in address else f"https://{address}:{port}"

    def __str__(self) -> str:
        return f"host '{self.host}' at {self.address}" if self.host else self.address


class Calls:
    """Over one context, which says what is shown and who is believed."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session:
            await self._session.close()
            self._session = None

    async def call(
        self,
        to: AgentAddress,
        method: str,
        path: str,
        body: object = None,
        answers: type[T] | Any = bytes,
    ) -> T | Any:
        """What it answers, decoded; `bytes` leaves it as it came."""
        if self._session is None:
            self._session = aiohttp.ClientSession()
        data = None if body is None else codec.encode(body)
        headers = {"Content-Type": "application/json"}
        try:
            async with self._session.request(
                method,
                to.url + path,
                data=data,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=_ANSWER, connect=to.within),
                ssl=self._context,
                server_hostname=to.host or None,
                allow_redirects=False,
            ) as response:
                status, kind = response.status, response.content_type
                answer = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unreachable(to, error) from error
        if status >= 400:
            raise _told(to, status, kind, answer)
        return answer if answers is bytes else codec.decode(answer, answers)


class Others:
    """The agents of the other hosts of this one's cluster."""

    def __init__(self, keeper: Keeper, port: int = names.HOSTS_PORT) -> None:
        self.keeper = keeper
        self._port = port
        self._calls: Calls | None = None
        self._unknown: Calls | None = None

    async def ask(
        self, host: Host, method: str, path: str, body: object = None, answers: Any = bytes
    ) -> Any:
        """At each of its addresses, until it answers or refuses: where it is reached directly, and
        else at those inside the cluster, to which other hosts pass packets on.
        """
        self.keeper.must_hold()
        unreached: list[str] = []
        calls = self._known()
        within = [*((a, _CONNECT) for a in host.underlay), *((a, _INSIDE) for a in host.addresses)]
        for address, seconds in within:
            try:
                place = AgentAddress(str(address), host.name, self._port, seconds)
                return await calls.call(place, method, path, body, answers)
            except Unreached as error:
                unreached.append(error.message)
        told = "; ".join(unreached) or f"host '{host.name}' has no address to be asked at"
        raise Unreached(told, "see: seaway host ls")

    async def ask_at(
        self, at: str, method: str, path: str, body: object = None, answers: Any = bytes
    ) -> Any:
        """Whichever host of the cluster has this address."""
        self.keeper.must_hold()
        if self._unknown is None:
            self._unknown = Calls(self.keeper.contexts.asking_any)
        place = AgentAddress(at, port=self._port)
        return await self._unknown.call(place, method, path, body, answers)

    def _known(self) -> Calls:
        if self._calls is None:
            self._calls = Calls(self.keeper.contexts.asking)
        return self._calls

    async def close(self) -> None:
        for calls in (self._calls, self._unknown):
            if calls:
                await calls.close()


def _told(to: AgentAddress, status: int, kind: str, answer: bytes) -> SeawayError:
    if kind == "application/json":
        return codec.decode(answer, ErrorReport).error.error()
    return SeawayError(f"the agent of {to} met a defect (HTTP {status})", "its log has more")


def _unreachable(to: AgentAddress, error: BaseException) -> SeawayError:
    cause: BaseException = error
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
    elif isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
    elif isinstance(error, aiohttp.ClientOSError) and error.__cause__:
        cause = error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return Forbidden(*_not_believed(to, cause))
    if isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or ""):
        return Forbidden(*_not_accepted(to, cause))
    if isinstance(cause, aiohttp.ServerDisconnectedError):
        return Unreached(f"{to} hung up", "does it refuse this host? see its: seaway status")
    if isinstance(cause, TimeoutError):
        return Unreached(f"{to} does not answer", "is it up, and TCP port 8480 open to us?")
    if isinstance(cause, socket.gaierror):
        name = parse_place(to.address, to.port)[0]
        return Unreached(
            f"there is no address of '{name}': {cause.strerror}", "is the name right? or give one"
        )
    told = f"{to} cannot be asked: {_in_words(cause)}"
    return Unreached(told, "is its agent running, and has it a cluster?")


def _in_words(cause: BaseException) -> str:
    """What the system says, without what Python adds to it: which call, and the address again."""
    if isinstance(cause, ssl.SSLError):
        return f"no TLS as ours is spoken there ({cause.reason})"
    if isinstance(cause, OSError) and cause.errno:
        return os.strerror(cause.errno)
    several = dict.fromkeys(_NUMBERS.findall(str(cause)))  # of a name that has several addresses
    return " and ".join(os.strerror(int(number)) for number in several) or str(cause)


def _not_believed(to: AgentAddress, cause: ssl.SSLCertVerificationError) -> tuple[str, str]:
    if cause.verify_code == _EXPIRED:
        return (
            f"the certificate of {to} has expired",
            "is its agent running, are both clocks right?",
        )
    if cause.verify_code == _NOT_YET:
        return f"the certificate of {to} is not valid yet", "are both clocks right?"
    if "match" in cause.verify_message:
        return f"who answers for {to} has another name", "is the address still its own?"
    return f"who answers for {to} is not of our cluster", "is the address still its own?"


def _not_accepted(to: AgentAddress, cause: ssl.SSLError) -> tuple[str, str]:
    why = {
        "SSLV3_ALERT_CERTIFICATE_EXPIRED": "has expired",
        "TLSV1_ALERT_UNKNOWN_CA": "is of another CA",
        "TLSV13_ALERT_CERTIFICATE_REQUIRED": "is missing",
    }.get(cause.reason or "", f"is not right ({cause.reason})")
    return f"for {to}, the certificate of this host {why}", "join again: seaway join TOKEN HOST"
