"""How hosts join a cluster, and know of each other.

┌── one ──┐   TLS    ┌── two ──┐   TLS    ┌─ three ─┐
│ records │◄────────►│  cache  │◄────────►│  cache  │   three knows of two alone
└─────────┘          └─────────┘          └─────────┘
"""

from __future__ import annotations

import asyncio
import time
from ipaddress import ip_address, ip_network

import pytest
from msgspec.structs import replace
from tests.clusters import records, run

from seaway.cluster.calls import Unreached
from seaway.errors import Conflict, Forbidden, Invalid, Unavailable, Unsupported
from seaway.model.addresses import ForeignPrefix
from seaway.model.facts import Block, Cluster, Peer, Token
from seaway.model.requests import NewNetwork, NewToken
from seaway.setup.joining import unfinished
from seaway.trust.folder import Folder


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
            {"underlay": (ip_address("::ffff:192.0.2.1"),)},
            Invalid,
            "no other host reaches this one at ::ffff:",
        ),
        (
            {"underlay": (ip_address("2001:db8::9"), ip_address("192.0.2.1"))},
            Conflict,
            r"192\.0\.2\.1 is where host 'one' \(number 1\) is reached .*--advertise .* rm one",
        ),
        (
            {"underlay": (ip_address("10.208.0.7"),)},
            Conflict,
            r"10\.208\.0\.7 is in the pool 10\.208\.0\.0/12 of the cluster \(.*--advertise ADDR",
        ),
        (
            {"foreign": (ForeignPrefix(ip_network("10.208.3.0/24")),)},
            Conflict,
            "the pool 10.208.0.0/12 of the cluster overlaps 10.208.3.0/24, a route of this host",
        ),
        ({"request": "nothing"}, Invalid, "that is no signing request"),
        ({"request": "x" * 70_000}, Invalid, "that is too long"),
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


@pytest.mark.parametrize(
    ("reached", "words"),
    [
        ("192.168.77.128/25", "network 'own' with 192.168.77.0/24 of the cluster overlaps"),
        ("172.30.0.0/24", "the service subnet 172.30.0.0/16 of the cluster overlaps"),
        ("2001:db8:7::40/122", "network 'own' with 2001:db8:7::/112 of the cluster overlaps"),
    ],
)
def test_who_reaches_elsewhere_what_the_cluster_has_outside_its_pools_is_refused(
    tmp_path, reached, words
):
    async def scenario(cluster):
        one = await cluster.first()
        subnets = ip_network("192.168.77.0/24"), ip_network("2001:db8:7::/112")
        await one.intents.create_network(NewNetwork(name="own", subnets=subnets))
        (record,) = one.intents.facts.all(Cluster)
        services = (ip_network("172.30.0.0/16"),)
        await one.intents.records.commit([replace(record, service_subnets=services)])
        token = await cluster.token()
        bad, good = (ForeignPrefix(ip_network(prefix)) for prefix in (reached, "192.0.2.0/24"))
        with pytest.raises(Conflict, match=words):
            await cluster.ask_to_join("new", token, foreign=(good, bad))
        inside = str(bad.prefix[3])
        with pytest.raises(Conflict, match=f"{inside} is in {words.removesuffix(' overlaps')}"):
            await cluster.ask_to_join("new", token, address=inside)
        await cluster.ask_to_join("new", token, foreign=(good,))

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


@pytest.mark.parametrize(("ttl", "told"), [(0, "so short a time"), (4e7, "so long a time")])
def test_a_token_holds_for_a_second_to_a_year(tmp_path, ttl, told):
    async def scenario(cluster):
        await cluster.first()
        with pytest.raises(Invalid, match=told):
            await cluster.token(ttl=ttl)

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
            with pytest.raises(Unavailable, match="too many wrong join tokens") as error:
                await cluster.ask_to_join("three", good, at)
            assert unfinished(error.value).hint.startswith("try again in ")

    run(tmp_path, scenario)


def test_a_join_that_nobody_answered_is_to_be_repeated():
    error = unfinished(Unreached("192.0.2.1 does not answer", "is it up?"))
    assert ("192.0.2.1 does not answer", "repeat the command: what was begun is finished") == (
        error.message,
        error.hint,
    )


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


def test_where_a_host_is_reached_that_is_gone_another_one_may_be(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        token = await cluster.token()
        await cluster.ask_to_join("two", token)
        with pytest.raises(Conflict, match=r"192\.0\.2\.9 is where host 'two' \(number 2\)"):
            await cluster.ask_to_join("three", token, address="192.0.2.9")
        await one.intents.remove_host("two", force=False)
        joined = await cluster.ask_to_join("three", token, address="192.0.2.9")
        assert 3 == joined.host.number

    run(tmp_path, scenario)


def test_no_network_is_made_around_where_a_host_is_reached(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        await cluster.ask_to_join("two", await cluster.token())
        for taken, host in (("192.0.2.0/29", "one"), ("192.0.2.8/29", "two")):
            wish = NewNetwork(name="own", subnets=(ip_network(taken),))
            with pytest.raises(Conflict, match=f"overlaps .*, where host '{host}' is reached"):
                await one.intents.create_network(wish)

    run(tmp_path, scenario)


def test_a_host_that_is_reached_inside_the_cluster_becomes_no_control_host(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        (record,) = one.intents.facts.all(Cluster)
        services = (ip_network("192.0.2.0/29"),)
        await one.intents.records.commit([replace(record, service_subnets=services)])
        with pytest.raises(
            Conflict, match=r"192\.0\.2\.1 is in the service subnet 192\.0\.2\.0/29"
        ):
            await cluster.token()
        assert not one.keeper.whole

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


def test_a_host_that_asks_again_is_reached_where_it_says_now(tmp_path):
    async def scenario(cluster):
        one = await cluster.first()
        token = await cluster.token()
        first = await cluster.ask_to_join("two", token, underlay=(ip_address("192.0.2.7"),))
        mended = await cluster.ask_to_join("two", token, underlay=(ip_address("192.0.2.8"),))
        assert first.host.number == mended.host.number
        (peer,) = one.intents.facts.all(Peer)
        assert (ip_address("192.0.2.8"),) == mended.host.underlay == peer.underlay
        with pytest.raises(Conflict, match="is where host 'one'"):
            await cluster.ask_to_join("two", token, underlay=one.intents.here.underlay)

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
