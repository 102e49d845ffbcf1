"""What the programs look up, element by element, as it is in the kernel now. Only read."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Final

from seaway.bpf import abi
from seaway.bpf.maps import CODECS, COOKIE, LIMIT, NUMBER, PORT, Codec, MapTarget
from seaway.bpf.objects import DataPlane

_SERVICE: Final[Codec[abi.Service]] = Codec(abi.Service.pack, abi.Service.unpack)
_SLOT: Final[Codec[abi.BackendKey]] = Codec(abi.BackendKey.pack, abi.BackendKey.unpack)
_BACKEND: Final[Codec[abi.Backend]] = Codec(abi.Backend.pack, abi.Backend.unpack)
_USER: Final[Codec[abi.UseKey]] = Codec(abi.UseKey.pack, abi.UseKey.unpack)
_USE: Final[Codec[abi.Use]] = Codec(abi.Use.pack, abi.Use.unpack)
# Besides those that hold one fact an element: what `routed` writes, what the programs count, and
# what is written in several maps at once.
_CODECS: Final = CODECS | {
    "dead": (NUMBER, NUMBER),
    "behind": (PORT, NUMBER),
    "limits": (COOKIE, LIMIT),
    "uses": (_USER, _USE),
    "services": (PORT, _SERVICE),
    "backends": (_SLOT, _BACKEND),
}


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
