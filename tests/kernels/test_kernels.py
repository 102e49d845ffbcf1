"""Seaway on the kernels that Debian ships, each booted once: see README.md."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from kernels import borrowed, debian, machines, reports

GUEST = Path(__file__).with_name("guest.py")
BOOT_WITHIN = 900.0  # seconds, with all that the guest does; where nothing else runs, two minutes
OLDEST, NEWER = "", "-backports"

pytestmark = pytest.mark.timeout(1200)  # with the download


@pytest.fixture(scope="module")
def guests() -> Iterator[dict[str, Future[str]]]:
    """What each guest prints: both are booted at once, as each has one CPU."""
    kernels = {suffix: debian.kernel(suffix) for suffix in (OLDEST, NEWER)}
    command = [sys.executable, str(GUEST)]
    with ThreadPoolExecutor(len(kernels)) as pool:
        yield {
            suffix: pool.submit(machines.boot, kernel, command, BOOT_WITHIN)
            for suffix, kernel in kernels.items()
        }


@pytest.fixture(scope="module", params=[OLDEST, NEWER], ids=["stable", "backports"])
def guest(request: pytest.FixtureRequest, guests: dict[str, Future[str]]) -> dict[str, str]:
    """What became of each step in the guest, and of each test: empty, or what went wrong."""
    return reports.read(guests[request.param].result())


def test_the_agent_becomes_ready(guest):
    assert "" == guest["agent_becomes_ready"]


def test_the_verifier_takes_every_program(guest):
    assert "" == guest["every_program_is_loaded"]


def test_endpoints_are_attached_by_the_way_that_the_kernel_has(guest):
    assert "" == guest["endpoints_are_attached"]
    assert "" == guest["programs_sit_where_this_kernel_has_hooks"]


def test_two_endpoints_reach_each_other_by_both_families(guest):
    assert "" == guest["endpoints_reach_each_other"]


def test_an_endpoint_and_its_host_reach_each_other_by_both_families(guest):
    assert "" == guest["endpoint_and_host_reach_each_other"]


def test_a_forged_source_is_dropped_and_counted(guest):
    assert "" == guest["forged_source_goes_nowhere"]


def test_published_ports_are_reached_from_outside_by_both_families(guest):
    assert "" == guest["ports_are_published"]
    assert "" == guest["outside_asks_published_ports"]


def test_the_host_reaches_published_ports_by_localhost(guest):
    assert "" == guest["host_asks_published_ports"]
    assert "" == guest["socket_of_the_host_ends_with_its_port"]


def test_the_devices_of_a_vrf_are_uplinks_and_the_ports_of_a_bridge_are_none(guest):
    assert "" == guest["device_of_a_vrf_is_an_uplink"]


def test_services_are_asked_by_hooks_by_packets_and_from_outside(guest):
    assert "" == guest["services_are_asked"]


def test_a_service_over_its_limit_refuses(guest):
    assert "" == guest["service_over_its_limit_refuses"]


def test_sockets_of_a_service_end_with_its_backend(guest):
    assert "" == guest["sockets_of_a_service_end_with_its_backend"]


def test_the_scenes_of_other_tests_stand(guest):
    assert ("", "") == (guest["hosts"], guest["services"])


@pytest.mark.parametrize("name", borrowed.NAMES)
def test_what_passes_here_passes_there(guest, name):
    assert "" == guest[name]
