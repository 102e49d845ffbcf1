"""A service's port on every host, asked by a client outside, with real packets and offloads on.

The scene is that of `meshed`.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from meshed import CLIENT, PORT, Mesh, address_of, meshes
from serviced import DATAGRAM, STREAM

FAMILIES = pytest.mark.parametrize("family", [4, 6])
KINDS = pytest.mark.parametrize("kind", [STREAM, DATAGRAM], ids=["stream", "datagram"])
ASKED = pytest.mark.parametrize("asked", ["a", "b", "c"])


@pytest.fixture(scope="module", params=["cls_bpf", "tcx"])
def stood(request: pytest.FixtureRequest) -> Iterator[Mesh]:
    with meshes(request.param) as made:
        yield made


@pytest.fixture
def mesh(stood: Mesh) -> Iterator[Mesh]:
    yield stood
    stood.withdraw()


def ask(client: socket.socket, address: str, port: int = PORT) -> str:
    """The number of who answers, and whom he takes the client for."""
    client.connect((address, port))
    client.send(b"q")
    return client.recv(100).decode()


@FAMILIES
@KINDS
@ASKED
def test_a_backend_anywhere_answers_and_sees_the_client(mesh, family, kind, asked):
    """By b alone does a reach c: it relays both ways."""
    mesh.publish([mesh.carl])
    with mesh.open(family, kind) as client:
        answered = ask(client, address_of(getattr(mesh, asked), family))
        assert f"{mesh.carl.number} {CLIENT[family]}" == answered
