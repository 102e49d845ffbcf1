"""The tables of iptables, in both its flavours and families, as its own programs tell them.

Asking a program of the legacy flavour loads the table that it asks for, so it is asked only where
that is loaded; the programs of the nft flavour make nothing by being asked. Only read here: the
one who writes is `accepts`.
"""

from __future__ import annotations

import errno
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from seaway.model.kernel import DOCKER_BRIDGES, DOCKER_CHAIN

NFT: Final = ("iptables-nft", "ip6tables-nft")
LEGACY: Final = ("iptables-legacy", "ip6tables-legacy")
BASES: Final = ("FORWARD", "INPUT")  # the chains that stand in our way, where they do
_NAMES = {"iptables-legacy": "ip_tables_names", "ip6tables-legacy": "ip6_tables_names"}
_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
_TIMEOUT = 30.0  # seconds
_VERDICTS = {"ACCEPT": False, "DROP": True, "REJECT": True}


@dataclass(frozen=True, slots=True)
class Filter:
    """A table: the policies of its base chains, and the words of every chain's rules."""

    policies: Mapping[str, str] = field(default_factory=dict)
    rules: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)

    def refuses(self, chain: str) -> bool:
        """Whether what no rule of this base chain knows is dropped or rejected."""
        verdict = self._end(chain, frozenset())
        return self.policies.get(chain) == "DROP" if verdict is None else verdict

    def asks_docker_user(self) -> bool:
        """Whether all that is forwarded passes the chain that Docker leaves to the user."""
        return ("-j", DOCKER_CHAIN) in self.rules.get("FORWARD", ())

    def docker_bridges(self) -> tuple[str, ...]:
        """Docker's, as its rules name them: a chain of its own decides what goes to each."""
        rules = (words for found in self.rules.values() for words in found)
        ours_end = ("-j", DOCKER_BRIDGES)
        return tuple(sorted({w[1] for w in rules if w[0] == "-o" and w[2:] == ours_end}))

    def _end(self, chain: str, seen: frozenset[str]) -> bool | None:
        """What becomes of a packet that no condition meets; None: it comes back."""
        for words in self.rules.get(chain, ()):
            if words[0] not in ("-j", "-g"):
                continue
            target = words[1]
            if target == "RETURN":
                return None
            if target in _VERDICTS:
                return _VERDICTS[target]
            if target not in seen:
                verdict = self._end(target, seen | {chain})
                if verdict is not None or words[0] == "-g":
                    return verdict
        return None


def parse(listing: str) -> Filter:
    """What iptables-save says of the table."""
    policies: dict[str, str] = {}
    rules: dict[str, list[tuple[str, ...]]] = {}
    for line in listing.splitlines():
        if line.startswith(":"):
            chain, policy = line[1:].split()[:2]
            rules[chain] = []
            if policy != "-":
                policies[chain] = policy
        elif line.startswith("-A "):
            _, chain, *words = shlex.split(line)
            rules.setdefault(chain, []).append(tuple(words))
    return Filter(policies, {chain: tuple(found) for chain, found in rules.items()})


def which(program: str) -> str | None:
    """A service's PATH may leave out /usr/sbin."""
    return shutil.which(program, path=_PATH)


def installed(program: str) -> bool:
    return which(f"{program}-save") is not None and which(f"{program}-restore") is not None


def loaded(program: str, table: str = "filter") -> bool:
    """Of the legacy flavour: whether the table is there, in the namespace of this thread."""
    names = Path("/proc/thread-self/net", _NAMES[program])
    return names.exists() and table in names.read_text().split()


def read(program: str, table: str = "filter") -> Filter:
    """As it is now, in the namespace of this thread."""
    return parse(run(f"{program}-save", "-t", table))


def run(program: str, *arguments: str, text: str = "") -> str:
    """Its output. OSError with what it says, or if there is no such program."""
    found = which(program)
    if found is None:
        raise FileNotFoundError(errno.ENOENT, f"there is no program '{program}'")
    command = [found, *arguments]
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(errno.ETIMEDOUT, f"{program} took more than {_TIMEOUT:.0f} s") from error
    if done.returncode:
        said = "; ".join(line.strip() for line in done.stderr.splitlines() if line.strip())
        raise OSError(errno.EIO, f"{program}: {said or f'exit status {done.returncode}'}")
    return done.stdout
