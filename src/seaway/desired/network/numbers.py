"""What from_wire has to know to answer probes: the numbers of the links of this host."""

from __future__ import annotations

from seaway.bpf import abi
from seaway.facts import Derivation, Source, View
from seaway.model.facts import Host, LinkNumber


def _number(other: int, view: View) -> abi.LinkNumber | None:
    link, host = view.get(LinkNumber, other), next(iter(view.all(Host)), None)
    return abi.LinkNumber(link.number, host.number) if link and host else None


NUMBERS = Derivation("link_numbers", (Source(LinkNumber, lambda link: [link.host]),), _number)
