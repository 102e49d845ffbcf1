"""Hosts of a cluster: how they join, know each other, drain and go.

┌── one ──┐   TLS    ┌── two ──┐   TLS    ┌─ three ─┐
│ records │◄────────►│  cache  │◄────────►│  cache  │   three knows of two alone
└─────────┘          └─────────┘          └─────────┘
"""

from __future__ import annotations

import asyncio
import socket
import time
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests import agents
from tests.clusters import loopback, run

from seaway.cluster import membership, reclaiming
from seaway.cluster.calls import Calls, Others
from seaway.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable, Unsupported
from seaway.model.addresses import ForeignPrefix
from seaway.model.facts import Block, Cluster, Path, Peer, Token
from seaway.model.membership import Signed, Signing
from seaway.model.reports import RelayReport, UseReport
from seaway.model.requests import NewToken
from seaway.model.store import Committed, Committing, Stored
from seaway.records import store_key
from seaway.store.base import Changed, Item, Snapshot
from seaway.trust import authority, certificates, contexts
from seaway.trust.certificates import Identity
from seaway.trust.folder import Folder
from seaway.upkeep import Upkeep, _places


async def records(cluster):
    return (await cluster.nodes["one"].agent.store.load()).items


async def left_of(host, cluster):
    """What the records say of it."""
    items = (await records(cluster)).items()
    return {k for k, i in items if host in k.split("/")[1:] or f'"host":"{host}"' in str(i.value)}


