"""Rules that choose a routing table: RTM_NEWRULE and its like."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from seaway.kernel.messages.fields import family, ip, number, u32, unpack
from seaway.kernel.rtnl import NLM_F_CREATE, NLM_F_EXCL, Request, attribute, attributes
from seaway.model.addresses import Address

RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34

# family, dst length, src length, tos, table, 2 reserved, action, flags (struct fib_rule_hdr)
_HEAD = struct.Struct("=BBBBBBBBI")
_SRC, _PRIORITY, _TABLE, _PROTOCOL = 2, 6, 15, 21
_TO_TABLE: Final = 1  # FR_ACT_TO_TBL


class RuleEntry(NamedTuple):
    """What comes from one address is sent by this table."""

    source: Address
    table: int
    priority: int
    protocol: int  # who made it


def new_rule(rule: RuleEntry) -> Request:
    """EEXIST if it is there."""
    return Request(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, _rule(rule))


def delete_rule(rule: RuleEntry) -> Request:
    """ENOENT if there is none."""
    return Request(RTM_DELRULE, 0, _rule(rule))


def _rule(rule: RuleEntry) -> bytes:
    head = _HEAD.pack(family(rule.source), 0, rule.source.max_prefixlen, 0, 0, 0, 0, _TO_TABLE, 0)
    return b"".join(
        (
            head,
            attribute(_SRC, rule.source.packed),
            u32(_PRIORITY, rule.priority),
            u32(_TABLE, rule.table),
            attribute(_PROTOCOL, bytes([rule.protocol])),
        )
    )


def list_rules(af: int) -> tuple[int, bytes]:
    """The arguments of `Rtnl.dump`."""
    return RTM_GETRULE, _HEAD.pack(af, 0, 0, 0, 0, 0, 0, 0, 0)


def parse_rule(body: bytes) -> RuleEntry | None:
    """None for one of another kind: it may say more, or is not for a single address."""
    af, to, length, tos, _table, _, _, action, _flags = unpack(_HEAD, body)
    found = attributes(body, _HEAD.size)
    source = ip(af, found.get(_SRC))
    if source is None or length != source.max_prefixlen or (to, tos, action) != (0, 0, _TO_TABLE):
        return None
    protocol = (found.get(_PROTOCOL) or b"\0")[0]
    return RuleEntry(source, number(found.get(_TABLE)), number(found.get(_PRIORITY)), protocol)
