"""Serves the routes that are for other hosts, on TCP, by TLS with certificates of the cluster's CA.

Closed until this host has one. Handshakes are waited for one by one, beside each other, so that
each refusal is known, counted and told; who dawdles is cut off, and so are those who come while
many others do.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from seaway import names
from seaway.api.handling import BODY_WITHIN, application
from seaway.api.routes import ROUTES, Caller, Doors, Route
from seaway.errors import Forbidden, Invalid, SeawayError
from seaway.kernel.listening import listener

if TYPE_CHECKING:
    from seaway.trust.keeper import Keeper

log = structlog.get_logger(__name__)

_BACKLOG = 512
_HANDSHAKE = 5.0  # seconds
_MOST_HANDSHAKES = 128  # at once
_CLOSE_WAIT = 2.0  # seconds for requests under way when the agent stops
_RETRY = 5.0  # seconds, where the port is taken
_WHY = {  # X509_V_ERR_…
    9: "certificate not valid yet",
    10: "certificate expired",
    18: "certificate of another CA",
    19: "certificate of another CA",
    20: "certificate of another CA",
    21: "certificate of another CA",
}


@dataclass(frozen=True)
class Patience:
    """Seconds until who has shaken hands is cut off."""

    idle: float = 20.0  # who asks nothing; who follows the store asks more often
    body: float = BODY_WITHIN  # who does not say all that he began to say


class HostServer:
    """From when there is a certificate until the agent ends."""

    def __init__(
        self,
        doors: Doors,
        keeper: Keeper,
        address: str = "",
        port: int = names.HOSTS_PORT,
        patience: Patience = Patience(),
    ) -> None:
        """`address`: only on this one; empty: on every one of the host."""
        self._doors = doors
        self._keeper = keeper
        self._address = address
        self._port = port
        self._patience = patience
        self._shaking = 0

    async def serve(self) -> None:
        await self._keeper.begun.wait()
        routes = [route for route in ROUTES if route.hosts or route.anyone]
        runner = web.AppRunner(
            application(self._doors, routes, self._admit, self._patience.body),
            access_log=None,
            keepalive_timeout=self._patience.idle,
            lingering_time=self._patience.body,
            shutdown_timeout=_CLOSE_WAIT,
        )
        await runner.setup()
        try:
            sock = await self._listen()
            with sock:
                await self._accept(sock, runner)
        finally:
            self._doors.passing.close()
            await runner.cleanup()

    async def _listen(self) -> socket.socket:
        """Also where something else has the port for now: containers matter more than that."""
        troubles = self._doors.intents.troubles
        while True:
            try:
                sock = listener(self._address, self._port, _BACKLOG)
            except OSError as error:
                troubles["hosts"] = f"cannot listen on TCP port {self._port}: {error.strerror}"
                log.warning("cannot listen", port=self._port, error=str(error))
                await asyncio.sleep(_RETRY)
            else:
                troubles.pop("hosts", None)
                self._keeper.open.set()
                log.info("other hosts may ask", port=self._port)
                return sock

    async def _accept(self, sock: socket.socket, runner: web.AppRunner) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    connection, where = await loop.sock_accept(sock)
                except OSError as error:  # no descriptor is left, or who called hung up
                    log.warning("cannot accept", error=str(error))
                    await asyncio.sleep(_RETRY)
                    continue
                if self._shaking >= _MOST_HANDSHAKES:
                    connection.close()
                    self._refused("too many handshakes at once", str(where[0]))
                    continue
                self._shaking += 1
                group.create_task(self._shake_hands(connection, runner), name="handshake")

    async def _shake_hands(self, connection: socket.socket, runner: web.AppRunner) -> None:
        loop, server = asyncio.get_running_loop(), runner.server
        assert server, "it is set up"
        try:
            address = connection.getpeername()[0]
            await loop.connect_accepted_socket(
                server,
                connection,
                ssl=self._keeper.contexts.serving,
                ssl_handshake_timeout=_HANDSHAKE,
            )
        except ssl.SSLCertVerificationError as error:
            self._refused(_WHY.get(error.verify_code, "certificate not right"), address)
        except OSError:
            self._refused("no handshake", "somebody who hung up")
        finally:
            self._shaking -= 1

    def _refused(self, why: str, address: str) -> None:
        if self._keeper.refusals.count(why):
            self._log_refused(why, address)

    def _log_refused(self, why: str, address: str) -> None:
        log.warning("refused", why=why, address=address.removeprefix("::ffff:"))

    def _admit(self, request: web.Request, route: Route | None) -> Caller:
        transport = request.transport
        if transport is None:
            raise Invalid("the caller hung up before it was known who called")
        address = str(transport.get_extra_info("peername")[0]).removeprefix("::ffff:")
        shown = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        if shown is None:
            if route and route.anyone:
                return Caller(address=address)
            self._refused("no certificate", address)
            raise Forbidden("a certificate of this cluster is needed", "seaway join TOKEN HOST")
        try:
            return Caller(self._doors.intents.host_of(shown).name, address)
        except SeawayError:
            why, whom = "certificate not of a host's record", sha256(shown).hexdigest()
            if self._keeper.refusals.count_lasting(why, whom):
                self._log_refused(why, address)
            raise
