"""What the compiler wrote about types and maps (BTF, section .BTF of an object file).

So Python needs no second list of names, and a change of layout cannot go unnoticed. Pure:
bytes in, values out; malformed bytes raise ValueError. Format: the kernel's
Documentation/bpf/btf.rst.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

_ELF = struct.Struct("<16xHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_HEADER = struct.Struct("<HBBIIIII")
_TYPE = struct.Struct("<III")
_INT, _PTR, _ARRAY, _STRUCT, _UNION, _ENUM, _TYPEDEF = 1, 2, 3, 4, 5, 6, 8
_VOLATILE, _CONST, _RESTRICT, _PROTO, _VAR, _DATASEC, _TAG = 9, 10, 11, 13, 14, 15, 17
_TRANSPARENT = frozenset({_TYPEDEF, _VOLATILE, _CONST, _RESTRICT})
_ENUM64 = 19
_TAIL = {_INT: 4, _ARRAY: 12, _VAR: 4, _TAG: 4}  # bytes behind a type of this kind
_ROW = {_STRUCT: 12, _UNION: 12, _ENUM: 8, _PROTO: 8, _DATASEC: 12, _ENUM64: 12}  # times vlen


class Type(NamedTuple):
    name: str
    kind: int
    size: int  # or, of a kind that refers to another type, that one's number
    rows: tuple[tuple[int, ...], ...]  # members, values or variables, as their kind has them


class Member(NamedTuple):
    name: str
    offset: int  # in bytes
    type: int


@dataclass(frozen=True, slots=True)
class Map:
    """As bpf/lib defines it."""

    name: str
    kind: int
    entries: int
    flags: int
    key: int  # its type
    value: int


def section(elf: bytes, name: str) -> bytes:
    """A section of a 64-bit little-endian ELF file."""
    try:
        header = _ELF.unpack_from(elf)
        start, size, count, names = header[5], header[10], header[11], header[12]
        sections = [_SECTION.unpack_from(elf, start + i * size) for i in range(count)]
        text = sections[names][4]
        for number, *fields in sections:
            if _string(elf, text + number) == name:
                return elf[fields[3] : fields[3] + fields[4]]
    except (struct.error, IndexError) as error:
        raise ValueError(f"malformed ELF file: {error}") from error
    raise ValueError(f"object file without section {name}")


def _string(data: bytes, start: int) -> str:
    return data[start : data.index(b"\0", start)].decode()


class Btf:
    """The types of one object file."""

    def __init__(self, elf: bytes) -> None:
        data = section(elf, ".BTF")
        try:
            _, _, _, head, types, size, strings, _ = _HEADER.unpack_from(data)
            self._strings = data[head + strings :]
            self.types = [Type("void", 0, 0, ()), *self._parse(data, head + types, size)]
        except struct.error as error:
            raise ValueError(f"malformed BTF: {error}") from error

    def _parse(self, data: bytes, at: int, size: int) -> list[Type]:
        found, end = [], at + size
        while at < end:
            name, info, refers = _TYPE.unpack_from(data, at)
            kind, rows = info >> 24 & 0x1F, info & 0xFFFF
            at += _TYPE.size
            length = _TAIL.get(kind) or _ROW.get(kind, 0)
            if kind in _TAIL:
                rows = 1
            layout = struct.Struct(f"<{length // 4}I")
            values = tuple(layout.unpack_from(data, at + i * length) for i in range(rows))
            found.append(Type(self._name(name), kind, refers, values if length else ()))
            at += length * rows
        return found

    def _name(self, offset: int) -> str:
        return _string(self._strings, offset)

    def resolve(self, number: int) -> int:
        """The number of the type behind typedefs and qualifiers."""
        while self.types[number].kind in _TRANSPARENT:
            number = self.types[number].size
        return number

    def find(self, name: str, kind: int) -> int:
        for number, candidate in enumerate(self.types):
            if candidate.name == name and candidate.kind == kind:
                return number
        raise ValueError(f"no type {name} in the object file")

    def enumeration(self, name: str) -> dict[int, str]:
        """The names of an enum's values."""
        rows = self.types[self.find(name, _ENUM)].rows
        return {value: self._name(text) for text, value in rows}

    def members(self, name: str) -> tuple[int, list[Member]]:
        """A struct's size and fields."""
        number = self.find(name, _STRUCT)
        return self.types[number].size, self._members(number)

    def _members(self, number: int) -> list[Member]:
        rows = self.types[number].rows
        return [Member(self._name(n), (bits & 0xFFFFFF) // 8, kind) for n, kind, bits in rows]

    def size(self, number: int) -> int:
        number = self.resolve(number)
        found = self.types[number]
        if found.kind == _ARRAY:
            element, _, count = found.rows[0]
            return self.size(element) * count
        return 8 if found.kind == _PTR else found.size

    def maps(self) -> list[Map]:
        """What the section .maps defines; there a number n is written as int (*)[n]."""
        variables = self.types[self.find(".maps", _DATASEC)].rows
        return [self._map(variable) for variable, _, _ in variables]

    def _map(self, variable: int) -> Map:
        name, body = self.types[variable].name, self.resolve(self.types[variable].size)
        fields = {m.name: self.types[m.type].size for m in self._members(body)}

        def number(field: str) -> int:
            array = fields.get(field)
            return self.types[array].rows[0][2] if array else 0

        return Map(
            name=name,
            kind=number("type"),
            entries=number("max_entries"),
            flags=number("map_flags"),
            key=fields["key"],
            value=fields["value"],
        )

    def layout(self, number: int) -> str:
        """A type in words: the same words mean that the same bytes mean the same."""
        number = self.resolve(number)
        found = self.types[number]
        if found.kind == _ARRAY:
            element, _, count = found.rows[0]
            return f"{self.layout(element)}[{count}]"
        if found.kind not in {_STRUCT, _UNION}:
            return f"{found.kind}:{self.size(number)}"
        fields = (f"{m.name}@{m.offset}={self.layout(m.type)}" for m in self._members(number))
        return f"{found.kind}:{found.size}{{{','.join(fields)}}}"


def layout_hash(objects: Sequence[Btf]) -> str:
    """The same for two builds whose programs can share maps."""
    return _digest("\n".join(sorted({_words(b, m) for b in objects for m in b.maps()})))


def map_hashes(objects: Sequence[Btf]) -> dict[str, str]:
    """By name: the same for two builds that can share that map."""
    return {m.name: _digest(_words(b, m)) for b in objects for m in b.maps()}


def _words(btf: Btf, found: Map) -> str:
    layouts = f"{btf.layout(found.key)} {btf.layout(found.value)}"
    return f"{found.name} {found.kind} {found.entries} {found.flags} {layouts}"


def _digest(words: str) -> str:
    return sha256(words.encode()).hexdigest()[:12]
