"""JSON of the model's values: what is decoded encodes again (property-tested).

The only place that knows how an address, a prefix or an interface is written down.
"""

from __future__ import annotations

from functools import cache
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from seaway.errors import Undecodable
from seaway.model.addresses import Address, Interface, Prefix

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_IP_TYPES = (IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network)
_PARSERS: dict[Any, Callable[[str], Any]] = {
    Address: ip_address,
    Interface: ip_interface,
    Prefix: ip_network,
    **{kind: kind for kind in _IP_TYPES},
}


def _written(value: Any) -> str:
    if isinstance(value, _IP_TYPES):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no value of the model")


def _parsed(kind: type, value: Any) -> Any:
    """A `ValueError` from here reaches the caller with the path of the field."""
    parser = _PARSERS.get(kind)
    if parser is None:
        raise TypeError(f"{kind.__name__} is no type of the model")
    if isinstance(value, kind):
        return value
    if not isinstance(value, str):
        raise ValueError(f"Expected `str`, got `{type(value).__name__}`")
    return parser(value)


_encoder = msgspec.json.Encoder(enc_hook=_written)


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind, dec_hook=_parsed)


def encode(value: object) -> bytes:
    """JSON, with the fields in the order of their declaration."""
    return _encoder.encode(value)


def decode(data: bytes | str, kind: type[T]) -> T:
    """The value of that type; `Undecodable` names the field that is wrong."""
    decoder: msgspec.json.Decoder[T] = _decoder(cast("Any", kind))
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        raise _undecodable(error, kind) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Undecodable(f"not JSON: {error}") from None


def to_builtins(value: object) -> Any:
    """The same as JSON would hold it: dicts, lists, strings, numbers."""
    return msgspec.to_builtins(value, enc_hook=_written)


def from_builtins(value: object, kind: type[T]) -> T:
    """The value of that type from what TOML, YAML or JSON gave."""
    try:
        return msgspec.convert(value, kind, dec_hook=_parsed)
    except msgspec.ValidationError as error:
        raise _undecodable(error, kind) from None


def _undecodable(error: msgspec.ValidationError, kind: Any) -> Undecodable:
    name = getattr(kind, "__name__", str(kind))
    fields = ", ".join(getattr(kind, "__struct_encode_fields__", ()))
    # Only of the outermost value is it known here which fields it has.
    hint = f"expected fields: {fields}" if fields and " at `$" not in str(error) else ""
    return Undecodable(f"not a valid {name}: {error}", hint)
