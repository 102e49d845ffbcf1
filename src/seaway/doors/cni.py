"""CNI: what a container runtime asks through the front in cni/, and the answer as it reads it.

Spooled calls are done before any ADD. What an agent that is not ready cannot serve is
`Unavailable` and no answer of CNI's: the front waits with an ADD, keeps a DEL or GC for later,
and tells the runtime of all else.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from seaway import names
from seaway.doors.cni_config import parse_header, version_of
from seaway.doors.cni_env import parse_environment
from seaway.doors.cni_ipam import PATIENCE, Delegate, Refused
from seaway.doors.cni_result import render_error, render_versions
from seaway.doors.cni_verbs import Call, Intents, Verbs
from seaway.doors.spool import Spool, Spooled
from seaway.errors import InvalidEnvironment, SeawayError, SystemFailed, Unavailable
from seaway.model.wire import CniAnswer, CniCall

_NANO = 1e9
_BETWEEN_DRAINS = 8.0  # seconds

log = structlog.get_logger(__name__)


class CniDoor:
    def __init__(
        self,
        intents: Intents,
        spool: Path = names.SPOOL_FOLDER,
        *,
        ipam_patience: float = PATIENCE,
    ) -> None:
        self._intents = intents
        self._patience = ipam_patience
        self._spool = Spool(spool, self._replay)
        verbs = Verbs(intents)
        self._verbs = {
            "ADD": verbs.add,
            "DEL": verbs.delete,
            "CHECK": verbs.check,
            "GC": verbs.collect,
            "STATUS": verbs.status,
        }

    async def answer(self, call: CniCall) -> CniAnswer:
        heard: list[str] = []
        try:
            stdout, status = await self._serve(call, heard), 0
        except Unavailable as error:
            if call.env.get("CNI_COMMAND") != "STATUS":
                raise
            stdout, status = render_error(error, version_of(call.stdin)), 1
        except SeawayError as error:
            code = error.code if isinstance(error, Refused) else None
            stdout, status = render_error(error, version_of(call.stdin), code), 1
        except OSError as error:
            failed = SystemFailed(str(error), "see the agent's log, and: seaway doctor")
            stdout, status = render_error(failed, version_of(call.stdin)), 1
        return CniAnswer(stdout=stdout, exit=status, stderr="".join(heard))

    async def watch(self) -> None:
        """Do what the front kept while no agent answered, now and whenever there is more."""
        while True:
            await self.drain()
            await asyncio.sleep(_BETWEEN_DRAINS)

    async def drain(self) -> None:
        """What cannot be done now is told, and waits; an ADD that it concerns is refused."""
        try:
            self._intents.ready()
            await self._spool.drain()
        except (SeawayError, OSError) as error:
            log.warning("the spool of CNI calls cannot be drained", error=str(error))

    async def _serve(self, asked: CniCall, heard: list[str]) -> str:
        call = self._parse(asked, heard)
        if call is None:
            return render_versions(version_of(asked.stdin))
        if call.env.verb != "STATUS":  # which tells why not
            self._intents.ready()
        if call.env.verb == "ADD" and not await self._spool.drain_for(call.attachment):
            raise Unavailable("an earlier DEL of this attachment is not done yet", "try again")
        return await self._verbs[call.env.verb](call)

    async def _replay(self, spooled: Spooled) -> None:
        if spooled.env.get("CNI_COMMAND") not in ("DEL", "GC"):
            raise InvalidEnvironment("a spooled call is no DEL or GC", "look at it by hand")
        call = self._parse(spooled, [])
        assert call is not None
        await self._verbs[call.env.verb](call)

    def _parse(self, asked: CniCall | Spooled, heard: list[str]) -> Call | None:
        """None: VERSION, which needs no configuration."""
        env = parse_environment(asked.env)
        if env.verb == "VERSION":
            return None
        header = parse_header(env.verb, asked.stdin)
        delegate = None
        if header.ipam:
            words = asked.env, asked.stdin, self._patience, heard
            delegate = Delegate(header.ipam, env.path, *words)
        if isinstance(asked, Spooled):
            before, inode = asked.time / _NANO, asked.netns_inode
            return Call(env, header, delegate, before=before, netns_inode=inode)
        return Call(env, header, delegate, tried=asked.tried / _NANO)
