"""Tests of tests/netns that run in a guest too: which, and of their parameters which.

What costs most on an emulated CPU is a scene, as each of its hosts has the verifier look at all
programs. So there is one of services for all files, and one of hosts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

import serviced
from kernels.reports import tell
from serviced import DATAGRAM, Scene

# The scene of hosts that a kernel has the hooks for (test_mesh_packets).
WAY = "by-ipv6" if tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 6) else "cls_bpf"
NETNS = Path(__file__).parents[1] / "netns"
WITHIN = 120  # seconds, for each of them
Chosen = Mapping[str, Sequence[object]]  # of the parameters that are named, these values alone

HOSTS: dict[str, dict[str, Chosen]] = {
    "test_mesh_packets": {
        "test_containers_of_all_hosts_talk_past_services_too": {},
        "test_a_backend_anywhere_answers_and_sees_the_client": {},
        "test_a_stream_comes_back_whole": {"asked": ["a"]},
        "test_all_backends_are_asked": {"family": [4], "kind": [DATAGRAM]},
        "test_a_service_without_a_backend_refuses_at_once": {"asked": ["a", "c"]},
        "test_datagrams_leave_a_backend_that_is_none_and_connections_stay": {},
    }
}
SERVICES: dict[str, dict[str, Chosen]] = {
    "test_services": {
        "test_a_container_is_answered_by_a_backend_and_takes_it_for_the_vip": {},
        "test_the_host_asks_services_too": {},
        "test_the_host_asks_a_port_that_a_service_has_published_on_every_host": {
            "place": ["127.0.0.1", "::1"]
        },
        "test_a_service_without_a_backend_refuses_at_once": {"weights": [()]},
        "test_a_connection_is_counted_until_its_socket_is_closed": {},
    },
    "test_service_choice": {
        "test_round_robin_gives_each_its_turn_whoever_asks": {},
        # What a kernel's verifier took for dead must not be cut out of the program (draw.h).
        "test_least_connections_are_by_weight": {},
    },
    "test_limits": {
        "test_over_the_limit_a_connection_is_refused_at_once_and_counted": {},
        "test_streams_are_refused_with_a_clear_error_whether_they_wait_or_not": {},
        "test_what_an_endpoint_opens_is_limited_wherever_it_leads": {},
    },
    "test_fallback": {
        "test_who_asks_a_service_is_answered_alike": {
            "state": ["two, least"],
            "asker": ["packets"],
        },
        "test_who_speaks_with_a_backend_that_goes_is_told_alike": {},
        "test_a_connection_goes_on_while_its_backend_drains": {"asker": ["packets"]},
        "test_a_raw_socket_of_a_client_is_led_too": {},
    },
    "test_partings": {
        "test_datagrams_end_at_once_of_containers_and_of_the_host": {},
        "test_a_mapped_address_ends_alike": {},
        "test_a_connection_lives_until_its_time_to_drain_is_over": {},
    },
}
NAMES = sorted(name for files in (HOSTS, SERVICES) for tests in files.values() for name in tests)


class Choice:
    """A plugin of pytest: chooses, and tells how each went."""

    def __init__(self, tests: Mapping[str, Chosen]) -> None:
        self._tests = tests

    def pytest_collection_modifyitems(self, items: list[pytest.Function]) -> None:
        items[:] = [item for item in items if self._is_chosen(item)]

    def _is_chosen(self, item: pytest.Function) -> bool:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        chosen = {"stood": [WAY], **self._tests[item.originalname]}
        return all(value in chosen.get(name, [value]) for name, value in params.items())

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.failed:
            name = report.nodeid.partition("::")[2].partition("[")[0]
            tell(name, report.longreprtext if report.failed else "")


def hosts() -> None:
    """Three, of which the first and the last see each other only by the second."""
    run(HOSTS)


def services() -> None:
    with serviced.scenes() as scene, shared(scene):
        run(SERVICES)


@contextmanager
def shared(scene: Scene) -> Iterator[None]:
    """Whoever asks for a scene gets this one."""
    made, serviced.scenes = serviced.scenes, lambda *_: nullcontext(scene)
    try:
        yield
    finally:
        serviced.scenes = made


def run(files: Mapping[str, Mapping[str, Chosen]]) -> None:
    """By pytest, without what only many tests need."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    tests = {name: chosen for file in files.values() for name, chosen in file.items()}
    wanted = [f"{NETNS / file}.py::{name}" for file, names in files.items() for name in names]
    options = ["--noconftest", "--capture=no", "--assert=plain", "--tb=short", "-q"]
    plugins = ["-p", "no:cacheprovider", "-p", "pytest_timeout"]
    limits = [f"--timeout={WITHIN}", "--override-ini=timeout_func_only=true"]  # a scene takes long
    code = pytest.main([*options, *plugins, *limits, *wanted], plugins=[Choice(tests)])
    assert code in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}, code
