"""Who may sign for a host; the fake is held to the same as the real keys."""

from __future__ import annotations

import pytest

from authority import Authority
from fakes_keys import FakeKeys
from seaway.errors import Invalid
from seaway.routed.flood import Keys
from seaway.routed.keys import HostKeys, key_digest


def real() -> dict[str, Keys]:
    authority = Authority()
    return {name: HostKeys(authority.host(name), authority.pem) for name in "ab"}


@pytest.fixture(params=["fake", "real"])
def keys(request: pytest.FixtureRequest) -> dict[str, Keys]:
    return {name: FakeKeys(name) for name in "ab"} if request.param == "fake" else real()


def test_what_a_host_signs_is_held_to_be_its_own_by_others(keys):
    signature = keys["a"].sign(b"body")
    for keeper in keys.values():
        assert keeper.holds("a", keys["a"].credential, b"body", signature)
        assert keeper.holds("a", keys["a"].credential, b"body", signature)


def test_nothing_else_is(keys):
    a, b = keys["a"], keys["b"]
    signature = a.sign(b"body")

    assert not b.holds("a", a.credential, b"other", signature)
    assert not b.holds("b", a.credential, b"body", signature)
    assert not b.holds("a", b.credential, b"body", signature)
    assert not b.holds("a", a.credential, b"body", b.sign(b"body"))
    assert not b.holds("a", a.credential, b"body", b"")
    assert not b.holds("a", b"", b"body", signature)
    assert not b.holds("a", b"\x30\x82" * 900, b"body", signature)
    assert not b.holds("a", bytes(5000), b"body", signature)


def test_a_certificate_of_another_cluster_is_none():
    ours, theirs = Authority(), Authority("theirs")
    stranger = HostKeys(theirs.host("a"), theirs.pem)

    assert not HostKeys(ours.host("b"), ours.pem).holds(
        "a", stranger.credential, b"body", stranger.sign(b"body")
    )


def test_one_of_another_cluster_of_the_same_name_is_none():
    ours, theirs = Authority(), Authority()
    stranger = HostKeys(theirs.host("a"), theirs.pem)

    assert not HostKeys(ours.host("b"), ours.pem).holds(
        "a", stranger.credential, b"body", stranger.sign(b"body")
    )


def test_the_word_of_a_host_that_is_dead_holds_when_its_certificate_has_run_out():
    authority = Authority()
    dead = HostKeys(authority.host("a", expired=True), authority.pem)

    assert HostKeys(authority.host("b"), authority.pem).holds(
        "a", dead.credential, b"body", dead.sign(b"body")
    )


def test_of_a_host_that_has_a_new_certificate_the_old_one_is_not_kept():
    authority = Authority()
    keeper = HostKeys(authority.host("b"), authority.pem)
    for _ in range(3):
        renewed = HostKeys(authority.host("a"), authority.pem)
        assert keeper.holds("a", renewed.credential, b"body", renewed.sign(b"body"))

    assert 1 == len(keeper._holders)


def test_a_key_that_is_not_the_one_of_the_hosts_record_does_not_count():
    authority = Authority()
    keeper = HostKeys(authority.host("b"), authority.pem)
    old, new = (HostKeys(authority.host("a"), authority.pem) for _ in range(2))
    assert keeper.holds("a", old.credential, b"body", old.sign(b"body"))
    keeper.know({"a": key_digest(new._key.public_key()), "b": ""})

    assert not keeper.holds("a", old.credential, b"body", old.sign(b"body"))
    assert keeper.holds("a", new.credential, b"body", new.sign(b"body"))


@pytest.mark.parametrize("bad", [b"", b"nothing", Authority().pem])
def test_what_is_no_key_is_told_as_such(bad):
    with pytest.raises(Invalid):
        HostKeys(bad, Authority().pem)
