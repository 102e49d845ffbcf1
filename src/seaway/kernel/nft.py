"""Our nftables table: containers reach the world behind the host, the world reaches none of them.
Of what carries packets between hosts conntrack keeps nothing: each flow in it has its own port. Nor
is it masqueraded then, which is what keeps a container from forging it: with its host's address it
would come from a member of the cluster, with the container's it comes from nobody.

An agent without memory knows the table by its name and family. It is replaced whole in one
transaction, never patched, and no other table is read or written. Whether somebody changed it
is told by an empty chain whose name is a digest of how nft listed all the rest after we wrote
it; a listing costs a process, so none is made while the kernel's count of changes stands still.
"""

from __future__ import annotations

import errno
import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from ipaddress import ip_address, ip_network, summarize_address_range
from pathlib import Path
from typing import Any

from seaway.errors import HostUnfit
from seaway.kernel import netns
from seaway.kernel.rules import Generation
from seaway.model.addresses import Prefix
from seaway.model.kernel import Masquerade
from seaway.model.ports import Span
from seaway.names import LINK_PREFIX, NFT_TABLE

KEY = "table"
_TIMEOUT = 30.0  # seconds; an emulated machine needs ten for the first rule
_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
_MARK = re.compile(r"\n\tchain written_([0-9a-f]{16}) \{\n\t\}\n")
_LOW = 1024  # ports: who sends from below may be told from others by it
_RANDOM = 1 << 32  # values of nft's `meta random`
_SPAN = re.compile(r"masquerade to :(\d+)(?:-(\d+))? fully-random")
_SET = re.compile(r"set (sources|inside)[46] \{[^}]*?elements = \{([^}]*)\}", re.DOTALL)

_TABLE = """\
table inet {table} {{
	comment "of Seaway, which replaces it whole"
	set sources4 {{ type ipv4_addr; flags interval; {sources4} }}
	set sources6 {{ type ipv6_addr; flags interval; {sources6} }}
	set inside4 {{ type ipv4_addr; flags interval; {inside4} }}
	set inside6 {{ type ipv6_addr; flags interval; {inside6} }}
	chain postrouting {{
		type nat hook postrouting priority srcnat; policy accept;
		oifname != "{ours}" ip saddr @sources4 ip daddr != @inside4 counter goto leave
		oifname != "{ours}" ip6 saddr @sources6 ip6 daddr != @inside6 counter goto leave
	}}
	chain leave {{
{leave}
		masquerade fully-random
	}}
	chain forward {{
		type filter hook forward priority filter; policy accept;
		iifname != "{ours}" ip daddr @sources4 ct state != {{ established, related }} counter drop
		iifname != "{ours}" ip6 daddr @sources6 ct state != {{ established, related }} counter drop
	}}
{untracked}}}
"""
_UNTRACKED = """	chain {hook} {{
		type filter hook {hook} priority raw; policy accept;
		udp dport {port} notrack
	}}
"""
_PORT = re.compile(r"udp dport (\d+) notrack")
_ABSENT = f"add table inet {NFT_TABLE}\ndelete table inet {NFT_TABLE}\n"


@dataclass(frozen=True, slots=True)
class Changed:
    """What is found where somebody else changed our table."""

    listing: str

    def __str__(self) -> str:
        return "a table that was changed by hand"


