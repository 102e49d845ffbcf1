"""Who sees whom on the wire of a lab, and how well: topologies, and links changed while all runs.

The wire is one bridge. A link that is not there is two pairs of its ports between which it passes
nothing; loss and rate are rules of the same table (nftables, family bridge), each way alone. Delay
is made by a process beside it (`delay`), as few kernels have netem.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations, pairwise
from pathlib import Path
from typing import Final, Literal

import msgspec

from seaway.errors import Invalid, NotFound, SeawayError

WHOLE: Final = 10_000  # parts of all packets, of which so many are lost
_BURST: Final = 64  # kilobytes that pass at once, besides what the rate gives in a second
_MOST_DELAY, _MOST_RATE = 10_000.0, 100_000.0  # ms, Mbit/s

_LINES: Final = "expected in each line: HOST HOST [loss=N] [delay=N] [rate=N]"

Quality = Literal["up", "down", "loss", "delay", "rate"]


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """Between two hosts, the same in both directions."""

    hosts: tuple[str, str]  # in the order of the lab
    up: bool = True
    loss: float = 0.0  # percent of the packets
    delay: float = 0.0  # ms
    rate: float = 0.0  # Mbit/s; 0: as fast as the machine is

    def __str__(self) -> str:
        words = [f"{self.hosts[0]} - {self.hosts[1]}", "up" if self.up else "down"]
        words += [f"loss {self.loss:g} %"] * bool(self.loss)
        words += [f"delay {self.delay:g} ms"] * bool(self.delay)
        words += [f"rate {self.rate:g} Mbit/s"] * bool(self.rate)
        return ", ".join(words)


Links = dict[tuple[str, str], Link]


def laid_out(topology: str, hosts: Sequence[str]) -> Links:
    """The links of a topology by name, or of a file: `HOST HOST [loss=N] [delay=N] [rate=N]`."""
    if topology not in TOPOLOGIES:
        return _read(Path(topology), hosts)
    return {pair: Link(hosts=pair) for pair in _PAIRS[topology](hosts)}


def _star(hosts: Sequence[str]) -> Iterator[tuple[str, str]]:
    for other in hosts[1:]:
        yield hosts[0], other


def _sites(hosts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Two meshes, joined by the first host of each."""
    half = (len(hosts) + 1) // 2
    here, there = hosts[:half], hosts[half:]
    yield from combinations(here, 2)
    yield from combinations(there, 2)
    if there:
        yield here[0], there[0]


_PAIRS: Final[dict[str, Callable[[Sequence[str]], Iterator[tuple[str, str]]]]] = {
    "mesh": lambda hosts: combinations(hosts, 2),
    "line": pairwise,
    "star": _star,
    "sites": _sites,
}
TOPOLOGIES: Final = tuple(_PAIRS)


def _read(path: Path, hosts: Sequence[str]) -> Links:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        told = f"there is no topology '{path}': {error.strerror}"
        raise Invalid(told, f"one of {', '.join(TOPOLOGIES)}, or a file") from None
    except UnicodeDecodeError:
        raise Invalid(f"{path} is not UTF-8", _LINES) from None
    found: Links = {}
    for number, line in enumerate(lines, 1):
        if words := line.partition("#")[0].split():
            try:
                link = _parsed(words, hosts)
            except SeawayError as error:
                where = f"{path}:{number}"
                raise type(error)(f"{where}: {error.message}", error.hint) from None
            found[link.hosts] = link
    if not found:
        raise Invalid(f"there is no link in {path}", _LINES)
    return found


def _parsed(words: list[str], hosts: Sequence[str]) -> Link:
    if len(words) < 2:
        raise Invalid("a link has two ends", _LINES)
    link = Link(hosts=pair(words[0], words[1], hosts))
    for word in words[2:]:
        name, _, value = word.partition("=")
        if name not in ("loss", "delay", "rate"):
            raise Invalid(f"a link has no '{name}'", "expected loss, delay or rate")
        link = changed(link, name, value)
    return link


def pair(one: str, other: str, hosts: Sequence[str]) -> tuple[str, str]:
    """Two hosts of the lab in its order."""
    for name in (one, other):
        if name not in hosts:
            raise NotFound(f"the lab has no host '{name}'", f"one of {', '.join(hosts)}")
    if one == other:
        raise Invalid(f"'{one}' has no link to itself", "expected two hosts")
    first, second = sorted((one, other), key=list(hosts).index)
    return first, second


def changed(link: Link, quality: str, value: str = "") -> Link:
    """The link with another quality; `up` and `down` take no value."""
    if quality in ("up", "down"):
        if value:
            raise Invalid(f"a link that goes {quality} takes no value", f"leave '{value}' out")
        return msgspec.structs.replace(link, up=quality == "up")
    most = {"loss": 100.0, "delay": _MOST_DELAY, "rate": _MOST_RATE}
    if quality not in most:
        raise Invalid(f"a link has no '{quality}'", "expected up, down, loss, delay or rate")
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number <= most[quality]:
        unit = {"loss": "percent", "delay": "ms", "rate": "Mbit/s"}[quality]
        told = f"'{value}' is no {quality} of a link" if value else f"{quality} wants a value"
        raise Invalid(told, f"expected 0 to {most[quality]:g} {unit}")
    return msgspec.structs.replace(link, **{quality: number})


def rules(hosts: Sequence[str], links: Links) -> str:
    """What the wire is told, for `nft -f -`: the whole table anew, in one transaction."""
    cut = [p for p in combinations(hosts, 2) if p not in links or not passes(links[p])]
    lines = [*_map(cut), *(rule for link in links.values() for rule in _of(link))]
    body = "\n".join(f"    {line}" for line in lines)
    chain = "type filter hook forward priority 0; policy accept;"
    return (
        "table bridge lab\ndelete table bridge lab\n"
        f"table bridge lab {{\n  chain forward {{\n    {chain}\n{body}\n  }}\n}}\n"
    )


def passes(link: Link) -> bool:
    """Whether the bridge itself carries it: what is late is carried by another."""
    return link.up and not link.delay


def _map(cut: Iterable[tuple[str, str]]) -> Iterator[str]:
    ways = [f'"{a}" . "{b}" : drop' for one, other in cut for a, b in ((one, other), (other, one))]
    if ways:
        yield f"iifname . oifname vmap {{ {', '.join(ways)} }}"


def _of(link: Link) -> Iterator[str]:
    """Loss before rate: what is lost takes no room."""
    for here, there in (link.hosts, link.hosts[::-1]):
        way = f'iifname "{here}" oifname "{there}"'
        if lost := round(link.loss * WHOLE / 100):
            yield f"{way} numgen random mod {WHOLE} <= {lost - 1} drop"
        if link.rate:
            kilobytes = max(1, round(link.rate * 125))
            yield f"{way} limit rate over {kilobytes} kbytes/second burst {_BURST} kbytes drop"
