"""Seaway on the kernels that Debian ships, each booted once: see README.md."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from kernels import debian, machines

GUEST = Path(__file__).with_name("guest.py")
MARK = "seaway-guest "
BOOT_WITHIN = 280.0  # seconds, with all that the guest does
OLDEST, NEWER = "", "-backports"

pytestmark = pytest.mark.timeout(600)  # with the download


@pytest.fixture(scope="module", params=[OLDEST, NEWER], ids=["stable", "backports"])
def guest(request: pytest.FixtureRequest) -> dict[str, str]:
    """What became of each step in the guest: empty, or what went wrong."""
    kernel = debian.kernel(request.param)
    output = machines.boot(kernel, [sys.executable, str(GUEST)], BOOT_WITHIN)
    kernel.log.write_text(output)
    lines = [line.partition(MARK)[2] for line in output.splitlines() if MARK in line]
    return {report["step"]: report["problem"] for report in map(json.loads, lines)}


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


def test_hosts_carry_each_others_packets(guest):
    assert "" == guest["hosts_carry_each_others_packets"]


def test_a_forged_source_is_dropped_and_counted(guest):
    assert "" == guest["forged_source_goes_nowhere"]
