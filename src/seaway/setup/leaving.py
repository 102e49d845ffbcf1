"""The steps of `leave`: the cluster forgets this host, then this host the cluster.

The settings of the host stay, and so does the program.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from seaway.cluster import membership
from seaway.cluster.seats import OwnSeat
from seaway.errors import NotFound, SeawayError, Unavailable
from seaway.model.facts import Cluster, Host
from seaway.setup import removal
from seaway.setup.beginning import must_be_root
from seaway.setup.reading import read_own_store

if TYPE_CHECKING:
    from seaway.client import Client


def leave(client: Client, say: Callable[[str], None], *, force: bool) -> None:
    """`force`: also while containers are attached, and where the cluster cannot be told."""
    must_be_root("take this host out of its cluster")
    member = membership.load()
    if member is None or not member.elsewhere:
        raise _stays()
    if not force:
        removal.refuse_attached()
    try:
        client.leave(force=force)
        say(f"host '{member.host}' is out of cluster {member.cluster}")
        OwnSeat().leave()  # nobody needs it any more
    except Unavailable as error:
        if not force:
            raise Unavailable(
                f"the cluster cannot be told: {error.message}",
                "start the agent; or give --force, and then, on another host: seaway host rm "
                f"{member.host}",
            ) from error
        say(f"the cluster was not told: on another host, seaway host rm {member.host}")
    removal.remove(force=force, say=say, keep=(removal.SETTINGS,))


def _stays() -> SeawayError:
    """Whose records are its own, as far as it has any; be the agent alive or not."""
    own = read_own_store()
    if own.get(Cluster, "cluster") is None:
        return NotFound("this host has no cluster that it could leave", "see: seaway status")
    return membership.stays(alone=len(own.all(Host)) == 1)