def test_a_host_joins_and_both_know_of_each_other(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        assert not one.keeper.whole
        two = await cluster.join("two")
        await one.until(lambda: one.intents.facts.get(Peer, "two"))

        here = two.intents.here
        assert ("two", 2, False) == (here.name, here.number, here.control)
        assert (ip_address("10.222.0.2"), ip_address("fd00:5ea:0:ffff:ffff:ffff:fffe:2")) == (
            here.addresses
        )
        assert ["one", "two"] == [r.host.name for r in await one.intents.hosts()]
        assert await one.intents.hosts() == [
            replace(r, here=not r.here) for r in await two.intents.hosts()
        ]
        assert 3 == one.intents.facts.get(Cluster, "cluster").next_host
        assert one.intents.here.control

    run(tmp_path, scenario)


def test_a_host_that_sees_only_another_member_joins_and_works_through_it(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        two = await cluster.join("two")
        three = await cluster.join("three", at="two")
        await one.until(lambda: one.intents.facts.get(Peer, "three"))
        await three.agent.attach("web")
        await two.until(lambda: two.intents.facts.all(Block))

        assert {"three"} == {block.host for block in one.intents.facts.all(Block)}
        assert 3 == three.intents.here.number
        assert three.intents.trust.certificate().host == "three"

    run(tmp_path, scenario)


def test_what_one_host_changes_all_others_learn(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        two = await cluster.join("two")
        three = await cluster.join("three", at="two")
        made = await three.intents.create_token(NewToken())
        for node in (one, two):
            await node.until(lambda n=node: n.intents.facts.get(Token, made.id))
        await two.intents.revoke_token(made.id)
        for node in (one, three):
            await node.until(lambda n=node: not n.intents.facts.get(Token, made.id))

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("said", "error", "words"),
    [
        ({"name": "one"}, Conflict, r"the cluster has a host 'one' already \(number 1\)"),
        ({"name": "a b"}, Invalid, "'a b' is no host name"),
        ({"name": "x" * 65}, Invalid, "is no host name"),
        ({"clock": 0.0}, Conflict, r"the clock of this host is \d+ d \d+ h behind that of host"),
        ({"version": "9.9.9"}, Unsupported, "this host has Seaway 9.9.9, and host 'one' 0.1.0"),
        ({"version": ""}, Unsupported, "this host has Seaway , and host"),
        ({"underlay": ()}, Invalid, "one address of each family"),
        (
            {"underlay": (ip_address("192.0.2.1"), ip_address("192.0.2.2"))},
            Invalid,
            "one address of each family",
        ),
        ({"underlay": (ip_address("::1"),)}, Invalid, "no other host reaches this one at ::1"),
        (
            {"foreign": (ForeignPrefix(ip_network("10.208.3.0/24")),)},
            Conflict,
            "the pool 10.208.0.0/12 of the cluster overlaps 10.208.3.0/24, a route of this host",
        ),
        ({"request": "nothing"}, Invalid, "that is no signing request"),
        ({"again": True}, Conflict, "the cluster has no host 'new' of this key any more"),
    ],
)
def test_a_host_that_does_not_fit_is_refused_and_nothing_is_changed(tmp_path, said, error, words):
    async def scenario(cluster):
        one = await cluster.first()
        token = await cluster.token()
        before = await records(cluster)
        given = {"address": "192.0.2.9"} | said
        name = given.pop("name", "new")
        with pytest.raises(error, match=words):
            await cluster.ask_to_join(name, token, **given)
        assert before == await records(cluster)
        assert [] == one.intents.facts.all(Peer)

    run(tmp_path, scenario)


def test_a_clock_that_is_a_little_off_is_let_pass(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        token = await cluster.token()
        now = one.keeper.clock()
        await cluster.ask_to_join("early", token, clock=now - 290)
        await cluster.ask_to_join("late", token, clock=now + 290)
        with pytest.raises(Conflict, match=r"6 min 3\d s ahead of"):
            await cluster.ask_to_join("later", token, clock=now + 399)

    run(tmp_path, scenario)


def test_tokens_that_do_not_hold_let_nobody_in(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        revoked, once, good = [await cluster.token(**wish) for wish in ({}, {"uses": 1}, {})]
        await one.intents.revoke_token(revoked.split(".")[0])
        await cluster.ask_to_join("two", once)
        expired = await cluster.token(ttl=1)
        one.keeper.clock = lambda: time.time() + 2
        wrong = good.replace(good.split(".")[1], "0" * 32)
        for token, words in (
            (revoked, "wrong, or was revoked"),
            (once, "was used 1 times"),
            (expired, "expired 1 s ago"),
            (wrong, "wrong, or was revoked"),
        ):
            with pytest.raises(Forbidden, match=words):
                await cluster.ask_to_join("three", token)
        assert 4 == one.keeper.refusals.counts["join token"]
        assert {"two"} == {peer.name for peer in one.intents.facts.all(Peer)}

    run(tmp_path, scenario)


def test_who_guesses_tokens_has_to_wait_also_behind_another_host(tmp_path):
    async def scenario(cluster):
        await cluster.first()
        await cluster.join("two")
        good = await cluster.token()
        wrong = good.replace(good.split(".")[1], "0" * 32)
        for at in ("one", "two"):
            for _ in range(5):
                with pytest.raises(Forbidden):
                    await cluster.ask_to_join("three", wrong, at)
            with pytest.raises(Unavailable, match="too many wrong join tokens"):
                await cluster.ask_to_join("three", good, at)

    run(tmp_path, scenario)


def test_a_join_whose_answer_was_lost_is_finished_by_the_same_command(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        token = await cluster.token(uses=1)
        lost = await cluster.ask_to_join("two", token)
        again = await cluster.ask_to_join("two", token)

        assert lost.host == again.host
        assert lost.certificate != again.certificate
        assert 3 == one.intents.facts.get(Cluster, "cluster").next_host
        (record,) = one.intents.facts.all(Token)
        assert 1 == record.used

    run(tmp_path, scenario)


def test_another_machine_of_the_same_name_is_refused(tmp_path):
    async def scenario(cluster):
        await cluster.first()
        token = await cluster.token()
        await cluster.ask_to_join("two", token)
        Folder(cluster.path / "two" / "trust").joining.unlink()
        with pytest.raises(Conflict, match=r"has a host 'two' already .* seaway host rm two"):
            await cluster.ask_to_join("two", token)

    run(tmp_path, scenario)


def test_numbers_and_addresses_are_never_used_again(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        token = await cluster.token()
        await cluster.ask_to_join("two", token)
        await one.intents.remove_host("two", force=False)
        Folder(cluster.path / "two" / "trust").joining.unlink()
        joined = await cluster.ask_to_join("two", token)

        assert 3 == joined.host.number
        assert ip_address("10.222.0.3") == joined.host.addresses[0]

    run(tmp_path, scenario)


def test_two_that_join_at_once_get_two_numbers(tmp_path):
    async def scenario(cluster):
        await cluster.first()
        await cluster.join("two", await cluster.token(control=True))
        token = await cluster.token()
        joined = await asyncio.gather(
            *(cluster.ask_to_join(f"n{n}", token, at=("one", "two")[n % 2]) for n in range(6))
        )
        assert [3, 4, 5, 6, 7, 8] == sorted(j.host.number for j in joined)
        assert 12 == len({a for j in joined for a in j.host.addresses})

    run(tmp_path, scenario)


def test_a_control_host_signs_and_others_do_not(tmp_path):
    async def scenario(cluster):
        await cluster.first()
        two = await cluster.join("two", await cluster.token(control=True))
        three = await cluster.join("three")
        assert two.keeper.signs
        assert two.intents.here.control
        assert not three.keeper.signs
        with pytest.raises(Unavailable, match="this host does not sign"):
            three.keeper.authority()
        token = await cluster.token()
        assert 4 == (await cluster.ask_to_join("four", token, at="two")).host.number

    run(tmp_path, scenario)


# Who is let in


async def ask(cluster, folder):
    async with Calls(contexts.asking(folder, any_host=True)) as calls:
        await calls.call(cluster.place("one"), "GET", "/v1/store")


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
        with pytest.raises(Forbidden, match="this cluster has no host 'stranger'"):
            await ask(cluster, forged(cluster, "c", host="stranger"))
        with pytest.raises(Forbidden, match="that key is not that of host 'two'"):
            await ask(cluster, forged(cluster, "d", host="two"))
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


def test_a_stranger_may_not_send_much(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        token = await cluster.token()
        with pytest.raises(Invalid, match="that is too long"):
            await cluster.ask_to_join("two", token, request="x" * 70_000)
        assert [] == one.intents.facts.all(Peer)

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


# Drain


def test_a_host_that_drains_may_go_once_nobody_sends_through_it(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        two, three = [await cluster.join(name) for name in ("two", "three")]
        for node in (one, two):
            await node.until(lambda n=node: 2 == len(n.intents.facts.all(Peer)))
        facts = one.intents.facts
        facts.change(Path, "three", Path(host="three", via="two"))
        facts.change(Path, "two", Path(host="two", via="two"))

        told = await three.intents.drain("two", draining=True)
        assert "one" in {*told.relay_of, *told.unheard}
        for node in (one, two):
            await node.until(lambda n=node: n.intents.relay("two").draining)
        told = await three.intents.drained("two")
        assert (("one",), ()) == (told.relay_of, told.unheard)

        facts.change(Path, "three", Path(host="three", via="three"))
        assert (await three.intents.drained("two")).ready

    run(tmp_path, scenario)


def test_a_host_that_drains_takes_no_new_endpoint_and_keeps_those_it_has(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        two = await cluster.join("two")
        endpoint = await two.agent.attach("web")
        await one.intents.drain("two", draining=True)
        await two.until(lambda: two.intents.here.draining)
        with pytest.raises(Conflict, match="host 'two' drains"):
            await two.agent.attach("db")
        assert [endpoint.id] == [r.endpoint.id for r in two.intents.endpoints()]
        assert 1 == (await one.intents.drained("two")).endpoints

        await one.intents.drain("two", draining=False)
        await two.until(lambda: not two.intents.here.draining)
        await two.agent.attach("db")

    run(tmp_path, scenario)


def test_a_dead_host_holds_up_a_drain_by_name(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        two = await cluster.join("two")
        await one.until(lambda: one.intents.facts.get(Peer, "two"))
        await two.stop()
        told = await one.intents.drain("two", draining=True)
        assert ((), ("two",)) == (told.relay_of, told.unheard)
        assert not told.ready

    run(tmp_path, scenario)


@pytest.mark.parametrize("act", ["drain", "network rm"])
def test_all_hosts_are_asked_at_once(tmp_path, act):
    """Each answers when all have been asked."""

    async def scenario(agent):
        asked, facts = asyncio.Barrier(3), agent.intents.facts

        async def answer(_method, path, *_given):
            await asked.wait()
            if path.endswith("/relay"):
                return RelayReport(draining=False, relay=False)
            return UseReport(leaving=True, endpoints=())

        for n, name in enumerate("abc", 2):
            facts.change(Peer, name, Peer(name=name, number=n, addresses=()))
            block = Block(prefix=ip_network(f"10.208.{n}.0/24"), network="default", host=name)
            facts.change(Block, str(block.prefix), block)
            agent.intents.others.answering[name] = answer
        if act == "drain":
            assert () == (await agent.intents.drained("a")).unheard
        else:
            await agent.intents._refuse_used("default")

    agents.run(tmp_path, scenario)


# Removal


@pytest.mark.parametrize("dead", [True, False])
def test_a_removed_host_leaves_nothing_and_is_one_no_more(tmp_path, dead):
    async def scenario(cluster):
        one = await cluster.first()
        two, three = [await cluster.join(name) for name in ("two", "three")]
        await two.agent.attach("web")
        await three.until(lambda: three.intents.facts.get(Peer, "two"))
        if dead:
            await two.stop()
        with pytest.raises(Conflict, match="host 'two' has 1 endpoints: web"):
            await three.intents.remove_host("two", force=False)
        await three.intents.remove_host("two", force=True)

        assert set() == await left_of("two", cluster)
        await one.until(lambda: not one.intents.facts.get(Peer, "two"))
        assert [] == one.intents.facts.all(Block)
        with pytest.raises(Forbidden, match="this cluster has no host 'two'"):
            await ask(cluster, two.keeper.folder)

    run(tmp_path, scenario)


def test_what_runs_on_a_host_that_was_removed_goes_on(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        two = await cluster.join("two")
        await two.agent.attach("web")
        before = two.agent.state()
        await one.until(lambda: one.intents.facts.get(Peer, "two"))
        await one.intents.remove_host("two", force=True)
        await two.until(lambda: two.agent.store.lost or two.intents.records.removed)

        assert before == two.agent.state()
        assert "two" == two.intents.here.name
        assert 1 == len(two.intents.endpoints())

    run(tmp_path, scenario)


def test_a_host_that_is_told_of_its_own_removal_keeps_what_it_knows_and_changes_nothing(tmp_path):
    """As etcd tells it, which does not ask who somebody is."""

    async def scenario(cluster):
        one = await cluster.first()
        await one.agent.attach("web")
        before, facts = one.agent.state(), one.intents.facts.all(Block)
        blocks = [store_key(block) for block in facts]
        await one.agent.store.commit(dict.fromkeys(["hosts/one", *blocks]))
        await one.until(lambda: one.intents.records.removed)

        assert before == one.agent.state()
        assert facts == one.intents.facts.all(Block)
        for change in (one.agent.attach("db"), one.intents.create_token(NewToken())):
            with pytest.raises(Conflict, match="this host was removed from the cluster"):
                await change
        await one.intents.detach("web")
        assert [] == one.intents.endpoints()

    run(tmp_path, scenario)


def test_removed_twice_or_by_two_at_once_a_host_is_gone_and_nothing_else(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        two, three, four = [await cluster.join(n) for n in ("two", "three", "four")]
        await three.agent.attach("web")
        await four.agent.attach("web")
        for node in (one, two):
            await node.until(lambda n=node: n.intents.facts.get(Peer, "three"))
        done = await asyncio.gather(
            *(node.intents.remove_host("three", force=True) for node in (one, two) * 3),
            return_exceptions=True,
        )
        assert {NotFound, type(None)} >= {type(d) for d in done}
        assert None in done

        items = await records(cluster)
        assert {"hosts/one", "hosts/two", "hosts/four"} == {k for k in items if "hosts/" in k}
        assert {"four"} == {k.split("/")[1] for k in items if k.startswith("endpoints/")}
        with pytest.raises(NotFound, match="there is no host 'three'"):
            await one.intents.remove_host("three", force=True)

    run(tmp_path, scenario)


def test_a_removal_that_died_half_way_is_finished_by_anybody(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        two = await cluster.join("two")
        for n in range(60):
            await two.agent.attach(f"web{n}")
        await one.until(lambda: one.intents.facts.get(Peer, "two"))
        await two.stop()
        await one.intents._forget("two", force=True)
        assert [key for key in await records(cluster) if key.startswith("endpoints/two")]

        await Upkeep(one.intents).look()
        assert set() == await left_of("two", cluster)

    run(tmp_path, scenario)


def test_a_step_of_upkeep_that_fails_holds_no_other_one_back(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        two = await cluster.join("two")
        await two.agent.attach("web")
        await one.until(lambda: one.intents.facts.get(Peer, "two"))
        await two.stop()
        await one.intents._forget("two", force=True)
        moved = replace(one.intents.here, underlay=(ip_address("127.0.77.9"),))
        await one.intents.records.commit([moved])  # so another certificate is due
        one.keeper.folder.authority_key.write_text("damaged")

        assert not await Upkeep(one.intents).look()
        assert set() == await left_of("two", cluster)

    run(tmp_path, scenario)


def test_a_host_that_joined_again_under_its_name_loses_nothing_to_a_late_removal(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        two = await cluster.join("two")
        await two.agent.attach("web")
        await one.until(lambda: one.intents.facts.get(Peer, "two"))
        known = await one.intents._known()
        items = {k: i for k, i in known.snapshot.items.items() if k != "hosts/two"}
        late = list(reclaiming.steps(Snapshot(known.snapshot.revision, items), known.blocks))
        assert 2 == len(late)
        for step in late:
            with pytest.raises(Changed):
                await cluster.nodes["one"].agent.store.commit(step.changes, step.expect)

    run(tmp_path, scenario)


def test_the_last_control_host_and_the_host_itself_are_not_removed_by_mistake(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        two = await cluster.join("two")
        with pytest.raises(Conflict, match="that is this host itself"):
            await one.intents.remove_host("one", force=True)
        with pytest.raises(Conflict, match="host 'one' is the last control host"):
            await two.intents.remove_host("one", force=False)
        with pytest.raises(NotFound, match=r"no host 'none' \(known: one, two\)"):
            await two.intents.remove_host("none", force=False)

    run(tmp_path, scenario)


def test_a_host_leaves_and_what_it_had_is_free(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        two = await cluster.join("two")
        endpoint = await two.agent.attach("web")
        with pytest.raises(Conflict, match="has 1 endpoints"):
            await two.intents.leave(force=False)
        await two.intents.detach(endpoint.id)
        await two.intents.leave(force=False)
        await two.intents.leave(force=False)  # again: it is out already
        await one.until(lambda: not one.intents.facts.get(Peer, "two"))
        await Upkeep(one.intents).look()
        assert set() == await left_of("two", cluster)

    run(tmp_path, scenario)


def test_the_host_that_holds_the_records_does_not_leave(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        with pytest.raises(Conflict, match="the only one of its cluster"):
            await one.intents.leave(force=True)
        await cluster.join("two")
        await one.until(lambda: one.intents.facts.get(Peer, "two"))
        with pytest.raises(Conflict, match="first move them: seaway init --etcd URL"):
            await one.intents.leave(force=True)

    run(tmp_path, scenario)


# The store through others


def test_the_store_is_had_through_hosts_that_came_later_and_the_one_of_the_join_may_go(tmp_path):
    """Written down: the next agent knows them, too."""
    file = tmp_path / "member.json"

    async def scenario(cluster):
        one = await cluster.first()
        two = await cluster.join("two")
        three = await cluster.join("three", at="two")
        assert (two.address,) == three.intents.member.through
        await three.until(lambda: 2 == three.intents.facts.number(Peer))
        assert await Upkeep(three.intents, file).look()
        assert (two.address, one.address) == membership.load(file).through

        await two.stop()
        await one.intents.remove_host("two", force=True)
        await three.until(lambda: not three.intents.facts.get(Peer, "two"))
        assert await Upkeep(three.intents, file).look()
        assert (one.address, two.address) == membership.load(file).through

    run(tmp_path, scenario)


def test_of_many_hosts_some_are_asked_for_the_store_and_what_a_person_wrote_is_kept():
    peers = [
        Peer(name=f"h{n}", number=n, addresses=(), underlay=(ip_address(f"192.0.2.{n}"),))
        for n in range(2, 60)
    ]
    peers.append(replace(peers[0], name="c", number=60, underlay=(), control=True))
    peers.append(replace(peers[1], name="d", number=61, control=True))
    found = _places(("first.example", "192.0.2.40", "192.0.2.99"), peers)

    assert ("192.0.2.40", "192.0.2.3", "192.0.2.2", "192.0.2.4") == found[:4]
    assert ("first.example", "192.0.2.99") == found[-2:]
    assert 18 == len(set(found))
    assert found == _places(found, peers)


def test_without_the_way_to_the_store_a_host_lives_on_and_catches_up(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        two = await cluster.join("two")
        await two.agent.attach("web")
        block = two.intents.facts.all(Block)
        await one.stop()
        await two.agent.attach("db")  # of the block that it has
        with pytest.raises(Unavailable, match="the store is lost"):
            await two.intents.create_token(NewToken())
        assert block == two.intents.facts.all(Block)
        assert 2 == len(two.intents.endpoints())
        assert ["one", "two"] == [report.host.name for report in await two.intents.hosts()]
        assert 4 == sum(len(report.holders) for report in await two.intents.ipam())
        status = two.intents.status()
        assert ("another host", 1) == (status.store, status.unsent)
        assert status.store_lost

    run(tmp_path, scenario)


def test_two_hosts_that_know_of_each_other_alone_do_not_take_each_other_for_the_store(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        two = await cluster.join("two")
        three = await cluster.join("three", at="two")
        two.intents.store._places.append(three.address)  # as it may have learnt
        await three.until(lambda: three.intents.store.chain == ("two", "one"))
        await one.stop()
        for node in (two, three):
            await node.until(lambda n=node: n.agent.store.lost)
        with pytest.raises(Unavailable, match="in a circle only"):
            await two.intents.store.load()

    run(tmp_path, scenario)


@given(
    owners=st.dictionaries(st.integers(0, 200), st.sampled_from("abcd"), max_size=150),
    hosts=st.sets(st.sampled_from("abcd")),
)
def test_what_removed_hosts_left_goes_in_steps_that_etcd_takes_and_nothing_else(owners, hosts):
    keys = {f"hosts/{h}" for h in hosts} | {"cluster", "networks/n", "tokens/0"}
    blocks = {f"blocks/10.0.{n}.0-26": owner for n, owner in owners.items() if n % 3 == 0}
    keys |= blocks.keys()
    keys |= {f"endpoints/{owner}/{n:016x}" for n, owner in owners.items() if n % 3 == 1}
    keys |= {f"before/{owner}" for n, owner in owners.items() if n % 3 == 2}
    items = {key: Item(b"", at) for at, key in enumerate(sorted(keys), 1)}

    def owner_of(key):
        return blocks.get(key) or (key.split("/")[1] if key[0] in "eb" else None)

    gone, folders = set(), []
    for step in reclaiming.steps(Snapshot(999, items), blocks):
        assert 128 > len(step.changes) + len(step.expect)
        assert {None} == set(step.changes.values())
        for key in step.changes:
            assert items[key].revision == step.expect[key]
            assert 0 == step.expect[f"hosts/{owner_of(key)}"]
        gone |= step.changes.keys()
        folders += [key.split("/")[0] for key in step.changes]

    assert {k for k in items if owner_of(k) and owner_of(k) not in hosts} == gone
    assert sorted(folders, key=["endpoints", "before", "blocks"].index) == folders
