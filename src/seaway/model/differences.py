"""What differs between two kernel objects, in the words of who reads `seaway status`."""

from __future__ import annotations

from dataclasses import Field, fields, is_dataclass
from typing import Any

from seaway.model.addresses import unmapped

_MISSING, _NOTHING, _SECRET = "missing", "nothing", "(secret)"
_MAC, _ADDRESS = 6, 16  # bytes


def differing(found: object | None, expected: object | None) -> tuple[str, str]:
    """What was found and what belongs there; of two of one kind only the fields that differ."""
    if found is None or expected is None or type(found) is not type(expected):
        told = _MISSING if found is None else _words(found)
        return told, _NOTHING if expected is None else _words(expected)
    if not is_dataclass(found):
        return _words(found), _words(expected)
    names = [f.name for f in _shown(found) if _of(found, f) != _of(expected, f)]
    return _listed(found, names), _listed(expected, names)


def named(key: object) -> str:
    """A key in words: the parts of one after the other."""
    return " ".join(map(_words, key)) if isinstance(key, tuple) else _words(key)


def _words(value: Any) -> str:
    if isinstance(value, bytes):
        return _octets(value)
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (tuple, list, frozenset)):
        return ", ".join(map(_words, value)) or "none"
    if is_dataclass(value):
        return _listed(value, [field.name for field in _shown(value)])
    return str(value)


def _octets(value: bytes) -> str:
    if len(value) == _ADDRESS:
        return str(unmapped(value))
    return value.hex(":") if len(value) == _MAC else str(int.from_bytes(value, "big"))


def _listed(value: Any, names: list[str]) -> str:
    secret = {field.name for field in fields(value) if not field.repr}
    told = {n: _SECRET if n in secret else _words(getattr(value, n)) for n in names}
    return ", ".join(f"{name.replace('_', ' ')} {words}" for name, words in told.items())


def _shown(value: Any) -> list[Field[Any]]:
    """What takes part in comparison; padding is nothing to anybody."""
    return [f for f in fields(value) if f.compare and f.name != "pad"]


def _of(value: Any, field: Field[Any]) -> Any:
    return getattr(value, field.name)
