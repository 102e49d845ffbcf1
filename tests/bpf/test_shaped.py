"""Endpoints whose bandwidth is limited, and of whose shaper nothing is known: it is gone."""

from __future__ import annotations

import pytest
from scapy.layers.l2 import Ether

from cast import ANNA, BERT, HOST, Actor, World, datagram, dropped, ip, sent
from seaway.bpf import abi
from seaway.names import GATEWAY_MAC

FAMILIES = pytest.mark.parametrize("family", [4, 6])
LIMITED = pytest.mark.parametrize(
    ("actor", "flag"), [(BERT, abi.ENDPOINT_SHAPED_IN), (ANNA, abi.ENDPOINT_SHAPED_OUT)]
)
INTO, OUT = 71, 72


def shape(world: World, actor: Actor) -> None:
    ifindex = actor.record.ifindex
    made = dict.fromkeys((ifindex, INTO, OUT), abi.Shaper(ifindex, INTO, OUT))
    assert {} == world.place.run(world.targets["shaped"].put, made)


@FAMILIES
@LIMITED
def test_who_is_limited_sends_and_gets_nothing_past_a_shaper_that_is_gone(
    world, family, actor, flag
):
    world.enter(actor, flags=flag)
    frame = sent(family, BERT.address(family)) / datagram()
    assert dropped("no_shaper") == world.send(frame)

    shape(world, actor)
    found = world.send(frame)
    assert ("redirect", {}) == (found.verdict, found.drops)


@FAMILIES
def test_nor_does_the_hosts_stack_deliver_to_him(world, family):
    world.enter(ANNA, flags=abi.ENDPOINT_SHAPED_IN)
    head = Ether(src=GATEWAY_MAC, dst=GATEWAY_MAC)
    frame = head / ip(family, HOST[family], ANNA.address(family)) / datagram()
    assert dropped("no_shaper") == world.send(frame, program="to_endpoint")

    shape(world, ANNA)
    assert "redirect" == world.send(frame, program="to_endpoint").verdict


@FAMILIES
def test_the_way_that_is_not_limited_is_open(world, family):
    world.enter(ANNA, flags=abi.ENDPOINT_SHAPED_IN)
    world.enter(BERT, flags=abi.ENDPOINT_SHAPED_OUT)
    frame = sent(family, BERT.address(family)) / datagram()
    found = world.send(frame)
    assert ("redirect", {}) == (found.verdict, found.drops)
