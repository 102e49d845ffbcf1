"""Programs and maps of their own for the tests of this folder, and a cast of endpoints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import beyond as others
from cast import World
from edge import Edge, standing
from stage import Stage, stage


@pytest.fixture(scope="session")
def place() -> Iterator[Stage]:
    with stage() as made:
        yield made


@pytest.fixture(scope="session")
def loaded(place: Stage) -> Iterator[World]:
    world = place.run(World, place)
    yield world
    place.run(world.close)


@pytest.fixture
def world(loaded: World) -> World:
    """With the cast in its maps and nothing counted."""
    loaded.reset()
    return loaded


@pytest.fixture(scope="module")
def scene() -> Iterator[Edge]:
    with standing(Edge) as edge:
        yield edge


@pytest.fixture
def edge(scene: Edge) -> Edge:
    """With an uplink, and nothing published."""
    scene.reset()
    return scene


@pytest.fixture(scope="module")
def surrounded() -> Iterator[others.World]:
    with standing(others.World, others.BEYOND) as world:
        yield world


@pytest.fixture
def beyond(surrounded: others.World) -> others.World:
    """With other hosts beside it, and networks 1 and 2 connected."""
    surrounded.reset()
    surrounded.connect(1, 2)
    return surrounded


@pytest.fixture(scope="module")
def stood(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The world of the module's own kind, of a host that has others beyond it."""
    with standing(request.module.World, others.BEYOND) as made:
        yield made
