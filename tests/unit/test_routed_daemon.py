"""Whom `routed` lets in: the host of that name, by the key that its record says. And whom it obeys:
who orders the host that it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

from cryptography.x509 import load_pem_x509_certificate
from msgspec.structs import replace

from authority import Authority
from seaway.model.routing import ORDERS_KEY, Member, Orders
from seaway.routed import streams
from seaway.routed.credentials import Credentials
from seaway.routed.daemon import Begun, Daemon
from seaway.routed.files import Files
from seaway.routed.orders_file import OrdersFile, OrdersTarget
from seaway.routed.outlets import Outlet
from seaway.routed.senses import Senses
from seaway.trust.certificates import key_digest
from seaway.trust.folder import Folder
from waiting import until

HERE = "127.0.0.1"


def folder(path: Path, authority: Authority, pem: bytes) -> Folder:
    """Of who shows that certificate."""
    path.mkdir()
    (path / "ca.pem").write_bytes(authority.pem)
    (path / "host.pem").write_bytes(pem)
    return Folder(path)


def orders(known: bytes) -> Orders:
    """Of host a, by whose records host b has that certificate's key."""
    key = key_digest(load_pem_x509_certificate(known).public_key())
    here, there = (ip_address(f"192.0.2.{number}") for number in (1, 2))
    member = Member(name="b", number=2, underlay=(there,), key=key)
    return Orders(host="a", number=1, underlay=(here,), members=(member,))


class Still:
    """Nothing is sent by this host."""

    def look(self, _devices: object, _now: float) -> dict[int, float]:
        return {}

    def read(self, _hosts: object) -> dict[int, int]:
        return {}


@asynccontextmanager
async def listening(
    path: Path, authority: Authority, given: Orders, *outlets: Outlet
) -> AsyncIterator[tuple[Daemon, int]]:
    """And at which port of this machine's own."""
    trust = folder(path / "a", authority, authority.host("a"))
    files = Files(run=path, trust=trust.path, link_state=path / "link-state")
    async with asyncio.TaskGroup() as group:
        senses = Senses(Still(), Still())
        daemon = Daemon(files, Begun(given, outlets, senses, asyncio.Event()), group)
        async with daemon._sessions.listen(HERE, 0) as port:
            yield daemon, port
        for task in daemon.tasks:
            task.cancel()


def test_who_has_another_key_than_the_host_of_that_name_ends_nobodys_session(tmp_path):
    authority = Authority()
    known, stolen = authority.host("b"), authority.host("b")
    real = Credentials(folder(tmp_path / "b", authority, known)).asking
    other = Credentials(folder(tmp_path / "other", authority, stolen)).asking

    async def scenario() -> None:
        async with (
            listening(tmp_path, authority, orders(known)) as (daemon, port),
            asyncio.timeout(10),
        ):
            _, writer = await streams.dial("a", HERE, real, port)
            await until(lambda: "b" in daemon._sessions.streams)
            session = daemon._sessions.streams["b"]
            reader, refused = await streams.dial("a", HERE, other, port)
            assert b"" == await reader.read()
            assert session is daemon._sessions.streams["b"]
            assert session.live
            writer.close()
            refused.close()

    asyncio.run(scenario())


def test_who_comes_anew_with_the_same_key_has_the_session(tmp_path):
    """The other one is dead, as far as he knows."""
    authority = Authority()
    known = authority.host("b")
    real = Credentials(folder(tmp_path / "b", authority, known)).asking

    async def scenario() -> None:
        async with (
            listening(tmp_path, authority, orders(known)) as (daemon, port),
            asyncio.timeout(10),
        ):
            _, first = await streams.dial("a", HERE, real, port)
            await until(lambda: "b" in daemon._sessions.streams)
            session = daemon._sessions.streams["b"]
            _, second = await streams.dial("a", HERE, real, port)
            await until(lambda: daemon._sessions.streams.get("b") not in {None, session})
            assert not session.live
            first.close()
            second.close()

    asyncio.run(scenario())


def test_it_ends_when_this_host_is_another_one(tmp_path):
    """Who starts it again has it read its new name."""
    authority = Authority()
    alone = replace(orders(authority.host("b")), members=())
    file = tmp_path / "orders"
    target = OrdersTarget(file)

    async def scenario() -> None:
        async with listening(tmp_path, authority, alone) as (daemon, _), asyncio.timeout(10):
            looking = asyncio.create_task(daemon._look(OrdersFile(file)))
            target.put({ORDERS_KEY: replace(alone, relay=False)})
            await until(lambda: not daemon._core.orders.relay)
            assert not daemon._ended.is_set()
            target.put({ORDERS_KEY: replace(alone, host="z")})
            await daemon._ended.wait()
            looking.cancel()

    asyncio.run(scenario())


class Full:
    """An outlet that takes nothing."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def know(self, numbers: object) -> None:
        """Any will do."""

    def turn(self, _turn: object) -> None:
        self.asked.append("turn")
        raise OSError("full")

    def dead(self, _hosts: object) -> None:
        self.asked.append("dead")
        raise OSError("full")


def test_an_outlet_that_refuses_all_ends_nothing(tmp_path):
    authority, full = Authority(), Full()
    given = orders(authority.host("b"))

    async def scenario() -> None:
        async with (
            listening(tmp_path, authority, given, full) as (daemon, _),
            asyncio.timeout(20),
        ):
            works = [daemon.start(work(), "work") for work in (daemon._probe, daemon._compute)]
            await until(lambda: {"turn", "dead"} <= {*full.asked})
            looking = daemon.start(daemon._look(OrdersFile(tmp_path / "orders")), "look")
            full.asked.clear()
            await until(lambda: {"turn", "dead"} <= {*full.asked})
            assert not any(work.done() for work in (*works, looking))

    asyncio.run(scenario())
