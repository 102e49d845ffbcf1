"""Which offloads doctor finds: of devices that a test makes, and changes as ethtool does."""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Iterator
from ctypes import addressof, create_string_buffer
from functools import partial

import pytest

from namespaces import Netns, namespaces
from seaway.kernel import netns
from seaway.kernel.offloads import OFFLOADS, findings, offloads, told

SIOCETHTOOL = 0x8946
SET = {"TX checksum": 0x17, "RX checksum": 0x15, "GSO": 0x24, "GRO": 0x2C, "TSO": 0x1F}


@pytest.fixture
def host() -> Iterator[Netns]:
    with namespaces() as make:
        made = make()
        made.run("ip link add up0 type veth peer name up1; ip link set up0 up; ip link set up1 up")
        made.run("ip addr add 192.0.2.1/24 dev up0")
        yield made


def turn(host: Netns, device: str, offload: str, *, on: bool) -> None:
    """As `ethtool -K` did before there were features."""

    def ask() -> None:
        value = create_string_buffer(struct.pack("@II", SET[offload], on), 8)
        asked = struct.pack("@16sP8x", device.encode(), addressof(value))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            fcntl.ioctl(asking, SIOCETHTOOL, asked)

    netns.visit_path(host.path, ask)


def looked_at(host: Netns, device: str) -> dict[str, str]:
    return netns.visit_path(host.path, partial(offloads, device))


@pytest.mark.parametrize("offload", ["TX checksum", "GRO", "GSO", "TSO"])
def test_what_is_turned_off_is_found_off_and_told_with_what_to_do(host, offload):
    turn(host, "up0", offload, on=True)
    assert "on" == looked_at(host, "up0")[offload]
    turn(host, "up0", offload, on=False)
    assert "off" == looked_at(host, "up0")[offload]

    warned = [f for f in findings(host.path) if f.level == "warning"]
    wanted = [] if offload == "GRO" else [f"up0: {offload} is off"]
    assert wanted == [f.found for f in warned if f.found.startswith(f"up0: {offload} ")]
    assert all(f.advice.startswith("faster: ethtool -K up0 ") for f in warned)


def test_a_veth_pair_needs_no_gro_and_others_do():
    states = dict.fromkeys(OFFLOADS, "on") | {
        "GRO": "off",
        "UDP tunnel segmentation": "not offered",
    }
    assert ["ok"] == [f.level for f in told("up0", "veth", states)]
    ok, warning = told("eth0", "", states)
    assert ok.found == (
        "eth0: on: GSO, TSO, TX checksum, RX checksum; it has no UDP tunnel segmentation"
    )
    assert ("warning", "eth0: GRO is off") == (warning.level, warning.found)


def test_the_device_of_the_overlay_is_looked_at_where_it_is(host):
    before = {f.found.split(":")[0] for f in findings(host.path)}
    host.run("ip link add swyoverlay type vxlan external dstport 8479")
    after = {f.found.split(":")[0] for f in findings(host.path)}
    assert {"swyoverlay"} == after - before
    assert "up0" in before


def test_a_device_that_is_gone_is_told_as_such(host):
    with pytest.raises(OSError, match="No such device"):
        looked_at(host, "nothing")
