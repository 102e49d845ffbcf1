"""The local record of which host this is: `member.json` in the state folder, for root alone.

It is what a host must know before it can read any record, so it is no record itself. A host that
an earlier version set up has none, and one host in its own store: that is who it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from seaway import durable, names
from seaway.errors import Conflict, StoreDamaged, Undecodable
from seaway.model import codec
from seaway.model.facts import Cluster, Host, Value
from seaway.model.membership import Membership

_MEND = "write it anew by: seaway join TOKEN HOST, or seaway restore FILE --replace"


def load(path: Path = names.MEMBER_FILE) -> Membership | None:
    """None: this host has no cluster, or an earlier version gave it one."""
    data = durable.read(path)
    if data is None:
        return None
    try:
        return codec.decode(data, Membership)
    except Undecodable as error:
        raise StoreDamaged(f"{path} is damaged: {error.message}", _MEND) from error


def save(member: Membership, path: Path = names.MEMBER_FILE) -> None:
    """What is there already is left as it is."""
    if durable.read(path) == _written(member):
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    durable.write(path, _written(member), 0o600)


def _written(member: Membership) -> bytes:
    return codec.encode(member) + b"\n"


def stays(*, alone: bool) -> Conflict:
    """Why a host does not leave its cluster: it is all of it, or has the records of all."""
    if alone:
        return Conflict(
            "this host is the only one of its cluster",
            "to remove it all: seaway uninstall; then it may join another",
        )
    return Conflict(
        "the records of the whole cluster are on this host",
        "first move them: seaway init --etcd URL",
    )


def of_alone(records: Iterable[Value]) -> Membership | None:
    """Who a host is whose own store holds these records, if it is the only one in it."""
    found = list(records)
    clusters = [record for record in found if isinstance(record, Cluster)]
    hosts = [record for record in found if isinstance(record, Host)]
    if len(clusters) != 1 or len(hosts) != 1:
        return None
    return Membership(cluster=clusters[0].id, host=hosts[0].name)
