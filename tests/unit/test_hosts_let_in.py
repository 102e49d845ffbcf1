"""Who is let in by a host, with what, and how its certificate is renewed."""

from __future__ import annotations

import asyncio
import socket
import time
from functools import partial
from ipaddress import ip_address
from operator import add

import pytest
from msgspec.structs import replace
from tests.clusters import ask, loopback, records, run

from seaway.cluster.calls import Calls, Others
from seaway.errors import Forbidden, Invalid, NotFound, Unavailable
from seaway.model.membership import Signed, Signing
from seaway.model.store import Committed, Committing, Stored
from seaway.trust import authority, certificates, contexts
from seaway.trust.certificates import Identity
from seaway.trust.folder import Folder
from seaway.trust.refusals import LASTING
from seaway.upkeep import Upkeep


def forged(cluster, name, host="two", **how):
    """A folder of a host with a certificate like that; by our CA, unless said otherwise."""
    ours = cluster.nodes["one"].keeper
    folder = Folder(cluster.path / name)
    folder.put(folder.authority, ours.folder.authority.read_bytes())
    key = how.get("key", certificates.new_key())
    identity = Identity(ours.certificate().cluster, host)
    signer = how.get("by", ours.authority())
    request = certificates.request(key, host)
    folder.put_host(key, signer.sign(request, identity, how.get("at", ours.clock())))
    return folder


KNOWN_LATE = {"c": "stranger", "d": "two"}


def test_certificates_that_are_not_right_are_refused_counted_and_told_why(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        two = await cluster.join("two")
        cluster_id, now = one.intents.member.cluster, one.keeper.clock()
        other = authority.Authority.create(cluster_id, now)
        own = two.keeper.folder.host_key()

        for name, how in (
            ("a", {"by": other}),
            ("b", {"key": own, "at": now - 40 * 86400}),
        ):
            with pytest.raises((Forbidden, Unavailable)):
                await ask(cluster, forged(cluster, name, **how))
        strangers = {name: forged(cluster, name, host=host) for name, host in KNOWN_LATE.items()}
        for later in (0.0, LASTING + 1):  # perhaps it has joined, and is not known yet
            one.keeper.refusals.clock = partial(add, later, time.monotonic())
            with pytest.raises(Forbidden, match="this cluster has no host 'stranger'"):
                await ask(cluster, strangers["c"])
            with pytest.raises(Forbidden, match="that key is not that of host 'two'"):
                await ask(cluster, strangers["d"])
        counted = {r.why: r.times for r in one.intents.status().refused}
        assert {
            "certificate of another CA",
            "certificate expired",
            "certificate not of a host's record",
        } == counted.keys()
        assert 2 == counted["certificate not of a host's record"]

    run(tmp_path, scenario)


@pytest.mark.parametrize("path", ["/v1/store", "/v1/hosts/two/relay", "/v1/openapi.yaml"])
def test_without_a_certificate_one_may_join_and_nothing_else(tmp_path, path):
    async def scenario(cluster):
        one = await cluster.first()
        await cluster.token()
        place = cluster.place("one")
        async with Calls(contexts.joining(one.keeper.authority_text())) as calls:
            with pytest.raises(Forbidden, match="a certificate of this cluster is needed"):
                await calls.call(place, "GET", path)
            await calls.call(place, "GET", "/v1/join")
        assert 1 == one.keeper.refusals.counts["no certificate"]

    run(tmp_path, scenario)


@pytest.mark.parametrize("path", ["/v1/status", "/v1/networks", "/v1/backup", "/v1/tokens"])
def test_other_hosts_are_served_what_is_for_them_alone(tmp_path, path):
    async def scenario(cluster):
        one = await cluster.first()
        two = await cluster.join("two")
        with pytest.raises(NotFound, match=f"there is no {path}"):
            await two.others.ask(one.intents.here, "GET", path)

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("put", "words"),
    [
        ({"networks/x": b"{"}, "a record 'networks/x' that is not JSON"),
        ({"networks/x": b'{"name":"y"}'}, "a record 'networks/x' that is not a valid Network"),
        ({"tokens/00000000": b"\xff" * 40}, "a record 'tokens/00000000' that is not JSON"),
        ({"anything": b"{}"}, "'anything', which this version does not know"),
    ],
)
def test_what_is_no_record_is_not_passed_on(tmp_path, put, words):
    async def scenario(cluster):
        one = await cluster.first()
        two = await cluster.join("two")
        before = await records(cluster)
        asked = one.intents.here, "POST", "/v1/store?via=two", Committing(put=put), Committed
        with pytest.raises(Invalid, match=words):
            await two.others.ask(*asked)
        assert before == await records(cluster)

    run(tmp_path, scenario)


