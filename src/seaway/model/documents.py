"""Documents of YAML or JSON as plain values: mappings, lists, texts, numbers. Garbage is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import msgspec
import yaml

from seaway.errors import Undecodable

_DEPTH: Final = 40  # of values in each other; a manifest has less than ten
_NODES: Final = 2_000_000  # values in all, with those that aliases repeat
_TOLD: Final = 300  # characters of a complaint
# What PyYAML raises where a tag says otherwise than its value (`!!int x`), besides its own.
_MALFORMED: Final = (
    *(yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError),
    *(OverflowError, RecursionError),
)


def documents(text: str) -> Iterator[tuple[str, Any]]:
    with suppress(msgspec.DecodeError, RecursionError):
        yield "document 1", _plain(msgspec.json.decode(text))
        return
    try:
        _check_depth(text)
        for number, document in enumerate(yaml.load_all(text, Loader=_Loader), 1):
            if document is not None:
                yield f"document {number}", _plain(document)
    except _MALFORMED as error:
        raise Undecodable(short(f"neither JSON nor YAML: {error}"), "expected manifests") from None


def _check_depth(text: str) -> None:
    """Before a value is made of it: the parser's own stack has an end."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEPTH:
                raise yaml.YAMLError(f"more than {_DEPTH} values in each other")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _Loader(yaml.CSafeLoader):
    """Refuses a key that is given twice, of which one would be lost without a word."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    told = f"the key '{key.value}' is given twice"
                    raise yaml.constructor.ConstructorError(None, None, told, key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _plain(value: Any) -> Any:
    """Without nulls, which are as good as nothing, and not endless whatever aliases repeat."""
    left = _NODES

    def copied(value: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or depth > _DEPTH:
            raise Undecodable("that is too much for a manifest", "expected manifests")
        if isinstance(value, dict):
            if odd := [key for key in value if not isinstance(key, str)]:
                raise Undecodable(short(f"the key {odd[0]!r} is no text"), "put it in quotes")
            return {k: copied(v, depth + 1) for k, v in value.items() if v is not None}
        if isinstance(value, list):
            return [copied(item, depth + 1) for item in value]
        return value

    return copied(value, 0)


def short(text: str) -> str:
    """Not all of what is endless."""
    return text if len(text) <= _TOLD else f"{text[:_TOLD]}…"
