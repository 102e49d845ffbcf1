"""The socket of `routed`: questions of the agent's, and what it is told whenever that changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

from seaway.errors import SeawayError
from seaway.model import codec
from seaway.model.facts import Value
from seaway.model.routing import Numbers, Question, Turn
from seaway.model.wire import report_of

BEHIND: Final = 8 << 20  # bytes that one who does not read is behind before he is cut off
_LONGEST: Final = 1 << 20  # bytes of a question

Start = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]


class Answers(Protocol):
    def answer(self, question: Question) -> list[Value]:
        """One line each. Raises `SeawayError`."""


class Desk:
    """Who asked for paths or numbers is told of each change."""

    def __init__(self, path: Path, answers: Answers, start: Start) -> None:
        self._path = path
        self._answers = answers
        self._start = start
        self._followers: dict[asyncio.StreamWriter, str] = {}

    async def listen(self) -> asyncio.Server:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._let_in, self._path, limit=_LONGEST)
        self._path.chmod(0o600)
        return server

    def turn(self, turn: Turn) -> None:
        self._tell("paths", turn)

    def numbers(self, numbers: Numbers) -> None:
        self._tell("numbers", numbers)

    def _tell(self, what: str, value: Value) -> None:
        line = codec.encode(value) + b"\n"
        for writer, wants in self._followers.items():
            if wants == what:
                writer.write(line)
                if writer.transport.get_write_buffer_size() > BEHIND:
                    writer.transport.abort()

    def _let_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._start(self._serve(reader, writer), "serve")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, ValueError):  # he went, or his question has no end
                while line := await reader.readline():
                    self._reply(line, writer)
                    await writer.drain()
        finally:
            self._followers.pop(writer, None)
            writer.close()

    def _reply(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        try:
            question = codec.decode(line, Question)
            answers = self._answers.answer(question)
            if question.ask in {"paths", "numbers"}:
                self._followers[writer] = question.ask
        except SeawayError as error:
            answers = [report_of(error)]
        for answer in answers:
            writer.write(codec.encode(answer) + b"\n")
