"""What the tests of this folder share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from namespaces import Netns, namespaces


@pytest.fixture
def make_netns() -> Iterator[Callable[[], Netns]]:
    """Namespaces that are gone after the test."""
    with namespaces() as make:
        yield make
