"""How deep programs go on their stacks, as Linux 6.1 counts it, the oldest that we promise.

Of functions that call each other (`check_max_stack_depth` of kernel/bpf/verifier.c) each frame is
as deep as the lowest place below r10 that is used in it, rounded up to 32 bytes. Later kernels
round up to 16, and take what 6.1 refuses.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

MOST = 512  # bytes
_ROUND = 32
_HEADER = struct.Struct("<40xQ10xHH")
_SECTION = struct.Struct("<4xI16xQQII16x")
_SYMBOL = struct.Struct("<IBxHQQ")
_RELOCATION = struct.Struct("<QII")
_INSTRUCTION = struct.Struct("<BBhi")
_SYMBOLS, _RELOCATIONS = 2, 9  # kinds of sections
_FUNCTION, _SECTION_ITSELF = 2, 3  # kinds of symbols
_LOAD, _STORES, _JUMPS = 1, (2, 3), (5, 6)  # classes of instructions
_CALL, _COPY, _ADD, _ADDRESS = 0x85, 0xBF, 0x07, 0x18  # instructions
_OURS = 1  # of a call: to a function of the program, not of the kernel

Instruction = tuple[int, int, int, int]  # what, registers, offset, number


class Chain(NamedTuple):
    """Functions that call each other, the program first, with the bytes of their frames."""

    frames: tuple[tuple[str, int], ...] = ()

    @property
    def size(self) -> int:
        return sum(size for _, size in self.frames)

    def __str__(self) -> str:
        told = " > ".join(f"{name} ({size})" for name, size in self.frames)
        return f"{told}: {self.size} bytes"


class Function(NamedTuple):
    depth: int
    calls: frozenset[str]


class _Symbol(NamedTuple):
    name: str
    kind: int
    section: int
    at: int  # in instructions
    size: int


def deepest(functions: dict[str, Function], name: str) -> Chain:
    """Of all that begin with this one, the chain that needs most."""
    depth, calls = functions[name]
    chains = [deepest(functions, called) for called in sorted(calls)]
    below = max(chains, key=lambda chain: chain.size, default=Chain())
    return Chain(((name, -(-max(depth, 1) // _ROUND) * _ROUND), *below.frames))


def read(elf: bytes) -> dict[str, Function]:
    """The functions of an object file, by name."""
    start, size, count = _HEADER.unpack_from(elf)
    sections = [_SECTION.unpack_from(elf, start + i * size) for i in range(count)]
    contents = [elf[offset : offset + size] for _, offset, size, _, _ in sections]
    symbols = list(_symbols(sections, contents))
    functions = {(s.section, s.at): s for s in symbols if s.kind == _FUNCTION}
    moved = {
        (of, at // _INSTRUCTION.size): symbols[symbol]
        for (kind, _, _, _, of), content in zip(sections, contents, strict=True)
        if kind == _RELOCATIONS
        for at, _, symbol in _RELOCATION.iter_unpack(content)
    }
    found = {}
    for (section, at), function in functions.items():
        first, length = at * _INSTRUCTION.size, function.size * _INSTRUCTION.size
        code = list(_INSTRUCTION.iter_unpack(contents[section][first : first + length]))
        targets = {
            _target(moved.get((section, here)), (section, here + 1), number)
            for here, (what, registers, _, number) in enumerate(code, at)
            if what == _CALL and registers >> 4 == _OURS
        } | {
            _given(moved[section, here], number)
            for here, (what, _, _, number) in enumerate(code, at)
            if what == _ADDRESS and (section, here) in moved
        }
        calls = frozenset(functions[target].name for target in targets if target in functions)
        found[function.name] = Function(_depth(code), calls)
    return found


def _symbols(sections: Sequence[tuple[int, ...]], contents: Sequence[bytes]) -> Iterator[_Symbol]:
    for (kind, _, _, strings, _), content in zip(sections, contents, strict=True):
        if kind == _SYMBOLS:
            for text, info, section, at, size in _SYMBOL.iter_unpack(content):
                names, unit = contents[strings], _INSTRUCTION.size
                name = names[text : names.index(b"\0", text)].decode()
                yield _Symbol(name, info & 15, section, at // unit, size // unit)


def _target(symbol: _Symbol | None, behind: tuple[int, int], number: int) -> tuple[int, int]:
    """The section and place that a call leads to: to a symbol, or so far from behind it."""
    if symbol is None:
        return behind[0], behind[1] + number
    return symbol.section, symbol.at + (number + 1 if symbol.kind == _SECTION_ITSELF else 0)


def _given(symbol: _Symbol, number: int) -> tuple[int, int]:
    """The place of a function whose address is given to a helper, which calls it."""
    beyond = number // _INSTRUCTION.size if symbol.kind == _SECTION_ITSELF else 0
    return symbol.section, symbol.at + beyond


def _depth(code: Sequence[Instruction]) -> int:
    """How far below r10 a place is that is read, written, or given to somebody."""
    places = {10: 0}  # by register: where it points to, from r10
    lowest = 0
    for what, registers, offset, number in code:
        to, source = registers & 15, registers >> 4
        kind = what & 7
        if kind in _JUMPS:
            continue
        if kind == _LOAD and source in places:
            lowest = min(lowest, places[source] + offset)
        if kind in _STORES:
            lowest = min(lowest, places[to] + offset) if to in places else lowest
        elif what == _COPY and source in places:
            places[to] = places[source]
        elif what == _ADD and to in places:
            places[to] += number
            lowest = min(lowest, places[to])
        else:
            places.pop(to, None)
    return -lowest
