"""What `routed` tells this host's agent, as facts; and what the agent asks it.

What was told last stays true while `routed` is dead: packets go on as they went. So an agent that
begins anew starts with that, from a file, before it looks at what the kernel holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path as File
from typing import Final, TypeVar

import structlog

from seaway import names
from seaway.errors import SeawayError, Unavailable, Undecodable
from seaway.facts import Facts
from seaway.model import codec
from seaway.model.facts import LinkNumber, Path, Value, path_key
from seaway.model.routing import Numbers, Question, Told, Turn
from seaway.model.wire import ErrorReport

AGAIN: Final = 0.5  # seconds until one that did not answer is asked again
_PATIENCE: Final = 5.0
_LONGEST: Final = 1 << 26  # bytes of a line

T = TypeVar("T", bound=Value)

log = structlog.get_logger(__name__)


class Paths:
    """`changed` is called when facts are others. Nobody is asked until `runs` is set: a host that
    is alone has no `routed`.
    """

    def __init__(
        self, facts: Facts, changed: Callable[[], None], folder: File = names.RUN_FOLDER
    ) -> None:
        self._facts = facts
        self._changed = changed
        self._socket = folder / names.ROUTED_SOCKET.name
        self._told = folder / names.PATHS_FILE.name
        self.runs = asyncio.Event()

    def remember(self) -> None:
        """What was told before this agent began."""
        try:
            told = codec.decode(self._told.read_bytes(), Told)
        except FileNotFoundError:
            return
        except Undecodable as error:
            log.warning("cannot be read", path=str(self._told), error=error.message)
            return
        for turn in told.turns:
            self._turn(turn)
        self._number(told.numbers)

    def _turn(self, turn: Turn) -> None:
        known = [p for p in self._facts.all(Path) if p.routing == turn.routing and turn.whole]
        gone = {path.host for path in known} | {*turn.gone}
        for path in turn.paths:
            self._facts.change(Path, path_key(path.host, path.routing), path)
        for host in gone.difference(path.host for path in turn.paths):
            self._facts.change(Path, path_key(host, turn.routing), None)
        self._changed()

    def _number(self, numbers: Numbers) -> None:
        for link in self._facts.all(LinkNumber):
            if link.host not in numbers.numbers:
                self._facts.change(LinkNumber, link.host, None)
        for host, number in numbers.numbers.items():
            self._facts.change(LinkNumber, host, LinkNumber(host=host, number=number))
        self._changed()

    async def follow(self) -> None:
        """Paths, as they turn."""
        await self._follow(Question(ask="paths"), Turn, self._turn)

    async def follow_numbers(self) -> None:
        await self._follow(Question(ask="numbers"), Numbers, self._number)

    async def _follow(self, question: Question, kind: type[T], learn: Callable[[T], None]) -> None:
        while True:
            await self.runs.wait()
            with suppress(SeawayError, OSError):
                reader, writer = await self._asked(question)
                try:
                    while line := await reader.readline():
                        learn(codec.decode(line, kind))
                finally:
                    writer.close()
            await asyncio.sleep(AGAIN)

    async def _asked(self, question: Question) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_unix_connection(self._socket, limit=_LONGEST)
        writer.write(codec.encode(question) + b"\n")
        return reader, writer

    async def ask(self, question: Question, kind: type[T]) -> T:
        """Its answer. `Unavailable`: there is none."""
        try:
            async with asyncio.timeout(_PATIENCE):
                reader, writer = await self._asked(question)
                try:
                    line = await reader.readline()
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            raise Unavailable("routed does not answer", "see: seaway doctor") from error
        if not line:
            raise Unavailable("routed hung up", "see: seaway doctor")
        try:
            return codec.decode(line, kind)
        except Undecodable:
            raise codec.decode(line, ErrorReport).error.error() from None
