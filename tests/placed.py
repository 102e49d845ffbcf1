"""Hosts of a lab that are a cluster already: no join, but all that joins would have left on them.

Each has all records in a file of its own, so none needs another's store.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from seaway import names
from seaway.bootstrap import Plan, initialise
from seaway.client import Client
from seaway.cluster import membership
from seaway.desired.network.blocks import BLOCK_LENGTH
from seaway.errors import Unavailable
from seaway.facts import Facts
from seaway.lab import LabHost
from seaway.lab.hosts import SEAWAY
from seaway.model.addresses import Address
from seaway.model.facts import Block, Cluster, Host, Network
from seaway.model.membership import Membership
from seaway.records import Records
from seaway.store.sqlite import SqliteStore
from seaway.trust import certificates
from seaway.trust.authority import Authority
from seaway.trust.certificates import Identity
from seaway.trust.folder import Folder
from waiting import wait


def inside(host: LabHost, path: Path) -> Path:
    """A path of the host's, as the machine finds it."""
    return Path(f"/proc/{host.pid}/root{path}")


def client(host: LabHost) -> Client:
    return Client(inside(host, names.SOCKET))


def start(host: LabHost) -> None:
    """Its agent; it need not be ready yet."""
    host.start(SEAWAY, "agent", log=names.LOG_FILE)


def is_ready(host: LabHost) -> bool:
    try:
        return client(host).status().ready
    except Unavailable:
        return False


def cluster(hosts: Sequence[LabHost], families: Sequence[int] = (4, 6)) -> None:
    """Of these, with an agent on each; they reach each other by these families alone."""
    with TemporaryDirectory() as folder:
        found = asyncio.run(_place(hosts, families, Path(folder)))
        for host in hosts:
            for file in Path(folder).iterdir():
                shutil.copy(file, inside(host, names.STATE_FOLDER / file.name))
            known = Membership(cluster=found, host=host.name)
            membership.save(known, inside(host, names.MEMBER_FILE))
    for host in hosts:
        start(host)
    assert all(wait(lambda host=host: is_ready(host), 60) for host in hosts)


async def _place(hosts: Sequence[LabHost], families: Sequence[int], folder: Path) -> str:
    store, facts = SqliteStore(folder / names.STORE_FILE.name), Facts(())
    await initialise(store, Plan(host=hosts[0].name))
    records = Records(store, facts)
    await records.load()
    (found,) = facts.all(Cluster)
    authority = Authority.create(found.id, time.time())
    members: list[Host] = []
    for number, host in enumerate(hosts, 1):
        by_family = {4: host.address4, 6: host.address6}
        member = Host(
            name=host.name,
            number=number,
            addresses=tuple(subnet[number] for subnet in found.host_subnets),
            underlay=tuple(by_family[family] for family in families),
        )
        members.append(_trusted(host, member, found.id, authority))
    await records.commit([*members, *_blocks(facts, members)])
    await store.close()
    return found.id


def _blocks(facts: Facts, members: Sequence[Host]) -> Iterator[Block]:
    """One of each family for each: what is attached there is known to all."""
    (network,) = facts.all(Network)
    for subnet in network.subnets:
        parts = subnet.subnets(new_prefix=BLOCK_LENGTH[subnet.version])
        for member, prefix in zip(members, parts, strict=False):
            yield Block(prefix=prefix, network=network.name, host=member.name)


def _trusted(host: LabHost, member: Host, cluster: str, authority: Authority) -> Host:
    """With a certificate, and the record that names its key."""
    addresses: tuple[Address, ...] = (*member.underlay, *member.addresses)
    identity, key = Identity(cluster, member.name, addresses), certificates.new_key()
    request = certificates.request(key, member.name)
    certificate = authority.sign(request, identity, time.time())
    folder = Folder(inside(host, names.TRUST_FOLDER))
    folder.put(folder.authority, authority.certificate)
    folder.put_host(key, certificate)
    digest = certificates.read(certificate.encode()).key
    return Host(
        name=member.name,
        number=member.number,
        addresses=member.addresses,
        underlay=member.underlay,
        key=digest,
    )