class NftTarget:
    name = "nft"

    def __init__(self, netns_path: Path | None = None) -> None:
        self._netns = netns_path
        self._program = program() or ""
        if not self._program:
            raise HostUnfit("there is no program 'nft'", "apt-get install nftables")
        self._counter = Generation(netns_path)
        self._generation = -1  # of the kernel's rules when `_seen` was true
        self._seen: dict[str, Masquerade | Changed] = {}
        self._written: tuple[str, Masquerade] | None = None  # with its mark

    def close(self) -> None:
        self._counter.close()

    def read(self) -> dict[str, Masquerade | Changed]:
        generation = self._counter.read()
        if generation != self._generation:
            self._seen = self._read()
            self._generation = generation
        return dict(self._seen)

    def put(self, objects: Mapping[str, Masquerade]) -> dict[str, OSError]:
        try:
            for wanted in objects.values():
                self._put(wanted)
        except OSError as error:
            return dict.fromkeys(objects, error)
        return {}

    def delete(self, keys: set[str]) -> dict[str, OSError]:
        try:
            if keys:
                self._write(_ABSENT)
        except OSError as error:
            return dict.fromkeys(keys, error)
        return {}

    def _put(self, wanted: Masquerade) -> None:
        self._write(_ABSENT + ruleset(wanted))
        mark = _digest(self._listing())
        self._write(f"add chain inet {NFT_TABLE} written_{mark}\n")
        self._written = mark, wanted

    def _read(self) -> dict[str, Masquerade | Changed]:
        listing = self._listing()
        if not listing:
            return {}
        found = _MARK.search(listing)
        rest = _MARK.sub("", listing, count=1)
        if not found or found[1] != _digest(rest):
            return {KEY: Changed(listing)}
        if self._written and self._written[0] == found[1]:
            return {KEY: self._written[1]}
        return {KEY: _parsed(rest)}

    def _listing(self) -> str:
        """Without the counters' values; empty if there is no table."""
        done = self._run("-s", "list", "table", "inet", NFT_TABLE)
        if done.returncode and "No such file or directory" in done.stderr:
            return ""
        return _output(done)

    def _write(self, text: str) -> None:
        _output(self._run("-f", "-", text=text))

    def _run(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        command = [self._program, *arguments]
        run = partial(subprocess.run, capture_output=True, text=True, timeout=_TIMEOUT)
        try:
            return netns.visit_path(self._netns, lambda: run(command, input=text, check=False))
        except subprocess.TimeoutExpired as error:
            raise OSError(errno.ETIMEDOUT, f"nft took more than {_TIMEOUT:.0f} s") from error


def _output(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode:
        message = done.stderr.split("\n", 1)[0].removeprefix("Error: ")
        raise OSError(errno.EIO, f"nft: {message}")
    return done.stdout


def program() -> str | None:
    """Where nft is, if it is installed; a service's PATH may leave out /usr/sbin."""
    return shutil.which("nft", path=_PATH)


def listed_chain(family: str, table: str, chain: str) -> str:
    """A chain of anybody's, in the namespace of this thread; empty where there is none."""
    return _told("-s", "list", "chain", family, table, chain)


def listed_json(what: str) -> list[dict[str, Any]]:
    """All of a kind that anybody has, in the namespace of this thread."""
    told = _told("-j", "list", what)
    return list(json.loads(told)["nftables"]) if told else []


def _told(*arguments: str) -> str:
    found = program()
    if found is None:
        return ""
    command = [found, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    return "" if done.returncode else done.stdout


def ruleset(wanted: Masquerade) -> str:
    """The whole table, in nft's language."""
    return _TABLE.format(
        table=NFT_TABLE,
        ours=f"{LINK_PREFIX}*",
        sources4=_elements(wanted.sources, 4),
        sources6=_elements(wanted.sources, 6),
        inside4=_elements(wanted.inside, 4),
        inside6=_elements(wanted.inside, 6),
        leave="\n".join(f"\t\tmeta l4proto {{ tcp, udp }} {rule}" for rule in _leave(wanted.ports)),
        untracked=_untracked(wanted.untracked),
    )


def _leave(spans: Sequence[Span]) -> Iterator[str]:
    """Each port of those above as likely as every other one."""
    for low in (span for span in spans if span[1] < _LOW):
        yield f"th sport < {_LOW} {_masquerade(low)}"
    high = [span for span in spans if span[1] >= _LOW]
    left = sum(last - first + 1 for first, last in high)
    for span in high[:-1]:
        size = span[1] - span[0] + 1
        yield f"meta random < {_RANDOM * size // left} {_masquerade(span)}"
        left -= size
    yield from map(_masquerade, high[-1:])


def _masquerade(span: Span) -> str:
    return f"masquerade to :{span[0]}-{span[1]} fully-random"


def _untracked(port: int) -> str:
    hooks = ("prerouting", "output") if port else ()
    return "".join(_UNTRACKED.format(hook=hook, port=port) for hook in hooks)


def _elements(prefixes: Iterable[Prefix], version: int) -> str:
    listed = ", ".join(str(p) for p in prefixes if p.version == version)
    return f"elements = {{ {listed} }}" if listed else ""


def _parsed(listing: str) -> Masquerade:
    """What a table that nobody changed was made of, as far as nft tells it apart."""
    found: dict[str, list[Prefix]] = {"sources": [], "inside": []}
    for name, elements in _SET.findall(listing):
        for element in elements.split(","):
            found[name] += _prefixes(element.strip())
    spans = tuple((int(a), int(b or a)) for a, b in _SPAN.findall(listing))
    port = _PORT.search(listing)
    untracked = int(port[1]) if port else 0
    return Masquerade(tuple(found["sources"]), tuple(found["inside"]), spans, untracked)


def _prefixes(element: str) -> list[Prefix]:
    first, dash, last = element.partition("-")
    if not dash:
        return [ip_network(first)]
    return list(summarize_address_range(ip_address(first), ip_address(last)))


def _digest(listing: str) -> str:
    return blake2b(listing.encode(), digest_size=8).hexdigest()
