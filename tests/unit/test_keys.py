"""Who may sign for a host; the fake is held to the same as the real keys."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authority import Authority
from fakes_keys import FakeKeys
from seaway.errors import Invalid
from seaway.routed.core import LinkKeys
from seaway.routed.keys import HostKeys
from seaway.trust.certificates import key_digest


def real() -> dict[str, LinkKeys]:
    authority = Authority()
    return {name: HostKeys(authority.host(name), authority.pem) for name in "ab"}


@pytest.fixture(params=["fake", "real"])
def keys(request: pytest.FixtureRequest) -> dict[str, LinkKeys]:
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


AUTHORITY = Authority()
HOLDER = HostKeys(AUTHORITY.host("a"), AUTHORITY.pem)
JUDGE = HostKeys(AUTHORITY.host("b"), AUTHORITY.pem)
OCTET = st.tuples(st.integers(0, len(HOLDER.credential) - 1), st.integers(0, 255))


# The library warns of a number that it takes today; here that is no error.
@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@given(st.lists(OCTET, min_size=1, max_size=3))
@settings(max_examples=500)
def test_whatever_is_given_as_a_credential_is_judged(octets):
    data = bytearray(HOLDER.credential)
    for place, octet in octets:
        data[place] = octet
    altered = bytes(data) != HOLDER.credential

    assert altered != JUDGE.holds("a", bytes(data), b"body", HOLDER.sign(b"body"))


ECDSA_WITH_SHA256 = bytes.fromhex("06082a8648ce3d040302")


def test_a_credential_that_is_signed_in_an_unknown_way_is_none():
    found = HOLDER.credential
    assert 2 == found.count(ECDSA_WITH_SHA256)
    strange = found.replace(ECDSA_WITH_SHA256, ECDSA_WITH_SHA256[:-1] + b"\x7f")

    assert not JUDGE.holds("a", strange, b"body", HOLDER.sign(b"body"))


def test_both_ends_of_a_link_know_its_number_when_they_know_each_other(keys):
    a, b = keys["a"], keys["b"]
    assert None is a.number("b")
    assert a.learn("b", b.credential)
    assert a.learn("b", b.credential)
    b.holds("a", a.credential, b"body", a.sign(b"body"))

    assert a.number("b") == b.number("a")
    assert 0 <= a.number("b") < 1 << 64


def test_what_is_no_credential_of_a_host_tells_no_number(keys):
    assert not keys["a"].learn("b", keys["a"].credential)
    assert not keys["a"].learn("b", b"nothing")
    assert None is keys["a"].number("b")


def test_no_two_links_have_the_same_number():
    authority = Authority()
    found = {name: HostKeys(authority.host(name), authority.pem) for name in "abc"}
    for one, other in permutations("abc", 2):
        found[one].learn(other, found[other].credential)

    assert 3 == len({found[one].number(other) for one, other in permutations("abc", 2)})


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
    assert not keeper.learn("a", old.credential)
    assert keeper.holds("a", new.credential, b"body", new.sign(b"body"))


def test_a_host_that_joins_or_leaves_takes_nobody_elses_link(keys):
    """What was clear of the others stays: answers that come meanwhile are not forged."""
    a, b = keys["a"], keys["b"]
    digest = "" if isinstance(b, FakeKeys) else key_digest(b._key.public_key())
    a.know({"b": digest})
    assert a.learn("b", b.credential)
    number = a.number("b")
    assert number is not None

    for members in ({"b": digest, "c": "0" * 64}, {"b": digest}):
        a.know(members)
        assert number == a.number("b")


@pytest.mark.parametrize("bad", [b"", b"nothing", Authority().pem])
def test_what_is_no_key_is_told_as_such(bad):
    with pytest.raises(Invalid):
        HostKeys(bad, Authority().pem)
