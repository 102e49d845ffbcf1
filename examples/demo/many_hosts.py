"""The second part, on three hosts, chapter by chapter. Each checks what it tells.

The client asks the gateway all the time, from the second chapter on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from cluster import Cluster
from story import BREATH, IDLE, SETTLING, UNAVAILABLE, Site, check, go_on, tell, title

BACKENDS = {"backend-b", "backend-c"}
SLOW = "20"  # ms, each way
FOUND = 30.0  # seconds until a link that comes up is known
THROUGH_B = {"host2": ("host2",), "host3": ("host2", "host3")}
BY_THE_SLOW_LINE = {"host2": ("host3", "host2"), "host3": ("host3",)}


def three_hosts_join(cluster: Cluster) -> None:
    title("Three hosts become one cluster: host1 and host3 see each other only through host2")
    a, b, c = cluster.sites
    tell(f"{a.prompt} seaway init --etcd {cluster.etcd.urls[0]} ...   (that etcd runs on host2)")
    tell(f"{b.prompt} seaway join TOKEN {a.host.address4}")
    tell(f"{c.prompt} seaway join TOKEN {b.host.address4}")
    a.seaway("host", "ls")
    check("the wire passes nothing between host1 and host3", not a.host.reaches(c.host.address4))
    stores = {site.agent.status().store for site in cluster.sites}
    check("all three have their records in etcd", stores == {"etcd"})


def requests_cross_hosts(cluster: Cluster) -> None:
    title("A gateway and its client on host1, a backend on host2 and one on host3")
    a, b, c = cluster.sites
    a.seaway("network", "create", "shop", "--routing", "latency")
    for site, name in ((b, "backend-b"), (c, "backend-c")):
        site.host.wait_for("the network's being known there", partial(_knows_shop, site))
        cluster.start_backend(site, name)
    backends = (",".join(found) for found in (b.addresses["backend-b"], c.addresses["backend-c"]))
    a.start("gateway", "shop", "python3", "/app/gateway.py", *backends)
    a.start("client", "shop", *IDLE)
    cluster.start_asking("gateway")
    a.host.wait_for("the first measures of links", lambda: cluster.goes(THROUGH_B), FOUND)
    a.seaway("route", "ls", "--routing", "latency")
    check("packets for host3 go through host2", cluster.goes(THROUGH_B))
    go_on(1.0)
    _tell_seen(cluster)


def a_slow_line_is_laid(cluster: Cluster) -> None:
    title(f"A slow line is laid between host1 and host3, {SLOW} ms each way")
    a, _, c = cluster.sites
    tell(cluster.link(a, c, "delay", SLOW))
    began = time.monotonic()
    for site, other in ((a, c), (c, a)):
        site.host.wait_for("its being known", partial(_sees, site, other), FOUND)
    tell(f"  both ends know it after {time.monotonic() - began:.1f} s")
    check("the shop goes by latency, and so through host2 as before", cluster.goes(THROUGH_B))


def the_store_is_stopped(cluster: Cluster) -> None:
    title("The store is stopped; what needs it waits, all else goes on")
    a, b, c = cluster.sites
    cluster.etcd.stop(b.host)
    tell("  etcd on host2 is stopped")
    new = ("network", "create", "late")
    refused = a.host.call("seaway", *new)
    tell(f"{a.prompt} seaway {' '.join(new)}\n{refused.stderr.strip()}")
    check("what others have a say in is refused for now", refused.returncode == UNAVAILABLE)
    c.start("visitor", "shop", *IDLE)
    check("a container that starts on host3 is served", cluster.is_served(c, "gateway", "visitor"))
    _tell_store(c)
    status = c.agent.status()
    check(
        "host3 says what waits: one record", (bool(status.store_lost), status.unsent) == (True, 1)
    )
    check("host1 has not heard of it", not _has_heard(a, "visitor"))
    _tell_seen(cluster)


def the_store_is_back(cluster: Cluster) -> None:
    title("The store is started; what waited is made up for")
    a, _, c = cluster.sites
    cluster.etcd.start()
    tell("  etcd on host2 runs again")
    began = time.monotonic()
    a.host.wait_for("the record of the visitor", partial(_has_heard, a, "visitor"), FOUND)
    tell(f"  host1 has heard of the container on host3 {time.monotonic() - began:.1f} s later")
    c.host.wait_for("its having been sent", lambda: not c.agent.status().unsent)
    _tell_store(c)
    a.seaway("network", "create", "late")
    _tell_seen(cluster)


def a_link_is_cut(cluster: Cluster) -> None:
    title("The link between host1 and host2 is cut, by which both backends were reached")
    a, b, _ = cluster.sites
    a.seaway("route", "ls", "--to", "host3")
    check("the slow line is kept for this", cluster.goes(THROUGH_B))
    cluster.seen()
    began = time.monotonic()
    tell(cluster.link(a, b, "down"))
    a.host.wait_for("another path", lambda: cluster.goes(BY_THE_SLOW_LINE))
    tell(f"  host1 knows another path after {time.monotonic() - began:.1f} s")
    a.seaway("route", "ls", "--routing", "latency")
    go_on(SETTLING)
    _tell_seen(cluster)


def the_link_is_there_again(cluster: Cluster) -> None:
    title("The link is there again")
    a, b, _ = cluster.sites
    began = time.monotonic()
    tell(cluster.link(a, b, "up"))
    a.host.wait_for("the former path", lambda: cluster.goes(THROUGH_B), FOUND)
    tell(f"  the former path is taken again after {time.monotonic() - began:.1f} s")
    go_on(BREATH)
    _tell_seen(cluster)


Chapter = Callable[[Cluster], None]
CHAPTERS: tuple[Chapter, ...] = (
    three_hosts_join,
    requests_cross_hosts,
    a_slow_line_is_laid,
    the_store_is_stopped,
    the_store_is_back,
    a_link_is_cut,
    the_link_is_there_again,
)


def _tell_seen(cluster: Cluster) -> None:
    check("both backends answered", set(cluster.tell_seen().answered) == BACKENDS)


def _tell_store(site: Site) -> None:
    tell(f"{site.prompt} seaway status | grep store")
    lines = site.host.seaway("status").splitlines()
    tell("\n".join(line.rstrip() for line in lines if line.startswith("store")))


def _knows_shop(site: Site) -> bool:
    return "shop" in {report.network.name for report in site.agent.networks()}


def _sees(site: Site, other: Site) -> bool:
    return other.host.name in {link.host for link in site.agent.links().links if link.up}


def _has_heard(site: Site, name: str) -> bool:
    """Whether a host knows by the records who has an address."""
    holders = (holder for block in site.agent.ipam() for holder in block.holders)
    return any(name in holder.reason for holder in holders)
