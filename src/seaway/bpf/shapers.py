"""The shapers of endpoints whose bandwidth is limited: each a veth pair with a queue at either end
and our program behind both (bpf/lib/shaper.h). Nothing of the host's goes by them.

An agent without memory knows its own by three marks together: the name begins as
`names.shaper_names` makes it, the kind is veth, and the MAC is that of all shapers. Half a pair is
never left: what fails while it is made takes it away again.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Final

from seaway.bpf.classifier import Classifier
from seaway.bpf.objects import DataPlane
from seaway.kernel.links import delete_links
from seaway.kernel.messages import link as wire
from seaway.kernel.messages import qdisc
from seaway.kernel.rtnl import Rtnl
from seaway.model.kernel import SHAPER_HOOKS, Shaper, Shaping
from seaway.names import SHAPER_MAC, SHAPER_PREFIXES, shaped_link, shaper_names

Numbers = tuple[int, int]  # of both ends of a shaper
# An endpoint's link, and its shaper; LOST: it should be there, and is not; None: it is not wanted.
Told = Callable[[str, Numbers | None], None]
LOST: Final[Numbers] = (0, 0)

_HOOK: Final = "ingress"
Ends = tuple[wire.LinkEntry, wire.LinkEntry]


class ShaperTarget:
    """A target. Keys are the names of the endpoints' links."""

    name = "shapers"

    def __init__(self, plane: DataPlane, tell: Told | None = None) -> None:
        self._program = plane.programs[SHAPER_HOOKS[_HOOK]]
        self._tell = tell
        self._told: dict[str, Numbers] = {}
        self._looked = False
        self._rtnl = Rtnl()
        self._filters = Classifier(self._rtnl)

    def close(self) -> None:
        self._rtnl.close()

    def read(self) -> dict[str, Shaper]:
        """All devices are gone through once: what an agent before left. Later on by name."""
        links = self._told.keys() if self._looked else dict(_listed(self._rtnl)).keys()
        queues = dict(self._queues()) if links else {}
        found = {link: shaper for link in list(links) if (shaper := self._read(link, queues))}
        for link in self._told.keys() - found.keys():
            self._note(link, LOST if self._rtnl.ifindex(link) else None)  # or with its endpoint
        self._looked = True
        return found

    def put(self, objects: Mapping[str, Shaper]) -> dict[str, OSError]:
        failed = {}
        for link, wanted in objects.items():
            try:
                self._put(link, wanted)
            except OSError as error:
                failed[link] = error
                self._note(link, self._told.get(link, LOST))
        return failed

    def delete(self, keys: set[str]) -> dict[str, OSError]:
        ends = {link: self._ends(link) for link in keys}
        numbers = {link: pair[0].ifindex for link, pair in ends.items() if pair}
        try:
            left = delete_links(self._rtnl, list(numbers.values()))
        except OSError as error:
            return dict.fromkeys(numbers, error)
        for link in keys:
            self._note(link, None)
        return {link: left[number] for link, number in numbers.items() if number in left}

    def _note(self, link: str, ends: Numbers | None) -> None:
        before = self._told.pop(link, None)
        if ends:
            self._told[link] = ends
        if self._tell and before != ends:
            self._tell(link, ends)

    def _ends(self, link: str) -> Ends | None:
        """Ours, by their names."""
        found = []
        for name in shaper_names(link):
            ifindex = self._rtnl.ifindex(name)
            entry = _entry(self._rtnl, ifindex) if ifindex else None
            if entry is None or not _is_ours(entry):
                return None
            found.append(entry)
        into, out = found
        return (into, out) if (into.peer, out.peer) == (out.ifindex, into.ifindex) else None

    def _queues(self) -> Iterator[tuple[int, Shaping]]:
        """By the numbers of their devices."""
        for body in self._rtnl.dump(*qdisc.list_qdiscs()):
            if told := qdisc.parse_tbf(body):
                yield told

    def _read(self, link: str, queues: Mapping[int, Shaping]) -> Shaper | None:
        pair = self._ends(link)
        if pair is None:
            there = any(self._rtnl.ifindex(name) for name in shaper_names(link))
            return Shaper(link, 0, None, None, whole=False) if there else None
        into, out = pair
        self._note(link, (into.ifindex, out.ifindex))
        whole = into.mtu == out.mtu and all(self._works(end) for end in pair)
        return Shaper(link, into.mtu, queues.get(into.ifindex), queues.get(out.ifindex), whole)

    def _works(self, end: wire.LinkEntry) -> bool:
        number = self._filters.standing(end.ifindex, _HOOK)
        return bool(end.flags & wire.UP) and number == self._program.id

    def _put(self, link: str, wanted: Shaper) -> None:
        with ExitStack() as undo:
            pair = self._ends(link) or self._create(link, wanted, undo)
            for end, shaping in zip(pair, (wanted.into, wanted.out), strict=True):
                self._set_up(end, shaping, wanted.mtu)
            undo.pop_all()
        self._note(link, (pair[0].ifindex, pair[1].ifindex))

    def _create(self, link: str, wanted: Shaper, undo: ExitStack) -> Ends:
        """Whatever of ours stands in their place goes."""
        self._clear(link)
        into, out = (
            wire.VethEnd(name, SHAPER_MAC, wanted.mtu, wire.NOARP) for name in shaper_names(link)
        )
        self._rtnl.one(wire.new_veth(into, out))
        undo.callback(self._rtnl.request, [wire.delete_link(self._rtnl.ifindex(into.name))])
        pair = self._ends(link)
        if pair is None:
            raise OSError(errno.ENODEV, f"the shaper of {link} went away again")
        return pair

    def _clear(self, link: str) -> None:
        for name in shaper_names(link):
            ifindex = self._rtnl.ifindex(name)
            entry = _entry(self._rtnl, ifindex) if ifindex else None
            if entry and _is_ours(entry):
                self._rtnl.request([wire.delete_link(ifindex)])  # with its other end
        for name in shaper_names(link):
            if self._rtnl.ifindex(name):
                raise OSError(errno.EEXIST, f"interface {name} exists, and is none of ours")

    def _set_up(self, end: wire.LinkEntry, shaping: Shaping | None, mtu: int) -> None:
        """The queue and the program first: nothing passes without them."""
        (error,) = self._rtnl.request([wire.no_link_local(end.ifindex)])
        if error and error.errno != errno.EAFNOSUPPORT:  # a host without IPv6
            raise error
        if end.mtu != mtu:
            self._rtnl.one(wire.change_mtu(end.ifindex, mtu))
        if shaping:
            self._put_queue(end.ifindex, shaping)
        else:
            self._rtnl.request([qdisc.delete_root(end.ifindex)])  # if there is one of ours
        for error in self._filters.attach(end.ifindex, {_HOOK: self._program}).values():
            raise error
        self._rtnl.one(wire.set_flags(end.ifindex, wire.UP | wire.NOARP))

    def _put_queue(self, ifindex: int, shaping: Shaping) -> None:
        (error,) = self._rtnl.request([qdisc.put_tbf(ifindex, shaping)])
        if error and error.errno == errno.ENOENT:
            text = "this kernel has no tbf (CONFIG_NET_SCH_TBF), by which bandwidth is limited"
            raise OSError(errno.EOPNOTSUPP, text)
        if error:
            raise error


def take_away() -> None:
    """All of this network namespace: for uninstall."""
    with Rtnl() as rtnl:
        delete_links(rtnl, [entry.ifindex for _, ends in _listed(rtnl) for entry in ends[:1]])


def _listed(rtnl: Rtnl) -> Iterator[tuple[str, list[wire.LinkEntry]]]:
    """By the link of the endpoint; what is there of each pair."""
    found: dict[str, list[wire.LinkEntry]] = {}
    for body in rtnl.dump(*wire.list_links("veth")):
        name = wire.parse_name(body)
        if not name.startswith(SHAPER_PREFIXES):
            continue
        entry = wire.parse_link(body)
        if _is_ours(entry):
            found.setdefault(shaped_link(name), []).append(entry)
    yield from found.items()


def _is_ours(entry: wire.LinkEntry) -> bool:
    return entry.kind == "veth" and entry.mac == SHAPER_MAC


def _entry(rtnl: Rtnl, ifindex: int) -> wire.LinkEntry | None:
    try:
        return wire.parse_link(rtnl.get(*wire.get_link(ifindex)))
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
        return None
