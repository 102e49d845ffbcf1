"""Intents against a fake kernel: what is asked for is there, what is refused changes nothing."""

from __future__ import annotations

import asyncio
import errno
import json
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.agents import Agent, routes, run

from seaway.desired.network.networks import TABLE
from seaway.errors import (
    Conflict,
    ContainerGone,
    Exhausted,
    Invalid,
    NotFound,
    SeawayError,
    SystemFailed,
    Unavailable,
)
from seaway.model import codec
from seaway.model.addresses import ForeignPrefix
from seaway.model.facts import Attached, Endpoint, Host, Network, Publication, endpoint_id
from seaway.model.requests import IpRange, NetworkChange, NewEndpoint, NewNetwork
from seaway.names import link_name


def test_an_attached_endpoint_has_its_link_programs_entries_and_routes(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        endpoint = await agent.attach("web")
        link = link_name(endpoint.id)

        assert ("10.208.0.1", "fd00:5ea::1") == tuple(str(a.ip) for a in endpoint.addresses)
        assert {link} == agent.kernel["links"].read().keys()
        assert {(link, "ingress"), (link, "egress")} == agent.kernel["attachments"].read().keys()
        assert {a.ip for a in endpoint.addresses} == agent.kernel["endpoints"].read().keys()
        routes = agent.kernel["routes"].read()
        assert link == routes[ip_network("10.208.0.1/32")].device
        assert "" == routes[ip_network("10.208.0.0/18")].device

    run(tmp_path, scenario)


def test_after_detach_the_kernel_is_as_before_and_the_address_comes_again_last(
    tmp_path: Path,
) -> None:
    async def scenario(agent: Agent) -> None:
        before = agent.state()
        endpoint = await agent.attach("web")
        await agent.intents.detach(endpoint.id)
        assert before == agent.state()
        assert endpoint.addresses != (await agent.attach("web")).addresses

    run(tmp_path, scenario)


def test_what_the_kernel_refuses_is_taken_back_whole(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        before = agent.state()
        for target, error, kind in (
            ("links", OSError(errno.EEXIST, "exists"), Conflict),
            ("links", OSError(errno.ESTALE, "gone"), ContainerGone),
            ("routes", OSError(errno.ENOMEM, "no memory"), SystemFailed),
        ):
            link = link_name(endpoint_id("web", "eth0"))
            key = link if target == "links" else ip_network("10.208.0.1/32")
            agent.kernel[target].refuses = {key: error}
            if target == "routes":  # whichever address it gets
                agent.kernel[target].refuses = {
                    ip_network(f"10.208.0.{i}/32"): error for i in range(1, 64)
                }
            with pytest.raises(kind):
                await agent.attach("web")
            agent.kernel[target].refuses = {}
            assert before == agent.state()
            assert [] == agent.intents.endpoints()

    run(tmp_path, scenario)


BAD: list[tuple[dict[str, Any], type[SeawayError], str]] = [
    ({"network": "nowhere"}, NotFound, "known: default"),
    ({"interface": "a/b"}, Invalid, "interface name"),
    ({"interface": "x" * 16}, Invalid, "too long"),
    ({"interface": "ä" * 8}, Invalid, "too long"),
    ({"interface": "a\x1b"}, Invalid, "interface name"),
    ({"interface": "à"}, Invalid, "interface name"),  # one of its bytes is a space to the kernel
    ({"interface": "lo"}, Invalid, "reserved"),
    ({"container": "-bad"}, Invalid, "container id"),
    ({"name": "bad name"}, Invalid, "endpoint name"),
    ({"name": "first"}, Conflict, "is taken"),
    ({"mac": "01:00:00:00:00:00"}, Invalid, "multicast"),
    ({"mac": "zz"}, Invalid, "no MAC"),
    ({"mtu": 100}, Invalid, "MTU 100"),
    ({"addresses": (ip_address("192.0.2.1"),)}, Invalid, "outside network"),
    ({"addresses": (ip_address("10.208.0.0"),)}, Invalid, "first or last"),
    ({"addresses": (ip_address("10.208.0.1"),)}, Conflict, "taken by endpoint 'first'"),
    ({"addresses": (ip_address("10.208.0.8"), ip_address("10.208.0.9"))}, Invalid, "more than one"),
    ({"ranges": (IpRange(subnet=ip_network("192.0.2.0/24")),)}, Invalid, "outside network"),
    ({"foreign": (ip_interface("192.0.2.1/24"),)}, Invalid, "outside network"),
    ({"foreign": (ip_interface("10.208.0.1/18"),)}, Conflict, "taken by endpoint"),
    ({"labels": {"": "x"}}, Invalid, "label"),
    ({"labels": {"a": "x\ny"}}, Invalid, "label"),
    ({"aliases": ("web one",)}, Invalid, "alias"),
    ({"aliases": ("web\n",)}, Invalid, "alias"),
]


@pytest.mark.parametrize(("request_", "kind", "words"), BAD, ids=lambda v: str(v)[:40])
def test_a_bad_attach_is_told_in_one_line_and_changes_nothing(
    tmp_path: Path, request_: dict[str, Any], kind: type[SeawayError], words: str
) -> None:
    async def scenario(agent: Agent) -> None:
        await agent.attach("first")
        before = agent.state(), (await agent.store.load()).items
        with pytest.raises(kind, match=words) as caught:
            await agent.attach("second", **request_)
        assert "\n" not in str(caught.value)
        assert before == (agent.state(), (await agent.store.load()).items)
        assert ip_interface("10.208.0.2/32") in (await agent.attach("third")).addresses

    run(tmp_path, scenario)


def test_a_namespace_that_is_gone_and_a_second_attach_are_refused(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        with pytest.raises(ContainerGone):
            await agent.intents.attach(NewEndpoint(netns="/nowhere", network="default"))
        await agent.attach("web")
        with pytest.raises(Conflict, match="attached already"):
            await agent.attach("web")

    run(tmp_path, scenario)


def test_the_hosts_own_namespace_is_no_containers(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        before = agent.state()
        agent.host.namespaces["/proc/1/ns/net"] = agent.host.host_netns()
        for netns in ("/proc/1/ns/net", "/proc/self/ns/net"):
            with pytest.raises(Invalid, match="the host's own network namespace"):
                await agent.intents.attach(NewEndpoint(netns=netns, network="default"))
        assert before == agent.state()
        assert [] == agent.intents.endpoints()

    run(tmp_path, scenario)


def test_a_network_that_is_full_says_so(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        small = NewNetwork(name="small", subnets=(ip_network("10.213.0.0/30"),))
        await agent.intents.create_network(small)
        await agent.attach("a", network="small")
        await agent.attach("b", network="small")
        with pytest.raises(Exhausted, match="no free IPv4 address"):
            await agent.attach("c", network="small")
        await agent.intents.detach("a")
        assert "10.213.0.1" == str((await agent.attach("c", network="small")).addresses[0].ip)

    run(tmp_path, scenario)


HERE = [ForeignPrefix(ip_network("198.18.0.0/24"), "a network that this host is in", yields=False)]
BAD_NETWORKS: list[tuple[NewNetwork, type[SeawayError], str]] = [
    (NewNetwork(name="Upper"), Invalid, "no network name"),
    (NewNetwork(name="default"), Conflict, "already"),
    (NewNetwork(name="a", subnets=(ip_network("10.208.1.0/24"),)), Conflict, "overlaps"),
    (
        NewNetwork(name="a", subnets=(ip_network("fd99::/64"),), families=(4,)),
        Invalid,
        "of IPv6, but IPv4 was asked for",
    ),
    (NewNetwork(name="a", subnets=(ip_network("10.223.1.0/24"),)), Conflict, "overlaps"),
    (
        NewNetwork(name="a", subnets=(ip_network("203.0.113.0/25"),)),
        Conflict,
        "a route of this host",
    ),
    (
        NewNetwork(name="a", subnets=(ip_network("198.18.0.0/25"),)),
        Conflict,
        r"overlaps 198\.18\.0\.0/24, a network that this host is in",
    ),
    (NewNetwork(name="a", subnets=(ip_network("127.0.0.0/24"),)), Invalid, "unicast"),
    (NewNetwork(name="a", families=(5,)), Invalid, "IPv4, IPv6 or both"),
    (NewNetwork(name="a", families=(4, 4)), Invalid, "IPv4, IPv6 or both"),
    (NewNetwork(name="a", mtu=70000), Invalid, "MTU"),
]


@pytest.mark.parametrize(("request_", "kind", "words"), BAD_NETWORKS, ids=lambda v: str(v)[:40])
def test_a_bad_network_is_told_in_one_line_and_changes_nothing(
    tmp_path: Path, request_: NewNetwork, kind: type[SeawayError], words: str
) -> None:
    async def scenario(agent: Agent) -> None:
        agent.host.foreign = [*routes("203.0.113.0/24", "0.0.0.0/0"), *HERE]
        if request_.subnets and request_.subnets[0] == ip_network("203.0.113.0/25"):
            agent.host.foreign = [*routes("203.0.113.0/25")]
        before = agent.state(), (await agent.store.load()).items
        with pytest.raises(kind, match=words):
            await agent.intents.create_network(request_)
        assert before == (agent.state(), (await agent.store.load()).items)

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("subnet", "words"),
    [
        ("172.30.4.0/24", ["the host's route to 172.16.0.0/12 is less specific"]),
        ("8.8.8.0/24", ["subnet 8.8.8.0/24 is of public addresses"]),
        ("2600:1::/64", ["subnet 2600:1::/64 is of public addresses"]),
        ("203.0.113.0/24", []),
        ("fd77::/64", []),
    ],
)
def test_a_subnet_that_keeps_the_host_from_others_is_taken_with_a_warning(
    tmp_path: Path, subnet: str, words: list[str]
) -> None:
    async def scenario(agent: Agent) -> None:
        agent.host.foreign = list(routes("172.16.0.0/12", "0.0.0.0/0", "::/0"))
        made = await agent.intents.create_network(
            NewNetwork(name="a", subnets=(ip_network(subnet),))
        )
        assert len(words) == len(made.warnings)
        assert all(told.startswith(word) for told, word in zip(made.warnings, words, strict=True))

    run(tmp_path, scenario)


def test_networks_are_made_from_the_pools_connected_updated_and_removed(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        intents = agent.intents
        one = await intents.create_network(NewNetwork(name="one"))
        two = await intents.create_network(NewNetwork(name="two", families=(6,)))
        assert ("10.208.64.0/18", "fd00:5ea:0:1::/64") == tuple(str(s) for s in one.subnets)
        assert ("fd00:5ea:0:2::/64",) == tuple(str(s) for s in two.subnets)

        await intents.connect_networks("one", "two")
        await intents.connect_networks("two", "one")
        assert {(2, 3), (3, 2)} == agent.kernel["connections"].read().keys()
        assert ("two",) == intents.network("one").connected

        await intents.update_network("one", NetworkChange(masquerade=False))
        sources = agent.kernel["nft"].read()["table"].sources
        assert not set(one.subnets) & set(sources)

        await intents.remove_network("two")
        assert {} == agent.kernel["connections"].read()
        assert () == intents.network("one").connected
        await agent.attach("web", network="one")
        with pytest.raises(Conflict, match="1 endpoints: web"):
            await intents.remove_network("one")
        assert (await intents.create_network(NewNetwork(name="again"))).number == 4

    run(tmp_path, scenario)


def test_a_network_of_a_host_that_others_reach_leaves_room_for_what_carries_it(
    tmp_path: Path,
) -> None:
    async def scenario(agent: Agent) -> None:
        underlay = (ip_address("192.0.2.1"),)
        reached = replace(agent.intents.host, underlay=underlay)
        agent.intents.facts.change(Host, reached.name, reached)

        assert 1450 == (await agent.intents.create_network(NewNetwork(name="a"))).mtu
        assert 1500 == (await agent.intents.create_network(NewNetwork(name="b", mtu=1500))).mtu

    run(tmp_path, scenario)


def test_a_second_interface_of_a_container_routes_only_its_own_network(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        other = await agent.intents.create_network(NewNetwork(name="other"))
        first = await agent.attach("web")
        second = await agent.attach("web", network="other", interface="eth1")
        links = agent.kernel["links"].read()

        assert first.default_route
        assert not second.default_route
        inside = links[link_name(second.id)].inside
        assert set(other.subnets) == {route.dst for route in inside.routes}
        containers = {v.container for v in agent.kernel["endpoints"].read().values()}
        assert 1 == len(containers)

    run(tmp_path, scenario)


def test_a_name_that_two_containers_share_lets_neither_use_the_others_addresses(
    tmp_path: Path,
) -> None:
    async def scenario(agent: Agent) -> None:
        await agent.attach("web", container="same", name="one")
        await agent.attach("other", container="same", name="two", interface="eth1")

        records = agent.kernel["interfaces"].read().values()
        assert 2 == len({record.container for record in records})

    run(tmp_path, scenario)


def test_an_add_is_done_when_the_container_can_send_and_others_go_on_meanwhile(
    tmp_path: Path,
) -> None:
    async def scenario(agent: Agent) -> None:
        other = await agent.attach("other")
        assert link_name(other.id) == await agent.host.awaited.get()
        agent.host.working.clear()
        async with asyncio.TaskGroup() as group:
            adding = group.create_task(agent.attach("web"))
            await agent.host.awaited.get()
            await agent.intents.detach(other.id)
            assert not adding.done()
            agent.host.working.set()
        assert ["web"] == [r.endpoint.name for r in agent.intents.endpoints()]

    run(tmp_path, scenario)


def test_an_endpoint_whose_container_vanished_is_released(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        before = agent.state()
        endpoint = await agent.attach("web")
        del agent.host.namespaces["/run/netns/web"]
        del agent.kernel["links"].objects[link_name(endpoint.id)]
        await agent.intents.vanished(link_name(endpoint.id))
        assert before == agent.state()
        assert [] == agent.intents.endpoints()

    run(tmp_path, scenario)


def test_a_later_namespace_with_the_same_inode_is_another_container(tmp_path: Path) -> None:
    """The kernel gives the inode of one that is gone to the next one; the cookie, never again."""

    async def scenario(agent: Agent) -> None:
        for path, cookie in {"/run/netns/a": 5, "/run/netns/b": 6}.items():
            agent.host.namespaces[path], agent.host.cookies[path] = 4026532000, cookie
        first, second = await agent.attach("a", container=""), await agent.attach("b", container="")
        assert ("netns-5", "netns-6") == (first.container, second.container)
        assert second.default_route

        agent.host.cookies["/run/netns/a"] = 7
        await agent.intents.vanished(link_name(first.id), there=True)
        assert [second] == [r.endpoint for r in agent.intents.endpoints()]

    run(tmp_path, scenario)


def test_a_namespace_that_was_noted_without_its_cookie_is_known_by_its_inode(
    tmp_path: Path,
) -> None:
    """As an older version did."""

    async def scenario(agent: Agent) -> None:
        endpoint = await agent.attach("web")
        written = json.loads(codec.encode(endpoint))
        del written["netns_cookie"], written["boot"]
        old = codec.decode(json.dumps(written), Endpoint)
        await agent.intents.records.commit([old])
        agent.host.cookies[old.netns] = 5

        await agent.intents.vanished(link_name(old.id), there=True)
        assert [old] == [r.endpoint for r in agent.intents.endpoints()]
        agent.host.namespaces[old.netns] += 1
        await agent.intents.vanished(link_name(old.id), there=True)
        assert [] == agent.intents.endpoints()

    run(tmp_path, scenario)


def test_an_endpoint_whose_container_cannot_be_looked_for_is_kept_and_told(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        endpoint = await agent.attach("web")
        address = endpoint.addresses[0].ip
        agent.host.unseen = OSError(errno.EMFILE, "too many open files")

        with pytest.raises(OSError, match="too many open files"):
            await agent.intents.vanished(link_name(endpoint.id))
        with pytest.raises(OSError, match="too many open files"):
            await agent.intents.release_address(address)
        with pytest.raises(OSError, match="too many open files"):
            await agent.attach("other")

        told = await agent.intents.ipam_check()
        assert {str(a.ip) for a in endpoint.addresses} == {leak.address for leak in told}
        assert all("too many open files" in leak.problem for leak in told)
        assert ["web"] == [r.endpoint.name for r in agent.intents.endpoints()]

    run(tmp_path, scenario)


def test_a_link_that_somebody_deleted_is_made_again_and_reported(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        endpoint = await agent.attach("web")
        link = link_name(endpoint.id)
        before = agent.intents.endpoint("web").ifindex
        del agent.kernel["links"].objects[link]
        await agent.intents.vanished(link)
        await agent.intents.convergence.settle(agent.intents.keys_of(endpoint))

        assert link in agent.kernel["links"].read()
        after = agent.intents.endpoint("web").ifindex
        assert after not in (0, before)
        assert {after} == {v.ifindex for v in agent.kernel["endpoints"].read().values()}
        assert {after} == agent.kernel["interfaces"].read().keys()
        assert [("links", link, "missing")] == [
            (d.target, d.key, d.found) for d in agent.intents.status().drift
        ]

    run(tmp_path, scenario)


def test_a_leak_is_found_and_released_and_a_running_endpoint_is_not(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        endpoint = await agent.attach("web")
        with pytest.raises(Conflict, match="running endpoint"):
            await agent.intents.release_address(endpoint.addresses[0].ip)
        del agent.host.namespaces["/run/netns/web"]
        agent.intents.facts.change(Attached, endpoint.id, None)

        leaks = await agent.intents.ipam_check()
        assert {str(a.ip) for a in endpoint.addresses} == {leak.address for leak in leaks}
        await agent.intents.release_address(endpoint.addresses[0].ip)
        assert [] == await agent.intents.ipam_check()
        with pytest.raises(NotFound):
            await agent.intents.release_address(endpoint.addresses[0].ip)

    run(tmp_path, scenario)


def test_many_at_once_get_different_addresses(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        found = await asyncio.gather(*(agent.attach(f"c{i}") for i in range(200)))
        addresses = {a.ip for e in found for a in e.addresses}
        assert 400 == len(addresses)
        await asyncio.gather(*(agent.intents.detach(e.id) for e in found))
        assert {} == agent.kernel["links"].read()
        assert all(not b.used for b in await agent.intents.ipam())

    run(tmp_path, scenario)


def test_a_restart_knows_what_was_there(tmp_path: Path) -> None:
    found: list[Endpoint] = []

    async def first(agent: Agent) -> None:
        found.append(await agent.attach("web", labels={"app": "web"}))

    async def second(agent: Agent) -> None:
        assert found == [r.endpoint for r in agent.intents.endpoints()]
        assert found[0].addresses != (await agent.attach("other")).addresses
        assert isinstance(agent.intents.facts.get(Network, "default"), Network)

    run(tmp_path, first)
    run(tmp_path, second)


def test_an_endpoint_whose_network_a_restored_store_has_lost_is_told_and_can_go(
    tmp_path: Path,
) -> None:
    async def scenario(agent: Agent) -> None:
        endpoint = await agent.attach("web")
        agent.intents.facts.change(Network, endpoint.network, None)
        told = await agent.intents.check_endpoint("web")
        assert "network 'default' is not there" == told[-1]
        await agent.intents.detach("web")
        assert [] == agent.intents.endpoints()

    run(tmp_path, scenario)


def test_what_is_missing_inside_a_container_is_put_back_and_reported(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        endpoint = await agent.attach("web")
        agent.intents.repair_inside(endpoint.id)
        assert [] == agent.host.repaired
        agent.host.problems = ["no address 10.208.0.1"]
        assert await agent.intents.check_endpoint("web")
        agent.intents.repair_inside(endpoint.id)

        assert ["eth0"] == agent.host.repaired
        assert [] == await agent.intents.check_endpoint("web")
        assert ["inside"] == [drift.target for drift in agent.intents.status().drift]
        agent.host.problems = ["no address 10.208.0.1"]
        agent.intents.repair_inside(endpoint.id, drift=False)
        assert (2, 1) == (len(agent.host.repaired), agent.intents.status().drift_total)

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    "target", ["nft", "attachments", "endpoints", "interfaces", "publications"]
)
def test_a_check_reads_the_host_back_and_has_it_mended(tmp_path: Path, target: str) -> None:
    async def scenario(agent: Agent) -> None:
        convergence = agent.intents.convergence
        ports = (Publication(host_port=8080, container_port=80),)
        endpoint = await agent.attach("web", ports=ports)
        await agent.attach("other")
        before = agent.state()
        assert [] == await agent.intents.check_endpoint("web")

        keys = [k for t, k in (*agent.intents.keys_of(endpoint), TABLE) if t == target]
        del agent.kernel[target].objects[keys[-1]]
        (told,) = await agent.intents.check_endpoint("web")

        assert f"{target} missing or changed: {keys[-1]}" in told
        await convergence.settle([(target, keys[-1])])
        assert [] == await agent.intents.check_endpoint("web")
        assert before == agent.state()
        assert [(target, "missing")] == [(d.target, d.found) for d in convergence.drift]

    run(tmp_path, scenario)


def test_endpoints_detached_at_once_go_as_few_groups_and_may_come_back_meanwhile(
    tmp_path: Path,
) -> None:
    async def scenario(agent: Agent) -> None:
        found = await asyncio.gather(*(agent.attach(f"c{i}") for i in range(50)))
        links = agent.kernel["links"]
        links.calls.clear()
        going = [asyncio.create_task(agent.intents.detach(e.id)) for e in found]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        again = await agent.attach("c0")
        await asyncio.gather(*going)

        assert 3 >= len([what for what, _ in links.calls if what == "delete"])
        assert {link_name(again.id)} == links.read().keys()
        assert agent.intents.endpoint("c0").ifindex in agent.kernel["interfaces"].read()
        assert {a.ip for a in again.addresses} == agent.kernel["endpoints"].read().keys()
        assert not {e.addresses for e in found} & {again.addresses}

    run(tmp_path, scenario)


def test_an_address_whose_link_the_kernel_does_not_give_up_is_not_given_yet(
    tmp_path: Path,
) -> None:
    async def scenario(agent: Agent) -> None:
        first = await agent.attach("a")
        wanted, links = first.addresses[0].ip, agent.kernel["links"]
        links.refuses = {link_name(first.id): OSError(errno.EBUSY, "busy")}
        for _ in range(2):
            with pytest.raises(SystemFailed, match="does not let go of endpoint 'a' yet"):
                await agent.intents.detach(first.id)
        agent.intents.give_back()
        with pytest.raises(Unavailable, match="given back"):
            await agent.attach("b", addresses=(wanted,))

        links.refuses = {}
        agent.intents.convergence.retry()
        while agent.intents.status().failures:  # noqa: ASYNC110, threads tell no event of the loop
            await asyncio.sleep(0)
        agent.intents.give_back()
        assert wanted == (await agent.attach("b", addresses=(wanted,))).addresses[0].ip
        with pytest.raises(NotFound):
            await agent.intents.detach(first.id)

    run(tmp_path, scenario)


def test_an_address_on_its_way_back_is_not_given_yet(tmp_path: Path) -> None:
    async def scenario(agent: Agent) -> None:
        first = await agent.attach("a")
        wanted = first.addresses[0].ip
        going = asyncio.create_task(agent.intents.detach("a"))
        await asyncio.sleep(0)
        assert [] == agent.intents.endpoints()
        with pytest.raises(Unavailable, match="given back"):
            await agent.attach("b", addresses=(wanted,))
        await going
        assert wanted == (await agent.attach("b", addresses=(wanted,))).addresses[0].ip

    run(tmp_path, scenario)
