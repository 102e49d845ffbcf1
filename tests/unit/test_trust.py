"""Tokens, keys and certificates: what they say, and what is refused."""

from __future__ import annotations

import socket
import ssl
import stat
import threading
import time
from contextlib import suppress
from datetime import timedelta
from ipaddress import ip_address

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from seaway.errors import Forbidden, Invalid, StoreDamaged, Unavailable
from seaway.model.durations import in_words, parse_duration
from seaway.model.facts import Token
from seaway.trust import authority, certificates, contexts, tokens
from seaway.trust.authority import Authority
from seaway.trust.certificates import Identity
from seaway.trust.folder import Folder
from seaway.trust.keeper import Keeper
from seaway.trust.refusals import LASTING, MOST, WITHIN, Refusals

NOW = float(int(time.time()))
DAY = 86400.0
OURS = Authority.create("c0ffee", NOW)
KEY = certificates.new_key()
HOST = Identity("c0ffee", "host1", (ip_address("192.0.2.1"), ip_address("2001:db8::1")))


def token_of(made, **fields):
    given_ = {
        "id": made.id,
        "digest": tokens.digest(made.id, made.secret),
        "created": NOW,
        "expires": NOW + 3600,
    }
    return Token(**given_ | fields)


# Tokens


def test_a_token_is_read_as_it_was_printed():
    made = tokens.make(OURS.digest)
    assert made == tokens.parse(f" {made}\n")
    assert OURS.digest == made.authority


def test_no_two_tokens_are_the_same_and_their_secrets_are_long():
    made = {tokens.make(OURS.digest).secret for _ in range(100)}
    assert 100 == len(made)
    assert {32} == {len(secret) for secret in made}


@given(st.text(max_size=200))
def test_what_is_no_token_is_refused(text):
    with pytest.raises(Invalid, match="that is no join token"):
        tokens.parse(text)


@given(st.integers(0, 105), st.characters())
def test_a_token_that_was_mistyped_is_refused_or_another_one(at, character):
    made = tokens.make(OURS.digest)
    text = str(made)
    changed = text[:at] + character + text[at + 1 :]
    try:
        found = tokens.parse(changed)
    except Invalid:
        return
    if changed == text:
        assert made == found
    else:
        assert made != found


def test_a_token_holds_until_it_expires():
    made = tokens.make(OURS.digest)
    record = token_of(made)
    assert record == tokens.check(record, made.id, made.secret, NOW)
    assert record == tokens.check(record, made.id, made.secret, NOW + 3599.9)
    with pytest.raises(Forbidden, match="expired 0 s ago"):
        tokens.check(record, made.id, made.secret, NOW + 3600)
    with pytest.raises(Forbidden, match="expired 2 h 1 min ago"):
        tokens.check(record, made.id, made.secret, NOW + 3600 + 7260)


@given(st.text(max_size=64))
def test_nobody_without_the_secret_learns_whether_there_is_such_a_token(guess):
    made = tokens.make(OURS.digest)
    told = set()
    for record in (token_of(made), token_of(made, expires=0.0), None):
        with pytest.raises(Forbidden) as refused:
            tokens.check(record, made.id, guess, NOW)
        told.add(str(refused.value))
    assert 1 == len(told)


def test_a_token_is_used_as_often_as_it_may_be():
    made = tokens.make(OURS.digest)
    tokens.check_uses(token_of(made, uses=2, used=1))
    tokens.check_uses(token_of(made, used=1000))
    with pytest.raises(Forbidden, match="was used 2 times, as often as it may be"):
        tokens.check_uses(token_of(made, uses=2, used=2))


def test_the_record_of_a_token_does_not_hold_its_secret():
    made = tokens.make(OURS.digest)
    assert made.secret not in repr(token_of(made))


# Certificates


def signed(key=KEY, identity=HOST, by=OURS, at=NOW, **how):
    request = certificates.request(key, identity.host)
    return by.sign(request, identity, at, **how).encode()


def test_a_certificate_says_whose_it_is_and_for_how_long():
    found = certificates.read(signed())
    assert ("c0ffee", "host1") == (found.cluster, found.host)
    assert set(HOST.addresses) == found.addresses
    assert NOW + 30 * DAY == found.ends
    assert NOW - 3600 == found.begins
    assert NOW + 19.9 * DAY < found.renewal < NOW + 20.1 * DAY


def test_the_key_of_a_host_is_known_by_its_digest():
    request = certificates.request(KEY, "host1")
    digest = certificates.key_digest(certificates.key_of_request(request))
    assert digest == certificates.read(signed()).key
    assert digest != certificates.read(signed(key=certificates.new_key())).key


def test_of_a_request_the_key_alone_is_believed():
    request = certificates.request(KEY, "the-kings-host")
    assert "host1" == certificates.read(OURS.sign(request, HOST, NOW).encode()).host


