"""The first part, on one host, chapter by chapter. Each checks what it tells."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from story import (
    BREATH,
    IDLE,
    PORT,
    PUBLISHED,
    UNAVAILABLE,
    Report,
    Story,
    check,
    go_on,
    listed,
    tell,
    title,
)

BACKENDS = ("backend-1", "backend-2", "backend-3")
FALSE_SOURCE = "192.0.2.66"  # an address of documentation: nobody's
REFUSED = "[Errno 111] Connection refused"
PATIENCE = 1.0  # seconds that a stranger waits for an answer


def containers_start(story: Story) -> None:
    title("containerd starts an API gateway, three backends and a client on one network")
    story.seaway("network", "create", "shop")
    for name in BACKENDS:
        story.start(name, "shop", "python3", "/app/backend.py", name)
    backends = (",".join(story.addresses[name]) for name in BACKENDS)
    story.start("gateway", "shop", "python3", "/app/gateway.py", *backends)
    story.start("client", "shop", *IDLE)
    listed = story.seaway("endpoint", "ls")
    everywhere = [address for name in story.addresses for address in story.addresses[name]]
    check(
        "each container has an IPv4 and an IPv6 address, and is listed with them",
        len(everywhere) == 10 and all(address in listed for address in everywhere),
    )


def requests_pass(story: Story) -> None:
    title("Requests go through the gateway to every backend, by IPv4 and by IPv6")
    for address in story.addresses["gateway"]:
        story.host.wait_for("the gateway's start", partial(_is_served, story, address))
        report = story.ask(address, 1.0)
        tell(f"  {address}: {report}")
        check("every backend answered, and nothing failed", _is_whole(report))


def a_lie_is_dropped(story: Story) -> None:
    title("A backend lies about its source address")
    (true, *_), (gateway, *_) = story.addresses["backend-1"], story.addresses["gateway"]
    liar = ("endpoint", "inspect", "shop/default-backend-1")
    with story.counting(*liar) as dropped:
        story.python("backend-1", "spoof.py", true, FALSE_SOURCE, gateway)
    tell(f"  it sent one packet from {true}, and one from {FALSE_SOURCE}")
    check("one of the two was dropped as a lie", dropped.get("spoofed_address") == 1)
    shown = story.seaway(*liar)
    check("`endpoint inspect` tells whose it was, and why", "spoofed_address 1" in shown)


def networks_are_closed(story: Story) -> None:
    title("A stranger on another network knocks at the gateway")
    story.seaway("network", "create", "other")
    story.start("stranger", "other", *IDLE)
    gateway = story.addresses["gateway"][0]
    with story.counting("status") as dropped:
        check("the stranger is not let in", not _is_served(story, gateway, "stranger"))
    isolated = dropped.get("isolated", 0)
    check(f"its packets were dropped, and `status` tells why: isolated {isolated}", isolated > 0)
    story.seaway("network", "connect", "other", "shop")
    check("connected by name, the networks talk", _is_served(story, gateway, "stranger"))
    story.seaway("network", "disconnect", "other", "shop")
    check("and disconnected they do not", not _is_served(story, gateway, "stranger"))


def the_shop_opens(story: Story) -> None:
    title("The gateway is reached from outside, though the host's firewall forwards nothing")
    host, outside = story.host, story.outside
    for tables in ("iptables", "ip6tables"):
        tell(f"$ {tables} --policy FORWARD DROP")
        host.run(tables, "--policy", "FORWARD", "DROP")
    closed = story.ask_from(outside, host.address4, 0.01)
    check("a port that is not published is refused", {REFUSED: closed.sent} == closed.failed)
    story.seaway("endpoint", "publish", "shop/default-gateway", f"{PUBLISHED}:{PORT}")
    for address in (host.address4, host.address6):
        report = story.ask_from(outside, address, 0.5)
        tell(f"  {address}, port {PUBLISHED}, from outside: {report}")
        check("every backend answered, and nothing failed", _is_whole(report))
    for itself in ("127.0.0.1", "::1"):
        own = story.ask_from(host, itself, 0.05)
        check(f"the host itself is served at {itself}", not own.failed)
    for name in BACKENDS:
        seen = story.clients(name)
        known = {str(outside.address4), str(outside.address6)} & seen
        check(f"{name}'s log names the host outside: {', '.join(sorted(known))}", len(known) == 2)


def the_agent_dies(story: Story) -> None:
    title("The agent is killed while requests are running, from inside and outside")
    before = story.told("endpoint", "ls")
    with (
        story.load(story.addresses["gateway"][0]) as inside,
        story.load_from_outside() as outside,
    ):
        go_on(BREATH)
        tell(f"$ kill -9 {story.host.agent_pid()}")
        story.host.kill_agent()
        gone = story.host.call("seaway", "status")
        tell(f"$ seaway status\n{gone.stderr.strip()}")
        check("nobody answers commands", gone.returncode == UNAVAILABLE)
        go_on(BREATH)
        began = time.monotonic()
        story.host.start_agent()
        tell(f"  a new agent is ready after {time.monotonic() - began:.1f} s")
        go_on(BREATH)
        reports = {"inside": inside.report(), "outside": outside.report()}
    for whence, report in reports.items():
        twice = listed(report.retried) or "none"
        tell(f"  from {whence}: {report}; sent twice: {twice}")
        check("no request was lost, and none was sent twice", _is_whole(report))
    check("the new agent has every endpoint as it was", _same(before, story.told("endpoint", "ls")))
    check("and nothing had to be repaired", story.told("status")["drift_total"] == 0)


def a_container_vanishes(story: Story) -> None:
    title("A container is killed, and nobody tells the network")
    began = time.monotonic()
    story.engine.remove("stranger")
    nobody = partial(story.told, "endpoint", "ls", "--network", "other")
    story.host.wait_for("the release of its address", lambda: nobody() == [])
    check(f"it is released by itself, in {time.monotonic() - began:.1f} s", nobody() == [])
    story.seaway("network", "rm", "other")


def the_host_is_healthy(story: Story) -> None:
    title("What the host says of itself")
    story.seaway("status")
    status = story.told("status")
    check(
        "five endpoints, nothing fails, nothing was changed behind our back",
        (status["endpoints"], status["failures"], status["drift_total"]) == (5, [], 0),
    )
    story.seaway("doctor")
    levels = {finding["level"] for finding in story.told("doctor")}
    check("the doctor finds no error", "ok" in levels and "error" not in levels)


Chapter = Callable[[Story], None]
CHAPTERS: tuple[Chapter, ...] = (
    containers_start,
    requests_pass,
    a_lie_is_dropped,
    networks_are_closed,
    the_shop_opens,
    the_agent_dies,
    a_container_vanishes,
    the_host_is_healthy,
)


def _is_served(story: Story, address: str, who: str = "client") -> bool:
    """Whether one request is answered."""
    return not story.ask(address, 0.01, PATIENCE, who=who).failed


def _is_whole(report: Report) -> bool:
    """Every backend answered, and everything at once."""
    return set(report.answered) == set(BACKENDS) and not (report.failed or report.retried)


def _same(before: list[dict[str, object]], after: list[dict[str, object]]) -> bool:
    """But for the counters."""
    return [e | {"drops": []} for e in before] == [e | {"drops": []} for e in after]
