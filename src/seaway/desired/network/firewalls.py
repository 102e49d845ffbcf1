"""What other firewalls of the host must let through: all that our endpoints send and get.

Nothing is opened by it that we keep closed: our programs judge every packet of an endpoint, and
our own nftables table what is forwarded to it from elsewhere.
"""

from __future__ import annotations

from types import MappingProxyType

from seaway.facts import Derivation, Source, View
from seaway.model.facts import Barrier, Firewalls
from seaway.model.kernel import DOCKER_CHAIN, TRUSTED, Accept
from seaway.names import LINK_PREFIX

_FORWARDED = Accept((f"-i {LINK_PREFIX}+", f"-o {LINK_PREFIX}+"))
_RULES = MappingProxyType(
    {
        DOCKER_CHAIN: _FORWARDED,
        "FORWARD": _FORWARDED,
        "INPUT": Accept((f"-i {LINK_PREFIX}+",)),
        TRUSTED: Accept((f"{LINK_PREFIX}+",)),
    }
)


def _place(barrier: Barrier) -> tuple[str, str]:
    """Where this firewall wants the rules of others."""
    return barrier.program, DOCKER_CHAIN if barrier.docker_user else barrier.chain


def _accept(place: tuple[str, str], view: View) -> Accept | None:
    firewalls = view.get(Firewalls, "host")
    needed = firewalls is not None and place in map(_place, firewalls.barriers)
    return _RULES[place[1]] if needed else None


ACCEPTS = Derivation(
    "accepts", (Source(Firewalls, lambda found: map(_place, found.barriers)),), _accept
)
