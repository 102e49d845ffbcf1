"""Programs attached the way that every kernel has: cls_bpf filters on a clsact qdisc.

Ours are known by handle, priority and protocol (`FilterId`), which others do not choose by chance.
Of several at one priority the latest runs first: so another's beside ours is found, and taken
away when ours is attached again. All of one device goes in one batch, which takes the kernel a
fraction of a millisecond; a TCX link takes it 16 (docs/decisions/attach.md).
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from seaway.bpf.objects import Program
from seaway.kernel.messages.fields import number, u32
from seaway.kernel.rtnl import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Request,
    Rtnl,
    attribute,
    attributes,
    nested,
)

_NEWQDISC, _DELQDISC, _NEWTFILTER, _DELTFILTER, _GETTFILTER = 36, 37, 44, 45, 46
_HEAD = struct.Struct("=BxxxiIII")  # struct tcmsg: family, ifindex, handle, parent, info
_KIND, _OPTIONS = 1, 2
_FD, _NAME, _FLAGS, _ID = 6, 7, 8, 11  # of cls_bpf
_DIRECT_ACTION: Final = 1
_CLSACT: Final = 0xFFFFFFF1
_CLSACT_HANDLE: Final = 0xFFFF0000
_PARENTS: Final = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}
_BEHIND_IFINDEX: Final = 8
_REMEMBERED: Final = 64
_ALL_PROTOCOLS: Final = 0x0300  # ETH_P_ALL, in network order


class FilterId(NamedTuple):
    """By which a filter is known on its hook."""

    handle: int = 1
    priority: int = 1

    @property
    def info(self) -> int:
        return self.priority << 16 | _ALL_PROTOCOLS


_OURS: Final = FilterId()  # on devices that are ours alone


def _filter(ifindex: int, hook: str, place: FilterId) -> bytes:
    head = _HEAD.pack(0, ifindex, place.handle, _PARENTS[hook], place.info)
    return head + attribute(_KIND, b"bpf\0")


def new_qdisc(ifindex: int) -> Request:
    body = _HEAD.pack(0, ifindex, _CLSACT_HANDLE, _CLSACT, 0) + attribute(_KIND, b"clsact\0")
    return Request(_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, body)


def delete_qdisc(ifindex: int) -> Request:
    return Request(_DELQDISC, 0, _HEAD.pack(0, ifindex, _CLSACT_HANDLE, _CLSACT, 0))


def new_filter(ifindex: int, hook: str, program: Program, place: FilterId = _OURS) -> Request:
    """In place of the one that is there, atomically, or anew."""
    options = nested(
        _OPTIONS,
        u32(_FD, program.fd),
        attribute(_NAME, program.name.encode() + b"\0"),
        u32(_FLAGS, _DIRECT_ACTION),
    )
    return Request(
        _NEWTFILTER, NLM_F_CREATE | NLM_F_REPLACE, _filter(ifindex, hook, place) + options
    )


def delete_filter(ifindex: int, hook: str, place: FilterId = _OURS) -> Request:
    return Request(_DELTFILTER, 0, _filter(ifindex, hook, place))


def list_filters(ifindex: int, hook: str, info: int = 0) -> tuple[int, bytes]:
    """The arguments of `Rtnl.dump`. 0: of every priority and protocol."""
    return _GETTFILTER, _HEAD.pack(0, ifindex, 0, _PARENTS[hook], info)


def parse_filter(body: bytes) -> tuple[int, int]:
    """Its handle (0: of a chain, not a filter), and the id of its program (0: it has none)."""
    if len(body) < _HEAD.size:
        raise ValueError(f"filter message of {len(body)} bytes, expected {_HEAD.size}")
    handle: int = _HEAD.unpack_from(body)[2]
    options = attributes(body, _HEAD.size).get(_OPTIONS, b"")
    return handle, number(attributes(options).get(_ID))


class Classifier:
    """Over one netlink socket."""

    def __init__(self, rtnl: Rtnl, place: FilterId = _OURS) -> None:
        self._rtnl = rtnl
        self._place = place
        self._parsed: dict[bytes, tuple[int, int]] = {}  # the kernel says the same of many devices

    def attach(self, ifindex: int, programs: Mapping[str, Program]) -> dict[str, OSError]:
        """Make these programs the ones on these hooks. What failed."""
        filters = [
            new_filter(ifindex, hook, program, self._place) for hook, program in programs.items()
        ]
        made, *outcome = self._rtnl.request([new_qdisc(ifindex), *filters])
        if made and made.errno != errno.EEXIST:
            return dict.fromkeys(programs, made)
        if made:  # a new qdisc is empty
            self._clear(ifindex, programs)
        return {
            hook: error for hook, error in zip(programs, outcome, strict=True) if error is not None
        }

    def program(self, ifindex: int, hook: str) -> int:
        """The id of the program of our filter; 0: there is no such filter."""
        kind, body = _GETTFILTER, _filter(ifindex, hook, self._place)
        try:
            answer = self._rtnl.get(kind, body)
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.EINVAL, errno.ENODEV}:
                return 0
            raise
        return self._parse(answer)[1]

    def standing(self, ifindex: int, hook: str) -> int:
        """The same, or (negative) the handle of another's filter in the place of ours."""
        ours = 0
        for handle, program in self._beside(ifindex, hook):
            if handle != self._place.handle:
                return -handle
            ours = program
        return ours

    def _clear(self, ifindex: int, hooks: Iterable[str]) -> None:
        """Leave ours alone there."""
        others = [
            (hook, h)
            for hook in hooks
            for h, _ in self._beside(ifindex, hook)
            if h != self._place.handle
        ]
        self._rtnl.request(
            [delete_filter(ifindex, h, self._place._replace(handle=n)) for h, n in others]
        )

    def _beside(self, ifindex: int, hook: str) -> list[tuple[int, int]]:
        """Handle and program of each filter in our place, in the order in which they run."""
        bodies = self._rtnl.dump(*list_filters(ifindex, hook, self._place.info))
        return [told for told in map(self._parse, bodies) if told[0]]

    def _parse(self, body: bytes) -> tuple[int, int]:
        told = body[_BEHIND_IFINDEX:]
        if told not in self._parsed:
            if len(self._parsed) > _REMEMBERED:
                self._parsed.clear()
            self._parsed[told] = parse_filter(body)
        return self._parsed[told]

    def detach(self, ifindex: int, hooks: Iterable[str]) -> None:
        """Take our filters away, and the qdisc if no other's are on it."""
        self._rtnl.request([delete_filter(ifindex, hook, self._place) for hook in hooks])
        if not any(self._foreign(ifindex, hook) for hook in _PARENTS):
            self._rtnl.request([delete_qdisc(ifindex)])

    def _foreign(self, ifindex: int, hook: str) -> bool:
        return any(parse_filter(body)[0] for body in self._rtnl.dump(*list_filters(ifindex, hook)))
