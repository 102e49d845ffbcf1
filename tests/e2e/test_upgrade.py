"""Another build takes over under traffic: other code, other maps, and back again.

┌─────────────────────── host1 ───────────────────────┐
│ ┌── a ──┐  ┌── b ──┐   exchange packets throughout  │
│ └───┬───┘  └───┬───┘                                │
│  programs and maps of one build, then of the other  │
└─────────────────────────────────────────────────────┘
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests import builds
from tests.evidence import Evidence, differences
from tests.flow import PORT
from tests.flows import Place, assert_unharmed, flowing
from tests.hooks import watched

import seaway
from seaway import names
from seaway.bpf import tcx
from seaway.bpf.objects import OBJECTS
from seaway.lab import LabHost

PACKAGE = Path(seaway.__file__).parent


@pytest.fixture
def other_build(tmp_path: Path, built: Callable[..., Path]) -> Callable[..., Path]:
    """Makes an installation like ours whose programs are of changed sources; its folder."""

    def make(*changes: dict[str, tuple[str, str]]) -> Path:
        shutil.copytree(PACKAGE, tmp_path / "lib" / "seaway")
        objects = tmp_path / "lib" / "seaway" / OBJECTS.relative_to(PACKAGE)
        shutil.copytree(built(*changes), objects, dirs_exist_ok=True)
        return tmp_path / "lib"

    return make


@pytest.fixture(params=["cls_bpf", "tcx"])
def host(lab_host: LabHost, request: pytest.FixtureRequest) -> LabHost:
    if request.param == "tcx" and not tcx.available():
        pytest.skip("this kernel has no TCX")
    lab_host.write(names.CONFIG_FILE, f'[agent]\nattach = "{request.param}"\n')
    lab_host.start_agent()
    for name in ("a", "b"):
        lab_host.run("ip", "netns", "add", name)
        lab_host.seaway("attach", name, "--name", name)
    lab_host.seaway("endpoint", "publish", "b", f"{PORT}:{PORT}", f"{PORT}:{PORT}/udp")
    lab_host.wait_for("addresses", lambda: "tentative" not in lab_host.run("ip", "-6", "a"))
    return lab_host


def take_over(host: LabHost, build: Path) -> None:
    """As a package's update does it: the old agent ends, the new one starts."""
    pid = host.agent_pid()
    host.run("kill", "-TERM", str(pid))
    host.wait_for("its end", lambda: host.call("kill", "-0", str(pid)).returncode != 0)
    agent = ("env", f"PYTHONPATH={build}", sys.executable, "-m", "seaway", "agent")
    host.start(*agent, log=names.LOG_FILE)
    host.wait_for("the next agent", host.agent_is_ready, within=60)


@contextmanager
def traffic(host: LabHost, evidence: Evidence) -> Iterator[dict[str, Any]]:
    """Nothing of it is lost, no connection breaks, no hook is ever bare."""
    reports = {r.endpoint.name: r for r in evidence.client.endpoints()}
    a, b = (
        [Place(name, str(i.ip)) for i in reports[name].endpoint.addresses] for name in ("a", "b")
    )
    own = Place("", str(evidence.client.status().addresses[0]))
    public, loopback = Place("b", str(host.address4)), Place("b", "::1")
    tcp = [(a[0], b[0]), (b[1], a[1]), (own, a[0]), (b[0], own), (a[0], public), (own, loopback)]
    udp = [(a[0], b[0]), (a[1], b[1]), (own, b[0]), (a[0], public), (own, loopback)]
    with ExitStack() as stack:
        found = stack.enter_context(watched(host, [r.link for r in reports.values()]))
        streams = stack.enter_context(flowing(host, tcp))
        packets = stack.enter_context(flowing(host, udp, "udp"))
        yield found
        found |= {"tcp": assert_unharmed(streams), "udp": assert_unharmed(packets)}
    assert [0] * len(udp) == [flow["lost"] for flow in found["udp"]]
    assert 0 == found["bare"]
    assert found["looks"] > 100


@pytest.mark.parametrize(
    ("host", "change"),
    [
        pytest.param("cls_bpf", builds.OTHER_LAYOUT, id="cls_bpf-other maps"),
        pytest.param("tcx", builds.OTHER_CODE, id="tcx-other code"),
        pytest.param("cls_bpf", builds.OTHER_CODE, id="cls_bpf-other code", marks=pytest.mark.soak),
        pytest.param("tcx", builds.OTHER_LAYOUT, id="tcx-other maps", marks=pytest.mark.soak),
    ],
    indirect=["host"],
)
def test_the_next_build_takes_over_without_a_lost_packet_and_so_does_the_last(
    host, other_build, change, tell
):
    evidence, new = Evidence(host), other_build(change)
    before, layout = evidence.all(), evidence.client.status().layout
    with traffic(host, evidence) as found:
        take_over(host, new)
        during = evidence.all()
        now = evidence.client.status().layout
        take_over(host, PACKAGE.parent)

    assert (now == layout) == (change is builds.OTHER_CODE)
    same = {"maps", "links", "routes", "endpoints"}
    assert not same & differences(before, during).keys()
    folders = {pin.partition("/")[0] for pin in during["pins"]}
    assert {now, "state", "sockets"} == folders - {"uplinks"}
    assert len(before["pins"]) == len(during["pins"])
    if change is builds.OTHER_CODE:
        assert before["programs"].keys() == differences(before, during)["programs"].keys()
    assert {} == differences(before, evidence.all())
    messages = sum(flow["messages"] for flow in found["udp"] + found["tcp"])
    tell(f"{messages} messages and {found['looks']} looks: none lost, no hook bare")
