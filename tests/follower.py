"""A host without its data plane: records over etcd, and what it remembers. Asked line by line.

    follower.py NAME CACHE MEMBER...

A line is a JSON list, a word and its arguments; so is the answer: "ok" or the kind of an error, and
what there is to say.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import structlog

import keepers
from seaway.errors import SeawayError
from seaway.facts import Facts
from seaway.model.facts import Value
from seaway.records import Records
from seaway.store.etcd import EtcdStore
from seaway.store.remembering import Remembering, open_cache


class Follower:
    def __init__(self, name: str, cache: str, urls: list[str]) -> None:
        self.name = name
        self.store = Remembering(EtcdStore(urls), open_cache(Path(cache)), name)
        self.facts = Facts(())
        self.records = Records(self.store, self.facts, name)

    async def answer(self, word: str, *arguments: Any) -> Any:
        match word:
            case "attach" | "detach":
                (number,) = arguments
                return await self.commit(word, keepers.endpoint(self.name, number))
            case "make" | "remove":
                (network,) = arguments
                return await self.commit(word, keepers.network(network))
            case "claim":
                (number,) = arguments
                return await self.commit(word, keepers.block(number, self.name))
        return self.state()

    async def commit(self, word: str, record: Value) -> None:
        if word in {"detach", "remove"}:
            await self.records.commit([], [record])
        else:
            await self.records.commit([record])

    def state(self) -> dict[str, Any]:
        """What is known, and whether that is all there is."""
        facts = [
            f"{kind.__name__} {key}" for kind, key in sorted(keepers.known(self.facts), key=str)
        ]
        return {"facts": facts, "lost": str(self.store.lost or ""), "unsent": self.store.unsent}

    async def serve(self) -> None:
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        say("ok", None)
        while line := await reader.readline():
            try:
                say("ok", await self.answer(*json.loads(line)))
            except SeawayError as error:
                say(error.kind, str(error))


def say(*words: Any) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


async def main(name: str, cache: str, *urls: str) -> None:
    follower = Follower(name, cache, list(urls))
    await follower.records.load()
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(follower.records.follow(lambda: None)),
            group.create_task(follower.store.send()),
        ]
        await follower.serve()
        for task in tasks:
            task.cancel()
    await follower.store.close()


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(main(*sys.argv[1:]))
