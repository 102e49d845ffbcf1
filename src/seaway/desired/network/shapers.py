"""Bandwidth of endpoints: for each that is limited, by itself or by a service, a shaper, and what
the programs know of it.
"""

from __future__ import annotations

from typing import Final

from seaway.bpf import abi
from seaway.desired.transport.bandwidth import bandwidth_of
from seaway.facts import Derivation, Source, View
from seaway.model.bandwidth import FRAME, least
from seaway.model.facts import Attached, Endpoint, Shaped
from seaway.model.kernel import Shaper, Shaping
from seaway.names import link_name

DEVICE: Final = "device"  # an index of what is shaped, by the number of either end

_BURSTS: Final = 50  # the usual burst is what the rate gives in a 50th of a second,
_PACKETS: Final = 2  # and at least so many packets
_QUEUES: Final = 20  # what waits, besides: what the rate gives in a 20th of a second,
_WAITING: Final = 16  # and at least so many packets
_TICK: Final = 64  # nanoseconds: in these the kernel counts a burst


def is_limited_itself(endpoint: Endpoint) -> bool:
    """By itself. For those that services limit, their entries ask (`endpoints`)."""
    return bool(endpoint.ingress_rate or endpoint.egress_rate)


def shaping_of(rate: int, burst: int, mtu: int) -> Shaping | None:
    """Of one way: bits, and bits a second. None: it is not limited. Of the many endpoints of a
    service one may have larger packets than its network: one of those always passes.
    """
    if not rate:
        return None
    octets, packet = max(rate, least(mtu)) // 8, mtu + FRAME
    size = max(burst // 8, packet) if burst else max(octets // _BURSTS, _PACKETS * packet)
    return Shaping(
        rate=octets,
        burst=-(-size * 10**9 // (octets * _TICK)),
        queue=size + max(octets // _QUEUES, _WAITING * packet),
    )


def _shaper(link: str, view: View) -> Shaper | None:
    for endpoint in view.where(Endpoint, "link", link):
        ways = bandwidth_of(endpoint, view)
        into, out = (shaping_of(way.rate, way.burst, endpoint.mtu) for way in ways)
        return Shaper(link, endpoint.mtu, into, out) if into or out else None
    return None


def _links_of(endpoint: Endpoint) -> list[str]:
    return [link_name(endpoint.id)] if is_limited_itself(endpoint) else []


SHAPERS = Derivation("shapers", (Source(Endpoint, _links_of),), _shaper)


def devices_of(shaped: Shaped) -> tuple[int, ...]:
    return (shaped.into, shaped.out) if shaped.into else ()


def is_tried(endpoint: Endpoint, view: View) -> bool:
    """Whether its shaper was made, even if it is gone: from then on nothing goes past it. Who is
    limited while he runs is not cut until it is there.
    """
    return view.get(Shaped, link_name(endpoint.id)) is not None


def _by_device(ifindex: int, view: View) -> abi.Shaper | None:
    """Of the endpoint's own device, or of either end of its shaper."""
    for attached in view.where(Attached, "ifindex", ifindex):
        return _shaper_of(link_name(attached.endpoint), view)
    for shaped in view.where(Shaped, DEVICE, ifindex):
        return _shaper_of(shaped.link, view)
    return None


def _shaper_of(link: str, view: View) -> abi.Shaper | None:
    shaped = view.get(Shaped, link)
    if not (shaped and shaped.into):
        return None
    for endpoint in view.where(Endpoint, "link", link):
        attached = view.get(Attached, endpoint.id)
        if attached and any(way.rate for way in bandwidth_of(endpoint, view)):
            return abi.Shaper(attached.ifindex, shaped.into, shaped.out)
    return None


SHAPED = Derivation(
    "shaped",
    (Source(Shaped, devices_of), Source(Attached, lambda a: [a.ifindex])),
    _by_device,
)
