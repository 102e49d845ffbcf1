"""Entries of a host's maps that somebody deletes, changes and plants by hand, past its agent.

Each tells the key as the agent names it.
"""

from __future__ import annotations

import struct

from tests.evidence import Evidence, opened

from seaway.bpf import abi, maps
from seaway.bpf.table import Table
from seaway.model.addresses import unmapped
from seaway.model.differences import named

_PREFIX = struct.pack("=I", 128) + bytes(10) + b"\xff\xff" + bytes((10, 99, 0, 1))
_NUMBER = struct.pack("=I", 99999)
_STRANGE = (
    {  # keys that nothing of ours has
        "endpoints": _PREFIX[4:],
        "members": _PREFIX[4:],
        "connections": struct.pack("=II", 77, 78),
    }
    | dict.fromkeys(("interfaces", "tunnels", "next_hops", "paths", "link_numbers"), _NUMBER)
)


def entry(evidence: Evidence, name: str) -> tuple[bytes, bytes]:
    """One that is there, always the same."""
    with opened(evidence.map(name)) as fd:
        return min(Table(fd).elements())


def delete_entry(evidence: Evidence, name: str) -> str:
    key, _ = entry(evidence, name)
    delete(evidence, name, key)
    return _named(name, key)


def delete(evidence: Evidence, name: str, key: bytes) -> None:
    with opened(evidence.map(name)) as fd:
        assert {} == Table(fd).delete([key])


def change_entry(evidence: Evidence, name: str) -> str:
    key, value = entry(evidence, name)
    with opened(evidence.map(name)) as fd:
        assert {} == Table(fd).update([(key, bytes([value[0] ^ 1]) + value[1:])])
    return _named(name, key)


def plant_entry(evidence: Evidence, name: str) -> str:
    key, value = entry(evidence, name)
    planted = _STRANGE.get(name, _PREFIX)
    assert len(key) == len(planted)
    with opened(evidence.map(name)) as fd:
        assert {} == Table(fd).update([(planted, value)])
    return _named(name, planted)


def _named(name: str, key: bytes) -> str:
    if name == "origins":  # all of an address are one object
        return named(unmapped(abi.PortKey.unpack(key).addr))
    return named(maps.CODECS[name][0].unpack(key))
