"""An agent that dies while it moves a device's programs from filters into links, at any step.

┌─ container ─┐      ┌───── stage ─────┐
│        eth0 ┼─veth─┼ swy…  BPF       │   a new one for each step at which the agent dies
└─────────────┘      └─────────────────┘
"""

from __future__ import annotations

from itertools import count

import pytest

from dataplane import Container, Host, attached, hosts
from killing import NETWORK, killed_before
from seaway.bpf import tcx
from seaway.bpf.objects import OBJECTS
from seaway.bpf.promotion import Candidate


def moved(host: Host, container: Container, step: int) -> bool:
    """By an agent of its own, which may have died before that step."""
    promotion = host.attachments.promotion
    device = Candidate(container.link, container.ifindex)
    return host.place.run(killed_before, step, lambda: promotion.move(device), NETWORK)


def filtered(host: Host, container: Container) -> bool:
    return "clsact" in host.place.shell(f"tc qdisc show dev {container.link}")


def test_a_move_that_is_killed_before_any_step_bares_no_hook_and_is_finished(make_netns):
    if not tcx.available():
        pytest.skip("this kernel moves nothing: it has no TCX")
    with hosts() as raise_host:
        host = raise_host("promoted")
        for step in count():
            container = host.add(make_netns(), step + 1)
            survived = moved(host, container, step)
            found = host.place.run(host.attachments.read)
            assert attached(container).items() <= found.items(), step
            if survived:
                break
        assert step > 10
        assert not filtered(host, container)

        host.upgrade(OBJECTS)  # the next agent
        everything = {k: a for c in host.containers for k, a in attached(c).items()}
        assert everything == host.place.run(host.attachments.read)
        host.promote()
        assert everything == host.place.run(host.attachments.read)
        assert [] == [c.link for c in host.containers if filtered(host, c)]
