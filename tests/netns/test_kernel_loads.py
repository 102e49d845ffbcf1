"""How busy a device is, by what it carried and how fast it says that it is.

┌───── host ─────┐
│ wire ──── far  │   a veth pair; of veth no speed is believed
│ over           │   on top of it: what says the speed of what is below
└────────────────┘
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from seaway.kernel.loads import Loads
from stage import Stage, stage

SPEED = 10_000_000_000  # bit/s, as veth says
FRAME = bytes(12) + b"\x88\xb5" + bytes(1236)  # 10,000 bits


@pytest.fixture
def host() -> Iterator[Stage]:
    with stage() as place:
        place.shell(
            "ip link add wire type veth peer name far; ip link set far up; ip link set wire up"
            "; ip link add over link wire type macvlan; ip link set over up"
        )
        yield place


@pytest.fixture
def loads(host: Stage) -> Iterator[Loads]:
    made = host.run(Loads)
    yield made
    made.close()


def test_a_device_that_says_how_fast_it_is_has_a_load(host, loads):
    devices = {name: host.run(socket.if_nametoindex, name) for name in ("over", "wire")}
    assert {} == loads.look([*devices.values(), 9999], 0.0)
    host.run(_send, "over", 1000)

    # 10 Mbit in 5 ms are a fifth of 10 Gbit/s
    assert {devices["over"]: pytest.approx(20, abs=1)} == loads.look(devices.values(), 0.005)
    assert {devices["over"]: pytest.approx(0, abs=1)} == loads.look(devices.values(), 1.005)


def test_a_device_that_is_gone_is_left_out(host, loads):
    over = host.run(socket.if_nametoindex, "over")
    loads.look([over], 0.0)
    host.shell("ip link del over")

    assert {} == loads.look([over], 1.0)


def _send(device: str, count: int) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as made:
        made.bind((device, 0))
        for _ in range(count):
            made.send(FRAME)
