"""Accepts of ours in other firewalls: what our endpoints send and get passes where they refuse.

In chains of iptables an agent without memory knows them by their comment; in firewalld, whose
trusted zone our devices join, by the pattern of their names. Nobody else's rule is touched, and
no chain is made. The firewalls are looked at again only when nftables counts a change; what of
them is in the legacy tables is not counted, and asked for each time (docs/decisions/accepts.md).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from seaway.kernel import iptables, netns, nft
from seaway.kernel.iptables import Filter
from seaway.kernel.rules import Generation
from seaway.model.facts import Barrier, Firewalls, Unguarded
from seaway.model.kernel import FIREWALLD, TRUSTED, Accept
from seaway.names import LINK_PREFIX, RULE_COMMENT

log = structlog.get_logger(__name__)

Chain = tuple[str, str]  # of a program; of firewalld a zone

_MARK: Final = ("-m", "comment", "--comment", RULE_COMMENT)
_LOCK_WAIT = "3"  # seconds for the lock that the legacy programs share
_PAUSE, _LONGEST = 2.0, 60.0  # seconds until what failed is tried again, doubled each time
_ZONES = "filter_INPUT_ZONES"  # firewalld's chain that tells which interface is of which zone
_DROP = "-j DROP"
_DEVICES = f"{LINK_PREFIX}+"
_BOUND = f'iifname "{LINK_PREFIX}*" goto filter_IN_{TRUSTED}'


class _Failure(NamedTuple):
    error: OSError
    pause: float  # the last one
    until: float  # when it is tried again: the calls are slow ones


class AcceptTarget:
    name = "accepts"

    def __init__(self, netns_path: Path | None = None) -> None:
        self._netns = netns_path
        self._generation = Generation(netns_path)
        self._seen = -1  # the generation of what is remembered
        self._counted: dict[str, Filter | str] = {}  # what programs of nft said then
        self._uncounted: dict[str, Filter | str] = {}  # what those of the legacy tables said last
        self._failed: dict[Chain, _Failure] = {}
        self._unreadable: dict[str, str] = {}  # programs that failed, and what they said
        self._lock = threading.Lock()

    def close(self) -> None:
        self._generation.close()

    def stirred(self) -> bool:
        """Whether somebody changed nftables since they were looked at. Cheap."""
        return self._generation.read() != self._seen

    def observe(self) -> Firewalls:
        """Which firewalls refuse what they do not know. May run in a thread, as all below."""
        looked = self._look()
        return Firewalls(
            barriers=frozenset(_barriers(looked)), unguarded=frozenset(_unguarded(looked))
        )

    def read(self) -> dict[Chain, Accept]:
        found = {}
        for program, listed in self._look().items():
            if isinstance(listed, str):
                if _BOUND in listed:
                    found[program, TRUSTED] = Accept((_DEVICES,))
            else:
                found |= {(program, c): Accept(r) for c, r in _marked(listed).items()}
        return found

    def put(self, objects: Mapping[Chain, Accept]) -> dict[Chain, OSError]:
        return self._each(objects, lambda key: self._put(key, objects[key]))

    def delete(self, keys: set[Chain]) -> dict[Chain, OSError]:
        return self._each(keys, lambda key: self._put(key, Accept(())))

    def _each(
        self, keys: set[Chain] | Mapping[Chain, Accept], act: Callable[[Chain], None]
    ) -> dict[Chain, OSError]:
        for key in keys:
            last = self._failed.pop(key, None)
            if last and time.monotonic() < last.until:
                self._failed[key] = last
                continue
            try:
                netns.visit_path(self._netns, partial(act, key))
            except OSError as error:
                pause = min(2 * last.pause, _LONGEST) if last else _PAUSE
                self._failed[key] = _Failure(error, pause, time.monotonic() + pause)
        return {key: self._failed[key].error for key in keys if key in self._failed}

    def _put(self, key: Chain, wanted: Accept) -> None:
        program, chain = key
        if program == FIREWALLD:
            _bind(there=bool(wanted.rules))
        elif program in iptables.NFT or iptables.loaded(program):
            _write(program, chain, wanted)

    def _look(self) -> dict[str, Filter | str]:
        """What the firewalls hold, by their programs; of firewalld how nft lists its zones."""
        with self._lock:
            generation = self._generation.read()
            if generation != self._seen:
                self._counted = netns.visit_path(self._netns, self._look_at_nft)
                self._seen = generation
            self._uncounted = netns.visit_path(self._netns, self._look_at_legacy)
            return self._counted | self._uncounted

    def _look_at_nft(self) -> dict[str, Filter | str]:
        found = self._ask(iptables.NFT, self._counted)
        if zones := nft.listed_chain("inet", FIREWALLD, _ZONES):
            found[FIREWALLD] = zones
        return found

    def _look_at_legacy(self) -> dict[str, Filter | str]:
        return self._ask(filter(iptables.loaded, iptables.LEGACY), self._uncounted)

    def _ask(
        self, programs: Iterable[str], before: Mapping[str, Filter | str]
    ) -> dict[str, Filter | str]:
        """Of a program that fails all is as it was before; the others are asked all the same."""
        found: dict[str, Filter | str] = {}
        for program in filter(iptables.installed, programs):
            try:
                found[program] = iptables.read(program)
                self._unreadable.pop(program, None)
            except OSError as error:  # the table is none of iptables, for example
                if self._unreadable.get(program) != str(error):
                    log.warning("cannot look at a firewall", program=program, error=str(error))
                self._unreadable[program] = str(error)
                if program in before:
                    found[program] = before[program]
        return found


def _barriers(looked: Mapping[str, Filter | str]) -> Iterator[Barrier]:
    for program, listed in looked.items():
        if isinstance(listed, str):
            yield Barrier(program=program, chain=TRUSTED)
            continue
        for chain in filter(listed.refuses, iptables.BASES):
            docker = chain == "FORWARD" and listed.asks_docker_user()
            bridges = listed.docker_bridges() if docker else ()
            yield Barrier(program=program, chain=chain, docker_user=docker, bridges=bridges)


def _unguarded(looked: Mapping[str, Filter | str]) -> Iterator[Unguarded]:
    for program, listed in looked.items():
        if isinstance(listed, str) or listed.refuses("FORWARD"):
            continue
        if bridges := listed.docker_bridges():
            yield Unguarded(program=program, bridges=bridges)


def _marked(listed: Filter) -> dict[str, tuple[str, ...]]:
    """Our rules by chain: the conditions alone, if they accept, else with their target."""
    found = {}
    for chain, rules in listed.rules.items():
        if ours := tuple(_condition(words) for words in rules if _is_ours(words)):
            found[chain] = ours
    return found


def _is_ours(words: tuple[str, ...]) -> bool:
    return any(words[i : i + len(_MARK)] == _MARK for i in range(len(words)))


def _condition(words: tuple[str, ...]) -> str:
    at = next(i for i in range(len(words)) if words[i : i + len(_MARK)] == _MARK)
    rest = words[at + len(_MARK) :]
    return " ".join(words[:at] + (() if rest == ("-j", "ACCEPT") else rest))


def _rule(condition: str) -> tuple[str, ...]:
    """Its words with our mark; the inverse of `_condition`."""
    words = tuple(condition.split())
    at = words.index("-j") if "-j" in words else len(words)
    return (*words[:at], *_MARK, *(words[at:] or ("-j", "ACCEPT")))


def _write(program: str, chain: str, wanted: Accept) -> None:
    """In one transaction: what is there of ours goes, what is wanted comes first; a drop, which
    stands for a policy, comes last.
    """
    there = iptables.read(program)
    if chain not in there.rules:
        if wanted.rules:
            raise OSError(2, f"{program}: there is no chain {chain} any more")
        return
    old = [("-D", chain, *words) for words in there.rules[chain] if _is_ours(words)]
    last = [condition for condition in wanted.rules if condition.endswith(_DROP)]
    first = [condition for condition in wanted.rules if condition not in last]
    new = [("-I", chain, str(n), *_rule(condition)) for n, condition in enumerate(first, 1)]
    new += [("-A", chain, *_rule(condition)) for condition in last]
    if old or new:
        lines = ["*filter", *(_quoted(words) for words in (*old, *new)), "COMMIT", ""]
        restore = (f"{program}-restore", "--noflush", "-w", _LOCK_WAIT)
        iptables.run(*restore, text="\n".join(lines))


def _quoted(words: tuple[str, ...]) -> str:
    """As iptables-restore takes words apart."""
    return " ".join(map(_quote, words))


def _quote(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if " " in word or escaped != word else word


def _bind(*, there: bool) -> None:
    """Have our devices in firewalld's trusted zone, or not; as long as it runs."""
    if (_BOUND in nft.listed_chain("inet", FIREWALLD, _ZONES)) != there:
        verb = "add" if there else "remove"
        iptables.run("firewall-cmd", f"--zone={TRUSTED}", f"--{verb}-interface={_DEVICES}")
