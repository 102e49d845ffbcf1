"""The third part, on the same three hosts, chapter by chapter: the backends become a service, and
come and go. Each checks what it tells.

The client asks a gateway that knows nothing but the service's name, from the first chapter on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from cluster import Cluster
from story import BREATH, SETTLING, Site, asked_from, check, go_on, tell, title

GATEWAY = "gateway-2"
SERVICE = "shop/backend"
MADE = ("--network", "shop", "--selector", "app=backend", "--port", "80:8080")
HOW = ("--algorithm", "round-robin", "--check", "http:/ready,interval=1s")
PUBLISHED = "30080"  # port of each host
CHOSEN = 20.0  # seconds until those are chosen who serve
LOOK_UP = "import socket; print(*{found[4][0] for found in socket.getaddrinfo('backend', 80)})"


def a_service_is_found_by_name(cluster: Cluster) -> None:
    title("The backends become a service; a gateway finds them that knows its name alone")
    a, *_ = cluster.sites
    a.seaway("service", "create", "backend", *MADE, *HOW)
    a.start(GATEWAY, "shop", "python3", "/app/gateway.py", "backend")
    found = a.engine.call(GATEWAY, "python3", "-c", LOOK_UP).split()
    tell(f"  {GATEWAY} looks up `backend`: {', '.join(found)}")
    virtual = a.told("service", "inspect", SERVICE)["service"]["addresses"]
    check("these are the service's virtual addresses", sorted(found) == sorted(virtual))
    _wait_for(a, {"backend-b", "backend-c"})
    cluster.start_asking(GATEWAY)
    go_on(1.0)
    _tell_untroubled(cluster, {"backend-b", "backend-c"})


def replicas_are_added(cluster: Cluster) -> None:
    title("Two replicas are added under load, and nobody tells the gateway")
    a, _, c = cluster.sites
    began = time.monotonic()
    for site, name in ((a, "backend-d"), (c, "backend-e")):
        cluster.start_backend(site, name)
    _wait_for(a, {"backend-b", "backend-c", "backend-d", "backend-e"})
    tell(f"  both have passed the check, and are chosen, after {time.monotonic() - began:.1f} s")
    go_on(1.0)
    _tell_untroubled(cluster, {"backend-b", "backend-c", "backend-d", "backend-e"})


def a_replica_is_drained(cluster: Cluster) -> None:
    title("A replica is drained under load, and then removed")
    a, b, _ = cluster.sites
    a.seaway("service", "drain", SERVICE, _endpoint("backend-b"))
    _tell_untroubled(cluster, {"backend-b", "backend-c", "backend-d", "backend-e"})
    go_on(1.0)
    _tell_untroubled(cluster, {"backend-c", "backend-d", "backend-e"})
    tell(f"{b.prompt} ctr task kill --signal KILL backend-b")
    b.engine.remove("backend-b")
    go_on(BREATH)
    _tell_untroubled(cluster, {"backend-c", "backend-d", "backend-e"})
    a.seaway("service", "inspect", SERVICE)


def a_replica_is_killed(cluster: Cluster) -> None:
    title("A replica is killed under load, and nobody is warned")
    a, _, c = cluster.sites
    killed, began = str(c.engine.pid("backend-c")), time.monotonic()
    tell(f"{c.prompt} kill -9 {killed}")
    c.host.run("kill", "-KILL", killed)
    _wait_for(a, {"backend-d", "backend-e"})
    tell(f"  host1 chooses it no more after {time.monotonic() - began:.2f} s")
    go_on(SETTLING)
    cluster.tell_seen()
    go_on(1.0)
    _tell_untroubled(cluster, {"backend-d", "backend-e"})


def the_port_is_open_on_every_host(cluster: Cluster) -> None:
    title("The service's port is published: outside, each host is asked for it")
    a, _, c = cluster.sites
    outside, publish = cluster.outside, ("--publish", f"{PUBLISHED}:80", "--algorithm", "maglev")
    a.seaway("service", "update", SERVICE, *publish)
    for site in cluster.sites:
        for address in (site.host.address4, site.host.address6):
            ask = partial(asked_from, outside, address, PUBLISHED)
            site.host.wait_for("the port's being open", lambda ask=ask: not ask(0.01).failed)
            report = ask(0.3)
            tell(f"  {site.host.name}, {address}, port {PUBLISHED}: {report}")
            check("nothing failed", not report.failed)
    for site, name in ((a, "backend-d"), (c, "backend-e")):
        known = {str(outside.address4), str(outside.address6)} & site.clients(name)
        check(f"{name}'s log names who asked: {', '.join(sorted(known))}", len(known) == 2)
    _tell_untroubled(cluster, {"backend-d", "backend-e"})


def the_hosts_are_healthy(cluster: Cluster) -> None:
    title("What the client saw of all that, and what the hosts say of themselves")
    for site in cluster.sites:
        status = site.agent.status()
        told = (len(status.failures), status.drift_total)
        check(f"{site.host.name}: nothing fails, nothing was changed by others", told == (0, 0))
    cluster.seen()
    answered, failed, again = (
        sum(sum(counts.values()) for counts in each)
        for each in zip(*((r.answered, r.failed, r.retried) for r in cluster.reports), strict=True)
    )
    tell(f"  of {answered + failed} requests {failed} failed, {again} were tried twice")
    check("the client saw nothing fail", not failed)


Chapter = Callable[[Cluster], None]
CHAPTERS: tuple[Chapter, ...] = (
    a_service_is_found_by_name,
    replicas_are_added,
    a_replica_is_drained,
    a_replica_is_killed,
    the_port_is_open_on_every_host,
    the_hosts_are_healthy,
)


def _tell_untroubled(cluster: Cluster, backends: set[str]) -> None:
    """These backends answered, and everything at once."""
    report = cluster.tell_seen()
    check("no request had to be tried twice", not report.retried)
    check(f"{', '.join(sorted(backends))} answered", set(report.answered) == backends)


def _wait_for(site: Site, backends: set[str]) -> None:
    """Until these are whom its host chooses."""
    wanted = {_endpoint(name) for name in backends}
    site.host.wait_for("the choice of backends", lambda: _chosen(site) == wanted, CHOSEN)


def _chosen(site: Site) -> set[str]:
    return {backend.name for backend in site.agent.service(SERVICE).backends if backend.chosen}


def _endpoint(name: str) -> str:
    """As CNI's caller has named it."""
    return f"default-{name}"
