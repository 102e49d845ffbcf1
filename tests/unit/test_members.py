"""The way to a member of etcd: how it is named, and what is said where none answers."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from seaway.errors import Invalid, Unavailable
from seaway.store.etcd import EtcdStore
from seaway.store.members import Identity, Member, Members

IDENTITY = Identity(Path("/ca"), Path("/certificate"), Path("/key"))


@pytest.mark.parametrize(
    ("given", "identity", "member"),
    [
        ("192.0.2.1", None, Member("192.0.2.1:2379", secure=False)),
        ("192.0.2.1:99", IDENTITY, Member("192.0.2.1:99", secure=True)),
        ("[2001:db8::1]:99", None, Member("[2001:db8::1]:99", secure=False)),
        ("https://etcd.example", None, Member("etcd.example:2379", secure=True)),
        ("https://[2001:db8::1]/", IDENTITY, Member("[2001:db8::1]:2379", secure=True)),
        ("http://192.0.2.1:99", IDENTITY, Member("192.0.2.1:99", secure=False)),
        ("unix:/run/etcd", IDENTITY, Member("unix:/run/etcd", secure=False)),
    ],
)
def test_a_member_is_named_by_an_address_or_a_url(given, identity, member):
    assert [member] == Members([given], identity)._members


@pytest.mark.parametrize("given", ["", "ftp://a", "a:port", "http://a/path", "2001:db8::1", "//"])
def test_what_is_none_is_refused(given):
    with pytest.raises(Invalid, match="is no member of etcd"):
        Members([given])


def test_none_at_all_is_refused():
    with pytest.raises(Invalid, match="no member of etcd was given"):
        Members([])


def test_where_none_answers_all_are_named_with_their_reasons(tmp_path):
    async def scenario(silent: str) -> None:
        store = EtcdStore(["127.0.0.1:1", silent, f"unix:{tmp_path}/none"])
        start = time.monotonic()
        with pytest.raises(Unavailable) as told:
            await store.load()
        assert 30 > time.monotonic() - start
        refused = "127.0.0.1:1: Failed to connect to remote host: Connection refused"
        for why in (refused, f"{silent}: no answer in time", f"{tmp_path}/none: "):
            assert why in told.value.message
        await store.close()

    with socket.create_server(("127.0.0.1", 0)) as silent:
        asyncio.run(scenario(f"127.0.0.1:{silent.getsockname()[1]}"))


def test_a_host_without_etcd_does_not_pay_for_its_client():
    heavy = "{'aetcd', 'grpc', 'google.protobuf'} & sys.modules.keys()"
    asked = f"import sys, seaway.agent, seaway.store.remembering; sys.exit(bool({heavy}))"
    subprocess.run([sys.executable, "-c", asked], check=True)
