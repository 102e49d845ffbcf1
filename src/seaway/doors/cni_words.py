"""What containerd passes for a capability, in the words of the convention. No I/O.

containerd, and nerdctl with it, encodes structures of Go's whose fields have no names of their own
for that: `HostPort` for `hostPort`. Plugins in Go do not tell the two apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_OF_STRUCTURES = ("portMappings", "ipRanges", "dns", "bandwidth")
_DEEPEST = 3  # a list of lists of structures


def in_words_of_cni(runtime: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _small(v, _DEEPEST) if k in _OF_STRUCTURES else v for k, v in runtime.items()}


def _small(value: Any, depth: int) -> Any:
    if depth and isinstance(value, list):
        return [_small(item, depth - 1) for item in value]
    if depth and isinstance(value, dict):
        return {key[:1].lower() + key[1:]: item for key, item in value.items()}
    return value
