"""Hosts of a lab on which tests/follower.py runs, over an etcd of the lab."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keepers
from seaway.lab import LabHost
from seaway.lab.etcd import Etcd
from seaway.store.etcd import EtcdStore

PROGRAM = Path(__file__).with_name("follower.py")


class Follower:
    """A host on which tests/follower.py runs: it may be killed, and started again."""

    def __init__(self, host: LabHost, name: str, urls: list[str]) -> None:
        self.host, self.name, self._urls = host, name, urls
        self._cache = f"/run/follower/{uuid.uuid4().hex}.db"
        self.start()

    def start(self) -> None:
        self._process = self.host.popen(
            *(sys.executable, str(PROGRAM), self.name, self._cache, *self._urls),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.hear()

    def hear(self) -> Any:
        assert self._process.stdout
        word, said = json.loads(self._process.stdout.readline())
        return said if word == "ok" else (word, said)

    def ask(self, *words: Any) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()

    def answer(self, *words: Any) -> Any:
        """None: done. An error: its kind, and what it says."""
        self.ask(*words)
        return self.hear()

    def does(self, *words: Any) -> None:
        assert None is self.answer(*words)

    def facts(self) -> list[str]:
        return self.answer("state")["facts"]

    def is_whole(self) -> bool:
        """Knows the store, and the store what only this host knows."""
        state = self.answer("state")
        return state["lost"] == "" and state["unsent"] == 0

    def kill(self) -> None:
        """With all that it was about to do."""
        self._process.kill()
        self._process.communicate()


@dataclass
class Stage:
    etcd: Etcd
    one: Follower
    two: Follower

    def stored(self, host: str) -> list[str]:
        """What a host would know that comes new; asked past the network."""

        async def read() -> list[str]:
            store = EtcdStore([self.etcd.socket(self.etcd.hosts[0])])
            found = await keepers.from_nothing(store, host)
            await store.close()
            return [f"{kind.__name__} {key}" for kind, key in sorted(found, key=str)]

        return asyncio.run(read())

    def is_settled(self) -> bool:
        return all(
            follower.is_whole() and follower.facts() == self.stored(follower.name)
            for follower in (self.one, self.two)
        )
