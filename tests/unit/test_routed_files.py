"""What `routed` reads and keeps: orders, and link state over a restart."""

from __future__ import annotations

import ssl
from ipaddress import ip_address, ip_network

import pytest

from authority import Authority
from fakes_keys import FakeKeys
from seaway.errors import HostUnfit, Undecodable
from seaway.model import codec
from seaway.model.links import LinkState
from seaway.model.routing import Member, Orders
from seaway.routed import memory
from seaway.routed.credentials import Credentials
from seaway.routed.database import Entry
from seaway.routed.flood import Flood
from seaway.routed.messages import Signed, encode
from seaway.routed.orders import addresses, ring
from seaway.routed.orders_file import OrdersFile
from seaway.trust.folder import Folder

HERE = {"host": "a", "number": 1, "underlay": (ip_address("192.0.2.1"),)}


def entry(host: str, born: float = 0.0) -> Entry:
    state = LinkState(host)
    body, keys = encode(Signed(7, state)), FakeKeys(host)
    return Entry(7, body, keys.sign(body), keys.credential, state, born)


def test_link_state_is_the_same_after_a_restart(tmp_path):
    file = tmp_path / "link-state"
    entries = [entry("a", 50.0), entry("b", 90.0)]
    memory.save(file, entries, 100.0, 1_000_100.0)

    # the clock that never goes back began anew, and two minutes passed
    loaded = memory.load(file, 20.0, 1_000_220.0)
    assert [e._replace(born=0.0) for e in entries] == [e._replace(born=0.0) for e in loaded]
    assert [-150.0, -110.0] == [e.born for e in loaded]
    assert 0o600 == file.stat().st_mode & 0o777


@pytest.mark.parametrize("found", [None, b"", b"nothing", b"\x91\x93\x01"])
def test_what_is_not_there_or_cannot_be_read_is_nothing(tmp_path, found):
    file = tmp_path / "link-state"
    if found is not None:
        file.write_bytes(found)
    assert [] == memory.load(file, 0.0, 0.0)


def test_of_what_it_kept_a_host_goes_on_above_its_own_number_and_knows_members_alone():
    flood = Flood("a", FakeKeys("a"), 0)
    flood.admit({"b"})
    flood.restore([entry("a"), entry("b"), entry("stranger")])
    assert {"b"} == flood.entries.keys()
    assert LinkState("a") == flood.earlier

    flood.announce(LinkState("a", relay=False), 1.0)
    assert 8 == flood.entries["a"].sequence


def test_orders_are_read_when_they_are_others(tmp_path):
    path = tmp_path / "orders"
    file = OrdersFile(path)
    assert None is file.read()
    path.write_bytes(codec.encode(Orders(**HERE)))
    assert Orders(**HERE) == file.read()
    assert None is file.read()

    new = tmp_path / "new"
    new.write_bytes(codec.encode(Orders(**HERE, relay=False)))
    new.replace(path)
    assert Orders(**HERE, relay=False) == file.read()


def test_orders_that_cannot_be_read_are_told_once(tmp_path):
    path = tmp_path / "orders"
    path.write_text('{"host": 1}')
    file = OrdersFile(path)
    with pytest.raises(Undecodable, match="orders"):
        file.read()
    assert None is file.read()


def member(name: str, number: int, *underlay: str) -> Member:
    return Member(name=name, number=number, underlay=tuple(ip_address(a) for a in underlay))


def test_a_member_is_met_at_an_address_of_a_family_that_this_host_has():
    orders = Orders(
        **HERE,
        members=(
            member("b", 2, "2001:db8::2", "192.0.2.2"),
            member("c", 3, "2001:db8::3"),
            member("d", 4),
        ),
    )
    assert {"b": ip_address("192.0.2.2")} == addresses(orders)
    assert {"b"} == ring(orders)


def test_who_has_an_address_in_a_segment_of_this_host_is_in_it():
    near = [member(f"n{n:02}", n, f"192.0.2.{n}") for n in range(2, 40)]
    far = [member(f"f{n:02}", n, f"198.51.100.{n}") for n in range(40, 80)]
    orders = Orders(**HERE, members=(*near, *far), segments=(ip_network("192.0.2.0/24"),))
    chosen = ring(orders)

    assert 8 <= sum(name[0] == "n" for name in chosen) < 16
    assert any(name[0] == "f" for name in chosen)


def test_sessions_are_for_members_alone_whose_certificates_are_as_they_must_be(tmp_path):
    authority, folder = Authority(), Folder(tmp_path)
    folder.put(folder.authority, authority.pem)
    folder.put(folder.host, authority.host("a"))
    made = Credentials(folder)
    for context in (made.serving, made.asking):
        assert ssl.CERT_REQUIRED == context.verify_mode
        assert ssl.TLSVersion.TLSv1_3 == context.minimum_version
        assert ssl.VerifyFlags.VERIFY_X509_STRICT in context.verify_flags
    assert made.asking.check_hostname


def test_a_host_that_has_not_joined_says_so(tmp_path):
    with pytest.raises(HostUnfit, match="has not joined"):
        Credentials(Folder(tmp_path))
