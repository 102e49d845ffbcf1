"""The subnets of VIPs: known as ours, and reached by nobody."""

from __future__ import annotations

from ipaddress import ip_network

from seaway.desired.catalogue import DERIVATIONS
from seaway.desired.indexes import INDEXES
from seaway.desired.network.networks import SERVICES
from seaway.facts import Facts
from seaway.model.facts import Cluster
from seaway.model.kernel import Route

VIPS = ip_network("10.223.0.0/16"), ip_network("fd00:0:0:ff::/112")


def test_what_goes_to_a_vip_itself_goes_nowhere() -> None:
    facts = Facts(DERIVATIONS, INDEXES)
    cluster = Cluster(id="c", pools=(), service_subnets=VIPS, host_subnets=())
    facts.change(Cluster, "cluster", cluster)
    derived = facts.derive()
    assert dict.fromkeys(VIPS, SERVICES) == derived["subnets"]
    assert {prefix: Route(prefix, "") for prefix in VIPS} == derived["routes"]

    facts.change(Cluster, "cluster", None)
    derived = facts.derive()
    assert dict.fromkeys(VIPS) == derived["subnets"] == derived["routes"]