def test_a_request_that_another_key_signed_is_refused():
    pem = certificates.request(KEY, "host1").splitlines()
    other = certificates.request(certificates.new_key(), "host1").splitlines()
    mixed = "\n".join([*pem[:4], *other[4:]])
    with pytest.raises(Invalid):
        certificates.key_of_request(mixed)


PIECES = st.sampled_from(
    [
        certificates.request(KEY, "host1"),
        signed().decode(),
        KEY.decode(),
        OURS.certificate.decode(),
        "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
    ]
)


@st.composite
def mangled(draw):
    """A text in PEM with some of its bytes changed, cut or doubled."""
    text = bytearray(draw(PIECES).encode())
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text) - 1))
        match draw(st.sampled_from(["change", "cut", "double"])):
            case "change":
                text[at] = draw(st.integers(0, 255))
            case "cut":
                del text[at : at + draw(st.integers(1, 64))]
            case "double":
                text[at:at] = text[at : at + draw(st.integers(1, 64))]
        if not text:
            text = bytearray(b"-")
    return bytes(text)


READERS = (
    certificates.read,
    certificates.authority_digest,
    certificates.load_key,
    lambda data: certificates.key_of_request(data.decode(errors="replace")),
)


def test_a_certificate_of_a_version_that_there_is_not_is_refused():
    der = ssl.PEM_cert_to_DER_cert(OURS.certificate.decode())
    third = bytes.fromhex("a003020102")
    assert third in der
    with pytest.raises(Invalid):
        certificates.read(der.replace(third, bytes.fromhex("a003020101")))


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@given(st.binary(max_size=300) | mangled(), st.sampled_from(READERS))
@settings(max_examples=300)
def test_whatever_is_given_as_a_certificate_key_or_request_is_read_or_refused(data, reader):
    with suppress(Invalid):
        reader(data)


def test_a_certificate_whose_key_is_no_point_of_its_curve_is_refused():
    octets = bytearray(ssl.PEM_cert_to_DER_cert(signed().decode()))
    at = octets.index(bytes.fromhex("03420004")) + 3  # the form of the point
    octets[at] = 0x14
    with pytest.raises(Invalid, match="of no host of Seaway's"):
        certificates.read(bytes(octets))


def test_what_is_too_long_is_not_looked_at():
    with pytest.raises(Invalid, match="that is too long"):
        certificates.read(signed() + b"#" * 20000)


