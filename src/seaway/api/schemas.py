"""The JSON schemas of everything that the API takes and answers, from the types themselves.

Nothing at run time needs them: openapi.yaml holds a copy, written by scripts/openapi-schemas
and compared by a test.
"""

from __future__ import annotations

from typing import Any

import msgspec

from seaway.api.routes import ROUTES
from seaway.model.addresses import Address, Interface, Prefix
from seaway.model.wire import ErrorReport

_REFERENCE = "#/components/schemas/{name}"
_WRITTEN: dict[Any, dict[str, Any]] = {
    Address: {"type": "string", "description": "An IPv4 or IPv6 address"},
    Interface: {"type": "string", "description": "An address with the length of its prefix"},
    Prefix: {"type": "string", "description": "A subnet; no bits set behind its prefix"},
}


def kinds() -> list[Any]:
    """Every type that stands in a request or an answer."""
    found = [kind for route in ROUTES for kind in (route.takes, route.answers) if kind]
    return [*found, ErrorReport]


def components() -> dict[str, Any]:
    """What `components.schemas` of openapi.yaml must be."""
    _, named = msgspec.json.schema_components(
        kinds(), schema_hook=_WRITTEN.__getitem__, ref_template=_REFERENCE
    )
    return named
