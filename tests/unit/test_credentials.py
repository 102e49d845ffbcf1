"""A certificate is renewed under a session: it goes on, and the next one shows the new one. TLS is
real, on loopback.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections import defaultdict
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from authority import Authority
from seaway.routed.credentials import Credentials
from seaway.routed.streams import Sessions
from seaway.trust.folder import Folder
from waiting import until

ADDRESS = f"127.{100 + os.getpid() % 100}.{os.getpid() // 100 % 250}.2"
LONG_AGO = (1, 1)  # ns: no clock is too coarse to tell what is written now from that


class End:
    """One of two hosts: it notes by which certificates the other came, and what it said."""

    def __init__(self, host: str, folder: Path, group: asyncio.TaskGroup) -> None:
        self.folder = Folder(folder)
        self.credentials = Credentials(self.folder)
        self.sessions = Sessions(host, self.credentials, self, self._start)
        self.shown: list[bytes] = []
        self.heard: list[tuple[str, bytes]] = []
        self.due: dict[str, list[bytes]] = defaultdict(list)
        self._group = group
        self._tasks: list[asyncio.Task[None]] = []

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        self._tasks.append(self._group.create_task(work, name=name))
        return self._tasks[-1]

    def end(self) -> None:
        for task in self._tasks:
            task.cancel()

    def say(self, peer: str, data: bytes) -> None:
        self.due[peer].append(data)
        self.sessions.stir([peer])

    def number(self, peer: str) -> int | None:
        """Of their link: probes of another one are refused."""
        return self.credentials.keys.number(peer)

    # ── see `streams.Exchange` ──

    def admits(self, peer: str, certificate: bytes) -> bool:
        self.shown.append(certificate)
        return self.credentials.keys.learn(peer, certificate)

    def open(self, peer: str) -> None:
        """Nothing is owed."""

    def close(self, peer: str) -> None:
        """Nothing is kept."""

    def receive(self, peer: str, data: bytes) -> bool:
        self.heard.append((peer, data))
        return True

    def send(self, peer: str, most: int) -> list[bytes]:
        found, self.due[peer] = self.due[peer][:most], self.due[peer][most:]
        return found


@pytest.mark.parametrize("renewed", ["a", "b"], ids=["who dials", "who is dialled"])
def test_a_session_goes_on_and_the_next_shows_the_renewed_certificate(tmp_path, renewed):
    authority = Authority()
    for name in "ab":
        folder = tmp_path / name
        folder.mkdir()
        (folder / "ca.pem").write_bytes(authority.pem)
        (folder / "host.pem").write_bytes(authority.host(name))
        os.utime(folder / "host.pem", ns=LONG_AGO)

    async def scenario() -> None:
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            ends = {name: End(name, tmp_path / name, group) for name in "ab"}
            async with ends["b"].sessions.listen(ADDRESS):
                await renew(ends, renewed, authority)
            for end in ends.values():
                end.end()

    asyncio.run(scenario())


async def renew(ends: dict[str, End], renewed: str, authority: Authority) -> None:
    mine, (other,) = ends[renewed], [end for name, end in ends.items() if name != renewed]
    (peer,) = ends.keys() - {renewed}
    await meet(ends)
    first, number = mine.credentials.keys.credential, mine.number(peer)
    folder = mine.folder
    folder.put(folder.host, authority.host(renewed, like=folder.host_key()))
    assert [True, False] == [mine.credentials.renew(), mine.credentials.renew()]
    mine.say(peer, b"after")
    await until(lambda: other.heard == [(renewed, b"after")])
    assert [first] == other.shown

    mine.sessions.streams[peer].end()
    await until(lambda: not any(end.sessions.streams for end in ends.values()))
    await meet(ends)
    second = ssl.PEM_cert_to_DER_cert(folder.host_certificate().decode())
    assert [first, second] == other.shown
    assert second == mine.credentials.keys.credential
    assert number == mine.number(peer) == other.number(renewed)


async def meet(ends: dict[str, End]) -> None:
    """The first dials the second."""
    ends["a"].sessions.want({"b": ADDRESS})
    ends["a"].sessions.dial_missing(asyncio.get_running_loop().time())
    await until(lambda: all(end.sessions.streams for end in ends.values()))