def test_a_key_of_another_kind_is_refused():
    other = ec.generate_private_key(ec.SECP384R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with pytest.raises(Invalid, match="expected ECDSA on P-256"):
        certificates.load_key(other)


def test_a_ca_with_the_key_of_another_is_refused():
    other = Authority.create("c0ffee", NOW)
    assert OURS == authority.load(OURS.certificate, OURS.key)
    with pytest.raises(Invalid, match="is not that of its certificate"):
        authority.load(OURS.certificate, other.key)


def test_the_certificate_of_a_ca_is_of_no_host():
    with pytest.raises(Invalid, match="of no host of Seaway's"):
        certificates.read(OURS.certificate)


# Files, and renewal


class Clock:
    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock(NOW)


@pytest.fixture
def keeper(tmp_path, clock):
    made = Keeper(Folder(tmp_path / "trust"), clock)
    made.begin(HOST)
    return made


def test_a_host_that_is_alone_becomes_the_first_of_a_cluster_once(tmp_path, clock):
    keeper = Keeper(Folder(tmp_path / "trust"), clock)
    assert (False, False, False) == (keeper.whole, keeper.signs, keeper.begun.is_set())
    key = keeper.begin(HOST)
    files = {path: path.read_bytes() for path in keeper.folder.path.iterdir()}

    assert keeper.whole
    assert keeper.signs
    assert keeper.begun.is_set()
    assert key == keeper.certificate().key == keeper.begin(HOST)
    assert files == {path: path.read_bytes() for path in keeper.folder.path.iterdir()}


def test_nobody_but_root_reads_what_is_secret(keeper):
    modes = {stat.S_IMODE(path.stat().st_mode) for path in keeper.folder.path.iterdir()}
    assert {0o600} == modes
    assert 0o700 == stat.S_IMODE(keeper.folder.path.stat().st_mode)


@pytest.mark.parametrize("lost", ["ca.key", "ca.pem", "host.pem"])
def test_a_beginning_that_was_killed_is_finished(keeper, lost):
    (keeper.folder.path / lost).unlink()
    keeper.begin(HOST)
    assert keeper.whole
    assert keeper.signs
    seen_by_server, _ = shake(keeper.contexts.serving, keeper.contexts.asking)
    assert "host1" == certificates.read(seen_by_server).host


def test_a_renewed_certificate_is_of_the_same_key(keeper, clock):
    old = keeper.certificate()
    clock.now += 20 * DAY
    keeper.take(keeper.sign(keeper.renewal(), HOST))
    new = keeper.certificate()

    assert (old.key, old.host) == (new.key, new.host)
    assert old.ends + 20 * DAY == new.ends
    assert old.serial != new.serial


def test_a_certificate_of_another_key_is_not_taken(keeper):
    before = keeper.folder.host.read_bytes()
    with pytest.raises(StoreDamaged, match="not of this host's key"):
        keeper.take(signed(key=certificates.new_key()).decode())
    assert before == keeper.folder.host.read_bytes()


def test_a_damaged_file_is_told(keeper):
    keeper.folder.host.write_bytes(b"nothing")
    with pytest.raises(StoreDamaged, match=r"host\.pem is damaged"):
        Keeper(keeper.folder).certificate()


# Over real connections


def shake(server, client, name="host1"):
    """What became of a connection: on both ends, the error or the other's certificate."""
    left, right = socket.socketpair()
    told = {}

    def accept():
        try:
            with server.wrap_socket(left, server_side=True) as connection:
                told["server"] = connection.getpeercert(binary_form=True)
                connection.sendall(b"hello")
                connection.recv(1)
        except OSError as error:
            told["server"] = error

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        with client.wrap_socket(right, server_hostname=name) as connection:
            told["client"] = connection.getpeercert(binary_form=True)
            connection.recv(5)
    except OSError as error:
        told["client"] = error
    right.close()
    thread.join(60)
    left.close()
    return told["server"], told["client"]


def folder_of(path, identity=HOST, by=OURS, at=None, **how):
    folder = Folder(path)
    folder.put(folder.authority, by.certificate)
    key = certificates.new_key()
    request = certificates.request(key, identity.host)
    folder.put_host(key, by.sign(request, identity, time.time() if at is None else at, **how))
    return folder


TODAY = Authority.create("c0ffee", time.time())
OTHER = Authority.create("c0ffee", time.time())


@pytest.fixture
def server(tmp_path):
    return contexts.serving(folder_of(tmp_path / "server", by=TODAY))


def test_two_hosts_of_a_cluster_know_each_other(tmp_path, server):
    folder = folder_of(tmp_path / "c", Identity("c0ffee", "host2"), by=TODAY)
    seen_by_server, seen_by_client = shake(server, contexts.asking(folder))
    assert "host2" == certificates.read(seen_by_server).host
    assert "host1" == certificates.read(seen_by_client).host


def test_who_has_no_certificate_yet_knows_the_cluster_by_its_ca(server):
    seen_by_server, seen_by_client = shake(
        server, contexts.joining(TODAY.certificate.decode()), "anything"
    )
    assert seen_by_server is None
    assert "host1" == certificates.read(seen_by_client).host


def test_a_certificate_of_another_ca_is_refused_by_both_ends(tmp_path, server):
    folder = folder_of(tmp_path / "c", Identity("c0ffee", "host2"), by=OTHER)
    seen_by_server, seen_by_client = shake(server, contexts.asking(folder))
    assert isinstance(seen_by_client, ssl.SSLCertVerificationError)
    assert isinstance(seen_by_server, OSError)

    folder.put(folder.authority, TODAY.certificate)  # it believes us, but shows another's
    seen_by_server, seen_by_client = shake(server, contexts.asking(folder))
    assert isinstance(seen_by_server, ssl.SSLCertVerificationError)
    assert "UNKNOWN_CA" in seen_by_client.reason


@pytest.mark.parametrize("when", ["expired", "not yet"])
def test_a_certificate_is_refused_out_of_its_time(tmp_path, server, when):
    at = time.time() - 40 * DAY if when == "expired" else time.time() + 40 * DAY
    folder = folder_of(tmp_path / "c", Identity("c0ffee", "host2"), by=TODAY, at=at)
    seen_by_server, _ = shake(server, contexts.asking(folder))
    assert {"expired": 10, "not yet": 9}[when] == seen_by_server.verify_code


def test_another_host_of_the_cluster_is_not_taken_for_the_one_that_was_asked(tmp_path, server):
    folder = folder_of(tmp_path / "c", Identity("c0ffee", "host2"), by=TODAY)
    _, seen_by_client = shake(server, contexts.asking(folder), "host3")
    assert "mismatch" in seen_by_client.verify_message
    _, seen_by_client = shake(server, contexts.asking(folder, any_host=True), "198.51.100.7")
    assert "host1" == certificates.read(seen_by_client).host


def test_a_certificate_that_no_ca_but_a_host_signed_is_refused(tmp_path, server):
    """A host's key signs for nobody: its certificate says so."""
    host = folder_of(tmp_path / "h", Identity("c0ffee", "host2"), by=TODAY)
    pretender = Authority(host.host_certificate(), host.host_key())
    folder = Folder(tmp_path / "c")
    folder.put(folder.authority, TODAY.certificate)
    key, identity = certificates.new_key(), Identity("c0ffee", "host3")
    made = pretender.sign(certificates.request(key, "host3"), identity, time.time())
    folder.put_host(key, made + host.host_certificate().decode())
    seen_by_server, _ = shake(server, contexts.asking(folder))
    assert isinstance(seen_by_server, ssl.SSLCertVerificationError)


def test_contexts_show_a_renewed_certificate_without_being_made_anew(tmp_path):
    keeper = Keeper(Folder(tmp_path / "trust"))
    keeper.begin(HOST)
    server, client = keeper.contexts.serving, keeper.contexts.asking
    _, before = shake(server, client)
    identity = Identity("c0ffee", "host1", (ip_address("192.0.2.9"),))
    keeper.take(keeper.sign(keeper.renewal(), identity))
    seen_by_server, seen_by_client = shake(server, client)

    assert before != seen_by_client == seen_by_server
    assert {ip_address("192.0.2.9")} == certificates.read(seen_by_client).addresses


def test_an_older_tls_is_not_spoken(server):
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    seen_by_server, _ = shake(server, client)
    assert "UNSUPPORTED_PROTOCOL" in seen_by_server.reason


# Who was refused


def test_who_shows_wrong_tokens_waits_and_nobody_else():
    clock = Clock(0.0)
    refusals = Refusals(clock)
    for _ in range(MOST):
        refusals.must_wait("192.0.2.1")
        refusals.wrong_token("192.0.2.1")
    with pytest.raises(Unavailable, match="try again in 60 s"):
        refusals.must_wait("192.0.2.1")
    refusals.must_wait("192.0.2.2")
    clock.now = WITHIN + 0.1
    refusals.must_wait("192.0.2.1")


def test_a_host_with_many_ipv6_addresses_is_one():
    refusals = Refusals(Clock(0.0))
    for n in range(MOST):
        refusals.wrong_token(f"2001:db8::{n}")
    with pytest.raises(Unavailable):
        refusals.must_wait("2001:db8::77")
    refusals.must_wait("2001:db8:0:1::77")
    refusals.must_wait("fe80::1%eth0")


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 100)), max_size=60))
def test_at_most_so_many_wrong_tokens_pass_within_a_minute(attempts):
    clock, passed = Clock(0.0), {}
    refusals = Refusals(clock)
    for who, later in attempts:
        clock.now += later
        address = f"192.0.2.{who}"
        try:
            refusals.must_wait(address)
        except Unavailable:
            continue
        refusals.wrong_token(address)
        times = passed.setdefault(who, [])
        times.append(clock.now)
        assert MOST >= sum(1 for t in times if t > clock.now - WITHIN)


