"""The overlay's device and its programs: known without memory, found changed, put back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from seaway.kernel.vxlan import VxlanTarget
from seaway.model.kernel import OVERLAY_HOOKS, Attachment, Vxlan
from seaway.names import OVERLAY_DEVICE, OVERLAY_PORT
from wired import WiredHost, wires

WANTED = {OVERLAY_DEVICE: Vxlan(OVERLAY_DEVICE, 1450, OVERLAY_PORT)}


@pytest.fixture(params=["cls_bpf", "tcx"])
def host(request: pytest.FixtureRequest) -> Iterator[WiredHost]:
    with wires() as wire:
        (made,) = wire(1, way=request.param)
        yield made


def programs(host: WiredHost) -> dict[tuple[str, str], Attachment]:
    return {
        (OVERLAY_DEVICE, hook): Attachment(OVERLAY_DEVICE, host.device, hook, program)
        for hook, program in OVERLAY_HOOKS.items()
    }


def test_its_programs_are_read_back_and_may_be_put_again(host):
    for _ in range(2):
        assert programs(host) == host.place.run(host.attachments.read)
        assert {} == host.place.run(host.attachments.put, programs(host))


def test_a_device_that_is_set_down_counts_as_without_its_programs(host):
    host.place.shell(f"ip link set {OVERLAY_DEVICE} down")
    assert {} == host.place.run(host.attachments.read)

    assert {} == host.place.run(host.attachments.put, programs(host))
    assert programs(host) == host.place.run(host.attachments.read)


def test_a_device_that_somebody_made_anew_is_told_by_its_new_number(host):
    before = host.device
    host.place.shell(
        f"ip link del {OVERLAY_DEVICE}; ip link add {OVERLAY_DEVICE} address 02:53:57:59:00:02 "
        f"mtu 1450 type vxlan external dstport {OVERLAY_PORT} udp6zerocsumtx udp6zerocsumrx; "
        f"ip link set {OVERLAY_DEVICE} arp off"
    )
    assert WANTED == host.place.run(host.vxlan.read)
    assert host.device not in (0, before)

    assert {} == host.place.run(host.attachments.put, programs(host))
    assert programs(host) == host.place.run(host.attachments.read)


def test_an_agent_without_memory_takes_it_away_and_is_told_so(host):
    told: list[int] = []
    fresh = host.place.run(VxlanTarget, tell=told.append)
    try:
        assert WANTED == host.place.run(fresh.read)
        assert {} == host.place.run(fresh.delete, {OVERLAY_DEVICE})
        assert [host.device, 0] == told
    finally:
        fresh.close()


def test_a_device_of_this_name_that_is_no_vxlan_is_left_alone(host):
    host.place.shell(f"ip link del {OVERLAY_DEVICE}; ip link add {OVERLAY_DEVICE} type bridge")
    assert {} == host.place.run(host.vxlan.read)

    failed = host.place.run(host.vxlan.put, WANTED)
    assert {OVERLAY_DEVICE} == set(failed)
    assert "bridge" in host.place.shell(f"ip -d link show {OVERLAY_DEVICE}")
