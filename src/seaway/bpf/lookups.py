"""What the programs look up, element by element, as it is in the kernel now. Only read."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Final

from seaway.bpf.maps import CODECS, NUMBER, MapTarget
from seaway.bpf.objects import DataPlane

_CODECS: Final = CODECS | {"dead": (NUMBER, NUMBER)}  # which `routed` writes


class Lookups:
    """Of one data plane."""

    def __init__(self, plane: DataPlane) -> None:
        self._maps: dict[str, MapTarget[Any, Any]] = {
            name: MapTarget(name, plane.maps[name], key, value)
            for name, (key, value) in _CODECS.items()
        }

    def find(self, name: str, key: Hashable) -> Any:
        """None: there is none. Of prefixes, the one that matches best."""
        return self._maps[name].look([key]).get(key)