def test_what_nobody_asks_for_any_more_is_forgotten():
    refusals = Refusals(Clock(0.0))
    for n in range(5000):
        refusals.wrong_token(f"10.{n >> 8}.{n & 255}.1")
    assert 1024 == len(refusals._wrong)


def test_a_host_that_has_just_joined_or_left_is_not_counted_and_one_that_goes_on_is():
    clock = Clock(0.0)
    refusals = Refusals(clock)
    for n in range(5000):
        refusals.count_lasting("certificate not of a host's record", f"{n}")
    clock.now = LASTING - 0.1
    refusals.count_lasting("certificate not of a host's record", "4999")
    assert not refusals.counts
    clock.now = LASTING + 0.1
    refusals.count_lasting("certificate not of a host's record", "new")
    refusals.count_lasting("certificate not of a host's record", "4999")
    assert 1 == refusals.counts["certificate not of a host's record"]
    assert 1024 == len(refusals._first)


def test_a_flood_of_refusals_is_counted_and_told_seldom():
    clock = Clock(0.0)
    refusals = Refusals(clock)
    told = 0
    for _ in range(1000):
        told += refusals.count("certificate of another CA")
        clock.now += 0.1
    assert 1000 == refusals.counts["certificate of another CA"]
    assert 10 == told


# Spans of time


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("24h", 86400), ("7d", 604800)]
)
def test_a_span_of_time_is_read(text, seconds):
    assert seconds == parse_duration(text)


@given(st.text(max_size=8))
def test_what_is_no_span_of_time_is_refused(text):
    with suppress(Invalid):
        assert parse_duration(text) >= 0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (62, "1 min 2 s"), (3660, "1 h 1 min"), (90000, "1 d 1 h")],
)
def test_a_span_of_time_is_told(seconds, words):
    assert words == in_words(seconds)


def test_a_certificate_may_be_for_a_shorter_time():
    assert NOW + 60 == certificates.read(signed(lifetime=timedelta(minutes=1))).ends
