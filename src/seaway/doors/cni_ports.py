"""CNI's port mappings (CNI: CONVENTIONS.md, `portMappings`) as published ports. No I/O."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from seaway.model.addresses import parse_address
from seaway.model.facts import Publication
from seaway.model.publications import checked


class PortMapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    host_port: int
    container_port: int
    protocol: str | None = None
    host_ip: str | None = msgspec.field(default=None, name="hostIP")


def publications_of(mappings: Iterable[PortMapping]) -> tuple[Publication, ...]:
    """As the plugin `portmap` reads them: TCP unless said otherwise, in whatever case."""
    return tuple(checked(_publication(mapping)) for mapping in mappings)


def _publication(mapping: PortMapping) -> Publication:
    return Publication(
        host_port=mapping.host_port,
        container_port=mapping.container_port,
        protocol=(mapping.protocol or "tcp").lower(),
        host_ip=parse_address(mapping.host_ip) if mapping.host_ip else None,
    )
