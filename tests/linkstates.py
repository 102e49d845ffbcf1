"""Link state of hosts that are not there: drawn by hypothesis, or by chance from a seed."""

from __future__ import annotations

from collections.abc import Container, Iterable
from random import Random

from hypothesis import strategies as st
from msgspec.structs import replace

from seaway.model.links import LinkState, Neighbour

Word = tuple[bool, int, int, int]  # what one end says: up, round-trip time, cost, black hole
Pair = tuple[int, int]
NAMES = [f"h{number}" for number in range(8)]

FULL = 1500  # bytes of the packets that a black hole swallows
holes = st.sampled_from((0, 0, 0, FULL))
words = st.tuples(st.booleans(), st.integers(1, 3), st.integers(1, 3), holes)
up_words = st.tuples(st.just(True), st.integers(1, 3), st.integers(1, 3), holes)


@st.composite
def states(draw: st.DrawFn, names: list[str], *, segments: tuple[str, ...] = ()) -> LinkState:
    """One host's word, true or not."""
    host, *others = draw(st.permutations(names))
    told = draw(st.lists(st.sampled_from(others), unique=True))
    return LinkState(
        host,
        tuple(neighbour(other, draw(st.one_of(up_words, words))) for other in told),
        tuple(sorted(draw(st.sets(st.sampled_from(segments))))) if segments else (),
        draw(st.sampled_from((True, True, False))),
    )


@st.composite
def worlds(draw: st.DrawFn, most: int = 7) -> list[LinkState]:
    """Hosts whose ends of a link mostly agree that there is one; some are no relays."""
    names = NAMES[: draw(st.integers(2, most))]
    told: dict[str, list[Neighbour]] = {name: [] for name in names}
    for number, one in enumerate(names):
        for other in names[number + 1 :]:
            if draw(st.booleans()):
                told[one].append(neighbour(other, draw(st.one_of(up_words, up_words, words))))
                told[other].append(neighbour(one, draw(st.one_of(up_words, up_words, words))))
    relays = draw(st.sets(st.sampled_from(names)))
    idle = relays if draw(st.booleans()) else set()
    return [LinkState(n, tuple(told[n]), (), n not in idle) for n in names]


def neighbour(host: str, word: Word) -> Neighbour:
    up, rtt, cost, hole = word
    return Neighbour(host, up, rtt, cost, hole=hole)


def agreed(links: Iterable[tuple[str, str, int]], **segments: tuple[str, ...]) -> list[LinkState]:
    """Of links that both ends tell alike: two hosts, and round-trip time and cost; 0: it failed."""
    told: dict[str, list[Neighbour]] = {name: [] for name in segments}
    for one, other, cost in links:
        for host, end in ((one, other), (other, one)):
            figures = (True, cost, cost, 0) if cost else (False, 0, 1, 0)
            told.setdefault(host, []).append(neighbour(end, figures))
    return [LinkState(n, tuple(told[n]), segments.get(n, ())) for n in sorted(told)]


def scattered(hosts: int, degree: int, chance: Random) -> list[LinkState]:
    """As many links as that for each host, to any others, of any length."""
    pairs = {tuple(sorted(chance.sample(range(hosts), 2))) for _ in range(hosts * degree // 2)}
    links = [(f"h{a}", f"h{b}", chance.randint(1, 9)) for a, b in sorted(pairs)]
    return agreed(links)


def segment(name: str, hosts: int, chance: Random, *, broken: float = 0.0) -> list[LinkState]:
    """Hosts of one segment, each of which probes eight others; some of those links failed."""
    links = []
    for number in range(hosts):
        for offset in (1, 2, 4, 8):
            cost = 0 if chance.random() < broken else chance.randint(1, 4)
            links.append((f"{name}{number}", f"{name}{(number + offset) % hosts}", cost))
    return agreed(links, **{f"{name}{number}": (name,) for number in range(hosts)})


def sites(chance: Random) -> list[LinkState]:
    """Two large segments with links between them; some links failed, and some are black holes."""
    broken = chance.choice((0.0, 0.05, 0.3))
    told = {s.host: s for name in ("a", "b") for s in segment(name, 20, chance, broken=broken)}
    for _ in range(chance.randint(1, 4)):
        one, other, cost = (
            f"a{chance.randrange(20)}",
            f"b{chance.randrange(20)}",
            chance.randint(1, 9),
        )
        for host, end in ((one, other), (other, one)):
            kept = [n for n in told[host].neighbours if n.host != end]
            kept.append(Neighbour(end, True, cost, cost))
            told[host] = replace(told[host], neighbours=tuple(kept))
    for host in chance.sample(sorted(told), chance.randint(0, 6)):
        told[host] = with_holes(told[host], {chance.choice(told[host].neighbours).host})
    for host in chance.sample(sorted(told), chance.randint(0, 3)):
        told[host] = replace(told[host], relay=False)
    for host in chance.sample(sorted(told), chance.randint(0, 2)):
        told[host] = replace(told[host], segments=("a", "b"))
    return list(told.values())


def with_holes(state: LinkState, others: Container[str]) -> LinkState:
    """The host says that large packets do not pass to these, as far as they are neighbours."""
    found = [replace(n, hole=FULL) if n.host in others else n for n in state.neighbours]
    return replace(state, neighbours=tuple(found))


def sound(told: Iterable[LinkState]) -> list[LinkState]:
    """The same without black holes."""
    return [
        replace(state, neighbours=tuple(replace(n, hole=0) for n in state.neighbours))
        for state in told
    ]