@pytest.mark.parametrize("path", ["since=x", "since=-1", "since=" + "9" * 30, "", "since=1&to=2"])
def test_a_revision_that_is_none_is_refused(tmp_path, path):
    async def scenario(cluster):
        one = await cluster.first()
        two = await cluster.join("two")
        with pytest.raises(Invalid, match=r"is no revision|unknown query parameter 'to'"):
            await two.others.ask(one.intents.here, "GET", f"/v1/store/changes?{path}")

    run(tmp_path, scenario)


def test_a_host_that_is_not_reached_directly_is_asked_at_its_address_in_the_cluster(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        two = await cluster.join("two")
        inside = ip_address(loopback(one.address))
        far = replace(one.intents.here, underlay=(ip_address("127.0.77.200"),), addresses=(inside,))
        others = Others(two.keeper, cluster.port)
        stored = await others.ask(far, "GET", "/v1/store?via=two", None, Stored)
        assert "hosts/two" in stored.items
        away = replace(far, addresses=(ip_address("127.0.77.201"),))
        with pytest.raises(Unavailable, match=r"at 127\.0\.77\.200 .*at 127\.0\.77\.201 "):
            await others.ask(away, "GET", "/v1/store")
        await others.close()

    run(tmp_path, scenario)


def test_who_says_nothing_is_cut_off_and_the_others_are_served(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        token = await cluster.token()
        where = loopback(one.address), cluster.port
        idle = [await asyncio.open_connection(*where) for _ in range(20)]
        await cluster.ask_to_join("two", token)
        for reader, writer in idle:
            assert b"" == await reader.read()
            writer.close()
        assert 20 == one.keeper.refusals.counts["no handshake"]

    run(tmp_path, scenario)


def test_a_port_that_something_else_has_is_told(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        with socket.create_server((loopback(one.address), cluster.port)):
            await cluster.token()
            await one.until(lambda: one.intents.status().failures)
            (failure,) = one.intents.status().failures
        assert ("hosts", True) == (failure.target, f"TCP port {cluster.port}" in failure.error)

    run(tmp_path, scenario)


def test_a_host_whose_own_certificate_has_expired_is_told_so_at_home(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        two = await cluster.join("two")
        ends = two.keeper.certificate().ends
        two.keeper.clock = lambda: ends + 3600
        with pytest.raises(Forbidden, match="certificate of this host expired 1 h 0 min ago"):
            await two.others.ask(one.intents.here, "GET", "/v1/store")

    run(tmp_path, scenario)


# Renewal


async def shown_by(node, port):
    """The serial number of what it shows to who connects now."""
    context = contexts.joining(node.keeper.authority_text())
    _, writer = await asyncio.open_connection(loopback(node.address), port, ssl=context)
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    return certificates.read(der).serial


@pytest.mark.parametrize("who", ["one", "two", "three"])
def test_a_certificate_is_renewed_in_time_and_shown_at_once(tmp_path, who):
    async def scenario(cluster):
        await cluster.first()
        await cluster.join("two")
        await cluster.join("three", at="two")
        node = cluster.nodes[who]
        upkeep = Upkeep(node.intents)
        assert not await upkeep.renew()

        here, signer = node.intents.here, cluster.nodes["one"].keeper.authority()
        identity = Identity(
            node.intents.member.cluster, here.name, (*here.underlay, *here.addresses)
        )
        old = signer.sign(node.keeper.renewal(), identity, time.time() - 21 * 86400)
        node.keeper.take(old)
        before = node.keeper.certificate()
        assert before.serial == await shown_by(node, cluster.port)
        assert await upkeep.renew()
        after = node.keeper.certificate()

        assert before.key == after.key
        assert before.serial != after.serial == await shown_by(node, cluster.port)
        await node.intents.hosts()  # it still is known to the others

    run(tmp_path, scenario)


def test_a_certificate_is_renewed_when_the_host_has_other_addresses(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        await cluster.token()
        moved = replace(one.intents.here, underlay=(ip_address("127.0.77.9"),))
        await one.intents.records.commit([moved])
        assert await Upkeep(one.intents).renew()
        assert ip_address("127.0.77.9") in one.keeper.certificate().addresses

    run(tmp_path, scenario)


def test_a_certificate_is_signed_for_the_key_of_its_host_alone(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        two = await cluster.join("two")
        stolen = Signing(request=certificates.request(certificates.new_key(), "one"))
        for name in ("one", "two", "none"):
            path = f"/v1/hosts/{name}/certificate"
            with pytest.raises(Forbidden, match=f"is not that of a host '{name}'"):
                await two.others.ask(one.intents.here, "PUT", path, stolen, Signed)

    run(tmp_path, scenario)
