"""The veth pairs of endpoints: made with the peer in its container, configured, removed.

An agent without memory knows its own by three marks together: the name begins with `swy`, the
kind is veth, and the MAC is that of every gateway of ours (`names`). Half a pair is never left:
what fails while it is made takes it away again.
"""

from __future__ import annotations

import errno
import secrets
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TypeGuard

from seaway.kernel import inside as container
from seaway.kernel import netns
from seaway.kernel.messages import link as wire
from seaway.kernel.messages.route import delete_multicast
from seaway.kernel.rtnl import Request, Rtnl
from seaway.model.kernel import Inside, Link
from seaway.names import GATEWAY_MAC, LINK_PREFIX

Created = Callable[[str, int], None]  # is told the name and number of every link that was put


class LinkTarget:
    """Deletes go over a socket of their own: they may run in a thread, as they take 15 ms."""

    name = "links"

    def __init__(self, netns_path: Path | None = None, created: Created | None = None) -> None:
        self._created = created
        self._rtnl = netns.open_rtnl(netns_path)
        self._untidy: set[int] = set()  # set up since the last `tidy`
        self._deleter = netns.open_rtnl(netns_path)

    def close(self) -> None:
        self._rtnl.close()
        self._deleter.close()

    def read(self) -> dict[str, Link]:
        return {entry.name: as_link(entry) for entry in self._ours()}

    def ifindexes(self) -> dict[str, int]:
        return {entry.name: entry.ifindex for entry in self._ours()}

    def ifindex(self, name: str) -> int:
        """0: there is none."""
        return self._rtnl.ifindex(name)

    def up(self) -> set[int]:
        """Those of our links that are set up."""
        return {entry.ifindex for entry in self._ours() if entry.flags & wire.UP}

    def set_up(self, ifindex: int) -> None:
        """Its other end sends a little later: ask `idle`."""
        self._no_link_local(ifindex)  # once more: who made it may have died over it
        self._rtnl.one(wire.set_flags(ifindex, wire.UP))
        self._untidy.add(ifindex)

    def idle(self, name: str) -> bool:
        """Whether a new pair is set up, but its other end still drops all that it should send.

        The kernel puts both ends to work a little later (linkwatch), that one first. Until then
        the host's end is dormant, which is seen without the lock that the kernel works under.
        """
        return self._rtnl.flags(name) & (wire.UP | wire.RUNNING) == wire.UP

    def tidy(self) -> None:
        """Take away the route for ff00::/8 that the kernel gave each device that it put to work.

        All of them lie in one list, which it walks with every device more, and nothing of ours is
        sent by them (docs/decisions/raw-netlink.md).
        """
        untidy, self._untidy = self._untidy, set()
        for ifindex in untidy:
            with suppress(OSError):  # it is gone
                self._rtnl.get(*wire.get_link(ifindex))  # asked, it is done with it (since 6.8)
        self._rtnl.request([delete_multicast(ifindex) for ifindex in untidy])

    def put(self, objects: Mapping[str, Link]) -> dict[str, OSError]:
        failed = {}
        for name, link in objects.items():
            try:
                self._put(link)
                ifindex = self._there(name)
            except OSError as error:
                failed[name] = error
            else:
                if self._created:
                    self._created(name, ifindex)
        return failed

    def delete(self, keys: set[str]) -> dict[str, OSError]:
        """Many as one group: the kernel waits once for its readers, not once per link."""
        found = {name: self._deletable(name) for name in keys}
        names = {name: ifindex for name, ifindex in found.items() if ifindex}
        try:
            left = delete_links(self._deleter, list(names.values()))
        except OSError as error:
            return dict.fromkeys(names, error)
        return {name: left[ifindex] for name, ifindex in names.items() if ifindex in left}

    def check_inside(self, inside: Inside) -> list[str]:
        """What is wrong inside the container, in words; empty if nothing."""
        return container.check(inside)

    def repair_inside(self, inside: Inside) -> None:
        container.repair(inside)

    def _ours(self) -> Iterable[wire.LinkEntry]:
        for body in self._rtnl.dump(*wire.list_links("veth")):
            if not wire.parse_name(body).startswith(LINK_PREFIX):
                continue
            entry = wire.parse_link(body)
            if entry.kind == "veth" and entry.mac == GATEWAY_MAC:
                yield entry

    def _put(self, link: Link) -> None:
        ifindex = self._rtnl.ifindex(link.name)
        if ifindex:
            entry = wire.parse_link(self._rtnl.get(*wire.get_link(ifindex)))
            if entry.kind != "veth":
                raise OSError(errno.EEXIST, f"interface {link.name} exists and is no veth")
            self._correct(entry, link)
            if link.inside is None or self._correct_inside(entry, link, link.inside):
                return
            self._rtnl.one(wire.delete_link(ifindex))  # its other end is not where it belongs
        if link.inside is None:
            raise OSError(errno.ENODEV, f"no container is known for {link.name}")
        self._create(link, link.inside)

    def _there(self, name: str) -> int:
        """Its number, unless it went away with its container meanwhile."""
        ifindex = self._rtnl.ifindex(name)
        if not ifindex:
            raise OSError(errno.ENODEV, f"interface {name} went away again")
        return ifindex

    def _create(self, link: Link, inside: Inside) -> None:
        with ExitStack() as stack:
            descriptor, inner = stack.enter_context(netns.entered(inside))
            self._new_veth(link, inside, descriptor)
            ifindex = self._rtnl.ifindex(link.name)
            undo = stack.enter_context(ExitStack())
            undo.callback(self._rtnl.request, [wire.delete_link(ifindex)])
            self._no_link_local(ifindex)
            container.configure(inner, inside, inner.ifindex(inside.name))
            undo.pop_all()

    def _new_veth(self, link: Link, inside: Inside, descriptor: int) -> None:
        host = wire.VethEnd(link.name, link.mac, link.mtu, wire.NOARP, wire.DORMANT)
        peer = wire.VethEnd(inside.name, inside.mac, link.mtu)
        try:
            self._rtnl.one(wire.new_veth(host, peer, descriptor))
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
            text = f"interface {inside.name} exists in the container already"
            raise OSError(errno.EEXIST, text) from error

    def _correct(self, entry: wire.LinkEntry, link: Link) -> None:
        changes: list[Request] = []
        if entry.mac != link.mac:
            changes.append(wire.change_mac(entry.ifindex, link.mac))
        if entry.mtu != link.mtu:
            changes.append(wire.change_mtu(entry.ifindex, link.mtu))
        if not entry.flags & wire.NOARP:
            changes.append(wire.set_flags(entry.ifindex, wire.NOARP))
        for error in self._rtnl.request(changes):
            if error:
                raise error
        self._no_link_local(entry.ifindex)

    def _correct_inside(self, entry: wire.LinkEntry, link: Link, inside: Inside) -> bool:
        """False if the pair's other end is not in this container."""
        with netns.entered(inside) as (_, inner):
            ifindex = inner.ifindex(inside.name)
            if not ifindex:
                return False
            peer = wire.parse_link(inner.get(*wire.get_link(ifindex)))
            if peer.kind != "veth" or peer.peer != entry.ifindex:
                text = f"interface {inside.name} exists in the container already"
                raise OSError(errno.EEXIST, text)
            if peer.mtu != link.mtu:
                inner.one(wire.change_mtu(ifindex, link.mtu))
            if peer.mac != inside.mac:
                inner.one(wire.change_mac(ifindex, inside.mac))
            container.configure(inner, inside, ifindex)
            return True

    def _no_link_local(self, ifindex: int) -> None:
        """A host without IPv6 has nothing to forbid."""
        (error,) = self._rtnl.request([wire.no_link_local(ifindex)])
        if error and error.errno != errno.EAFNOSUPPORT:
            raise error

    def _deletable(self, name: str) -> int:
        """Its ifindex; 0 if it is gone, or another's."""
        ifindex = self._deleter.ifindex(name)
        if not ifindex:
            return 0
        try:
            entry = wire.parse_link(self._deleter.get(*wire.get_link(ifindex)))
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            return 0
        return ifindex if entry.kind == "veth" else 0


def delete_links(rtnl: Rtnl, ifindexes: list[int]) -> dict[int, OSError]:
    """Many as one group. Which of them did not get into it, and so stay."""
    left: dict[int, OSError] = {}
    if len(ifindexes) > 1:
        group = secrets.randbelow(1 << 30) + (1 << 30)
        outcome = rtnl.request([wire.into_group(i, group) for i in ifindexes])
        left = {i: e for i, e in zip(ifindexes, outcome, strict=True) if _real(e)}
        request = wire.delete_group(group)
    elif ifindexes:
        request = wire.delete_link(ifindexes[0])
    else:
        return {}
    (error,) = rtnl.request([request])
    if _real(error):
        raise error
    return left


def _real(error: OSError | None) -> TypeGuard[OSError]:
    """Of a delete: what is gone already is as it should be."""
    return error is not None and error.errno != errno.ENODEV


def as_link(entry: wire.LinkEntry) -> Link:
    """What the host sees of a pair."""
    arp = not entry.flags & wire.NOARP
    return Link(name=entry.name, mac=entry.mac, mtu=entry.mtu, arp=arp)
