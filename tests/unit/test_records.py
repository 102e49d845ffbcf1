"""Which fact a record is to which host, and under which key it lies."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address, ip_interface
from pathlib import Path

import pytest
from msgspec.structs import replace

from fakes_store import FakeStore
from seaway.errors import Undecodable
from seaway.facts import Facts
from seaway.model import codec
from seaway.model.facts import Endpoint, Value
from seaway.model.services import Distant, EndpointSlice, Health, Service, Vip
from seaway.records import Records, distant, fact_key, parse, store_key

SERVICE = Service(name="web", network="shop")
SLICE = EndpointSlice(name="web-1.a", network="shop", service="web", family=4)
VIPS = [Vip(address=ip_address(a), network="shop", service="web") for a in ("10.9.0.1", "fd00::1")]

HEALTH = Health(host="b", endpoint="0" * 16, network="shop", failing={"web": "status 500"})


@pytest.mark.parametrize(
    ("record", "lies", "key"),
    [
        (HEALTH, f"health/b/{'0' * 16}", f"b/{'0' * 16}"),
        (SERVICE, "services/shop/web", "shop/web"),
        (SLICE, "slices/shop/web-1.a", "shop/web-1.a"),
        (VIPS[0], "vips/10.9.0.1", "10.9.0.1"),
        (VIPS[1], "vips/fd00::1", "fd00::1"),
    ],
)
def test_a_record_of_services_lies_under_its_name(record: Value, lies: str, key: str) -> None:
    assert (lies, key) == (store_key(record), fact_key(record))
    assert record == parse(lies, codec.encode(record))
    with pytest.raises(Undecodable, match=f"that belongs under '{lies}'"):
        parse(f"{lies}x", codec.encode(record))


def endpoint(host: str, number: int) -> Endpoint:
    return Endpoint(
        id=f"{number:016x}",
        name=f"e{number}",
        container="c",
        interface="eth0",
        host=host,
        network="shop",
        netns="",
        netns_inode=1,
        addresses=(ip_interface(f"10.208.0.{number}/24"), ip_interface("fd00::1/64")),
        mac="02:00:00:00:00:01",
        mtu=1500,
        labels={"app": "web"},
        aliases=("www",),
        port_names={"http": 80},
        weight=3,
        ready=False,
        terminating=True,
    )


def test_of_what_is_attached_elsewhere_a_host_knows_what_services_need(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = FakeStore(tmp_path / "store.db")
        everywhere, a = Records(store, Facts(())), Facts(())
        own, others, more = endpoint("a", 1), endpoint("b", 2), endpoint("b", 3)
        await everywhere.commit([own, others, more, SERVICE, SLICE, *VIPS])
        records = Records(store, a, "a")
        await records.load()

        assert [own] == a.all(Endpoint)
        first, second = a.all(Distant)
        assert (
            Distant(
                id=others.id,
                name="e2",
                network="shop",
                host="b",
                addresses=(ip_address("10.208.0.2"), ip_address("fd00::1")),
                labels={"app": "web"},
                aliases=("www",),
                port_names={"http": 80},
                weight=3,
                ready=False,
                terminating=True,
            )
            == first
        )
        assert first.host is second.host
        assert (SERVICE, SLICE) == (
            a.get(Service, "shop/web"),
            a.get(EndpointSlice, "shop/web-1.a"),
        )
        assert VIPS == [a.get(Vip, "10.9.0.1"), a.get(Vip, "fd00::1")]

        third = endpoint("c", 2)
        await everywhere.commit([third])
        await records.reload()
        assert [first, second, distant(third)] == a.all(Distant)
        await everywhere.commit([replace(others, ready=True)], [more, third, SERVICE, VIPS[1]])
        await records.reload()
        assert [replace(first, ready=True)] == a.all(Distant)
        assert [VIPS[0]] == a.all(Vip)
        assert [] == a.all(Service)
        await store.close()

    asyncio.run(scenario())
