"""What a host tells load balancers, asked by real sockets on loopback."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

import contracts
from seaway.checking.health_ports import HealthPorts, response
from seaway.kernel.listening import listener
from seaway.model.node_ports import HealthPort

Scenario = Callable[[HealthPorts, int], Awaitable[None]]
WEB = HealthPort("shop", "web", 2)


def free_port() -> int:
    with listener("", 0, 1) as sock:
        number: int = sock.getsockname()[1]
    return number


def run(scenario: Scenario, healthy: Callable[[], bool] = lambda: True, **given: Any) -> None:
    async def whole() -> None:
        target = HealthPorts(**given)
        serving = asyncio.create_task(target.run(healthy))
        try:
            await asyncio.wait_for(scenario(target, free_port()), 60)
        finally:
            serving.cancel()
            await asyncio.wait([serving])

    asyncio.run(whole())


async def ask(
    number: int, address: str = "127.0.0.1", say: bytes = b"GET / HTTP/1.1\r\n\r\n"
) -> Any:
    """Status, headers in lower case, and the body; without any of them for who is cut off."""
    reader, writer = await asyncio.open_connection(address, number)
    told = b""
    with suppress(ConnectionError):
        writer.write(say)
        told = await reader.read()
    writer.close()
    head, _, body = told.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    pairs = (line.split(": ", 1) for line in lines)
    return status, {name.lower(): value for name, value in pairs}, body


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_who_asks_is_told_whether_backends_are_here(address: str) -> None:
    async def scenario(target: HealthPorts, number: int) -> None:
        assert {} == target.put({number: WEB})
        status, headers, body = await ask(number, address)
        assert "HTTP/1.1 200 OK" == status
        assert ("application/json", "2") == (
            headers["content-type"],
            headers["x-load-balancing-endpoint-weight"],
        )
        assert {
            "service": {"namespace": "shop", "name": "web"},
            "localEndpoints": 2,
            "serviceProxyHealthy": True,
        } == json.loads(body)
        target.put({number: HealthPort("shop", "web", 0)})
        status, headers, body = await ask(number, address)
        assert ("HTTP/1.1 503 Service Unavailable", 0) == (
            status,
            json.loads(body)["localEndpoints"],
        )

    run(scenario)


def test_a_host_that_leads_nobody_yet_is_not_asked() -> None:
    async def scenario(target: HealthPorts, number: int) -> None:
        target.put({number: WEB})
        status, _, body = await ask(number)
        assert status.endswith("503 Service Unavailable")
        assert not json.loads(body)["serviceProxyHealthy"]

    run(scenario, healthy=lambda: False)


def test_a_head_is_told_without_a_body_and_parts_are_waited_for() -> None:
    async def scenario(target: HealthPorts, number: int) -> None:
        target.put({number: WEB})
        status, headers, body = await ask(number, say=b"HEAD /x HTTP/1.0\r\nA: b\r\n\r\n")
        assert ("HTTP/1.1 200 OK", b"") == (status, body)
        assert int(headers["content-length"]) > 0
        reader, writer = await asyncio.open_connection("127.0.0.1", number)
        for part in (b"GET / HT", b"TP/1.1\r\n", b"\r\n"):
            writer.write(part)
            await writer.drain()
        assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
        writer.close()

    run(scenario)


def test_who_says_too_much_or_comes_with_too_many_is_cut_off() -> None:
    async def scenario(target: HealthPorts, number: int) -> None:
        target.put({number: WEB})
        assert ("", {}, b"") == await ask(number, say=b"x" * 100_000)
        several = [await asyncio.open_connection("127.0.0.1", number) for _ in range(3)]
        assert ("", {}, b"") == await ask(number)
        for _, writer in several:
            writer.close()

    run(scenario, most=3)


def test_who_dawdles_is_cut_off() -> None:
    async def scenario(target: HealthPorts, number: int) -> None:
        target.put({number: WEB})
        assert ("", {}, b"") == await ask(number, say=b"GET / HTTP/1.1\r\n")

    run(scenario, within=0.05)


def test_a_port_that_is_taken_fails_alone_and_can_be_had_later() -> None:
    async def scenario(target: HealthPorts, number: int) -> None:
        with listener("", 0, 1) as other:
            taken = other.getsockname()[1]
            failed = target.put({taken: WEB, number: WEB})
            assert [errno.EADDRINUSE] == [failed[taken].errno]
            assert {number: WEB} == target.read()
        assert {} == target.put({taken: WEB})
        assert (await ask(taken))[0].endswith("200 OK")

    run(scenario)


def test_it_is_a_target_and_what_is_deleted_is_closed() -> None:
    async def scenario(target: HealthPorts, number: int) -> None:
        contracts.puts_and_deletes(target, {number: WEB})
        contracts.changes_what_is_there(target, {number: WEB}, {number: HealthPort("a", "b", 1)})
        assert (await ask(number))[0].endswith("200 OK")
        target.delete({number})
        refused = False
        while not refused:
            try:
                await ask(number)
            except ConnectionResetError:
                continue  # it was waiting to be taken when that was closed
            except ConnectionRefusedError:
                refused = True
        with socket.create_server(("127.0.0.1", number)):
            pass

    run(scenario)


def test_what_is_told_is_whole() -> None:
    told = response(WEB, healthy=True)
    head, _, body = told.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
