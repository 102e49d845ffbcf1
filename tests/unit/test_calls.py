"""What is said of an agent that cannot be asked: in words, and each place once."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from seaway.cluster.calls import AgentAddress, Calls
from seaway.errors import Unavailable
from seaway.store.peers import PeerStore
from seaway.trust import contexts


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Of all addresses of loopback, and nobody listens there."""
    with closing(socket.socket(socket.AF_INET6)) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("::", 0))
        yield sock.getsockname()[1]


def asked(place: str) -> Unavailable:
    async def scenario() -> None:
        async with Calls(contexts.blind()) as calls:
            await calls.call(AgentAddress(place), "GET", "/v1/join")

    with pytest.raises(Unavailable) as found:
        asyncio.run(scenario())
    return found.value


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
def test_a_port_that_is_closed_is_told_as_the_system_says_it(closed_port, host):
    place = f"{host}:{closed_port}"
    assert f"{place} cannot be asked: Connection refused" == asked(place).message


def test_a_name_that_means_nobody_has_a_hint_of_its_own():
    error = asked("no-such-name.invalid")
    assert error.message.startswith("there is no address of 'no-such-name.invalid': ")
    assert "is the name right? or give one" == error.hint


def test_who_speaks_no_tls_is_told_without_the_words_of_a_library():
    async def scenario() -> None:
        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with closing(writer):
                writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
                await writer.drain()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with Calls(contexts.blind()) as calls:
                await calls.call(AgentAddress(f"127.0.0.1:{port}"), "GET", "/v1/join")

    with pytest.raises(Unavailable, match="no TLS as ours is spoken there"):
        asyncio.run(scenario())


def test_a_place_that_several_could_not_ask_is_named_once():
    async def ask(at: str, *_: object) -> bytes:  # noqa: RUF029, the shape of an `Ask`
        passed = "192.0.2.1 does not answer; " if at == "192.0.2.2" else ""
        raise Unavailable(f"{passed}{at} does not answer")

    store = PeerStore("host3", ("192.0.2.1", "192.0.2.2"), ask)
    with pytest.raises(Unavailable) as error:
        asyncio.run(store.load())
    assert "192.0.2.1 does not answer; 192.0.2.2 does not answer" == error.value.message
