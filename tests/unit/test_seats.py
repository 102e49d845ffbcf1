"""This host's member of the etcd that Seaway runs: its files, and how it is called."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from msgspec.structs import replace

from seaway.cluster import seats
from seaway.cluster.seats import OwnSeat
from seaway.errors import HostUnfit
from seaway.model.facts import Host
from seaway.model.seats import Seating, client_url, peer_url
from seaway.trust.folder import Folder

SEATING = Seating(
    id=0,
    cluster="c0ffee",
    host="a",
    address=ip_address("2001:db8::1"),
    members={"a": "https://[2001:db8::1]:2380"},
)


class FakeDaemon:
    """That counts how often it was ended."""

    def __init__(self):
        self.ended = 0

    def stop(self):
        self.ended += 1
        return True


@pytest.fixture
def seat(tmp_path):
    return OwnSeat(tmp_path / "etcd", FakeDaemon())


def test_a_seat_is_taken_kept_and_left(seat):
    assert seat.seating() is None
    seat.take(SEATING)
    (seat.data / "member").mkdir(parents=True)
    seat.take(SEATING)
    assert SEATING == seat.seating()
    assert (seat.data / "member").exists()
    assert 0o600 == seat.file.stat().st_mode & 0o777
    seat.take(replace(SEATING, id=7))
    assert not seat.data.exists()
    seat.leave()
    assert seat.seating() is None
    seat.leave()


def test_what_a_restore_replaces_is_kept(seat):
    assert seat.set_aside() is None
    seat.take(SEATING)
    (seat.data / "member").mkdir(parents=True)
    kept = seat.set_aside()
    assert (kept / "data/member").exists()
    assert seat.seating() is None


def test_etcd_speaks_tls_alone_where_its_host_is_reached(seat, tmp_path):
    with pytest.raises(HostUnfit, match="there is no"):
        seats.command(seat)
    seat.take(SEATING)
    words = seats.command(seat, Folder(tmp_path / "trust"))
    for word in (
        "--listen-client-urls=https://[2001:db8::1]:2379",
        "--listen-peer-urls=https://[2001:db8::1]:2380",
        "--initial-cluster=a=https://[2001:db8::1]:2380",
        "--initial-cluster-state=new",
        "--client-cert-auth=true",
        "--peer-client-cert-auth=true",
        f"--peer-key-file={tmp_path}/trust/host.pem",
    ):
        assert word in words
    assert [] == [word for word in words if "http://" in word]
    seat.take(replace(SEATING, id=7))
    assert "--initial-cluster-state=existing" in seats.command(seat)


def test_where_etcd_is_not_installed_that_is_told(tmp_path):
    assert seats.missing(str(tmp_path))
    with pytest.raises(HostUnfit, match="etcd is not installed"):
        seats.require_program(str(tmp_path))


def test_a_host_is_met_at_its_first_address():
    host = Host(name="a", addresses=(), underlay=(ip_address("192.0.2.1"),))
    assert ("https://192.0.2.1:2380", "https://192.0.2.1:2379") == (
        peer_url(host),
        client_url(host),
    )
    assert ("", "") == (
        peer_url(replace(host, underlay=())),
        client_url(replace(host, underlay=())),
    )
