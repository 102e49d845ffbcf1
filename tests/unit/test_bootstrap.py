"""The first records of a cluster: what cannot be carried is refused before anything is kept."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network
from pathlib import Path

import pytest
from tests.fakes_store import FakeStore

from seaway.bootstrap import Plan, initialise
from seaway.errors import Invalid

POOL = ip_network("10.208.0.0/12")


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (Plan("h", pools=(ip_network("240.0.0.0/12"),)), "pool 240.0.0.0/12 is no unicast range"),
        (Plan("h", pools=(ip_network("::/48"),)), "pool ::/48 is no unicast range"),
        (
            Plan("h", pools=(POOL,), service_subnets=(ip_network("127.1.0.0/16"),)),
            "service subnet 127.1.0.0/16 is no unicast range",
        ),
    ],
)
def test_addresses_that_no_host_can_have_begin_no_cluster(
    tmp_path: Path, plan: Plan, words: str
) -> None:
    async def scenario() -> None:
        store = FakeStore(tmp_path / "store.db")
        try:
            with pytest.raises(Invalid, match=words):
                await initialise(store, plan)
            assert {} == (await store.load()).items
        finally:
            await store.close()

    asyncio.run(scenario())
