"""The JSON of every value of the model, and the clear refusal of what is none."""

from __future__ import annotations

import contextlib
import json
from ipaddress import ip_interface, ip_network

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seaway.errors import Undecodable
from seaway.model import codec, facts, reports, requests, services
from seaway.model.addresses import Address, Interface, Prefix

addresses = st.ip_addresses()
interfaces = st.builds(
    lambda address, length: ip_interface(f"{address}/{length % (address.max_prefixlen + 1)}"),
    addresses,
    st.integers(0, 128),
)
prefixes = interfaces.map(lambda interface: interface.network)
st.register_type_strategy(Address, addresses)
st.register_type_strategy(Interface, interfaces)
st.register_type_strategy(Prefix, prefixes)
st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))
st.register_type_strategy(int, st.integers(-(2**63), 2**63 - 1))

KINDS = [
    kind
    for module in (facts, services, requests, reports)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    if kind.__module__ == module.__name__ and msgspec.structs.fields(kind)
]
for kind in KINDS:
    fields = {field.name: st.from_type(field.type) for field in msgspec.structs.fields(kind)}
    st.register_type_strategy(kind, st.builds(kind, **fields))

few = settings(max_examples=25, deadline=None)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@few
@given(data=st.data())
def test_every_value_survives_its_own_json(kind, data):
    value = data.draw(st.from_type(kind))

    assert value == codec.decode(codec.encode(value), kind)
    assert value == codec.from_builtins(json.loads(codec.encode(value)), kind)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@few
@given(data=st.data())
def test_no_input_escapes_as_another_error(kind, data):
    text = data.draw(st.one_of(st.binary(), st.text().map(str.encode)))
    with contextlib.suppress(Undecodable):
        codec.decode(text, kind)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"{", "not JSON: Input data was truncated"),
        (b'{"name": "\xff"}', "not JSON: "),
        (b"[]", "Expected `object`, got `array`"),
        (b'{"name": 7}', "Expected `str`, got `int` - at `$.name`"),
        (b'{"name": "a", "subnets": [7]}', "Expected `str`, got `int` - at `$.subnets[0]`"),
        (b'{"name": "a", "subnets": ["10.0.0.1/8"]}', "has host bits set - at `$.subnets[0]`"),
        (b'{"name": "a", "subnets": ["ten"]}', "- at `$.subnets[0]`"),
        (b'{"name": "a", "nmae": "b"}', "unknown field `nmae`"),
        (b'{"name": "a", "nmae": "b"}', "(expected fields: name, subnets, families, open,"),
        (b"{}", "missing required field `name`"),
    ],
)
def test_what_is_wrong_is_named(text, complaint):
    with pytest.raises(Undecodable) as caught:
        codec.decode(text, requests.NewNetwork)

    assert complaint in str(caught.value)


def test_an_unknown_field_inside_a_value_is_refused_too():
    block = {"prefix": "10.0.0.0/26", "network": "n", "host": "h", "size": 1, "used": 0}
    report = {**block, "holders": [{"address": "10.0.0.1", "endpoint": "", "reason": "", "x": 1}]}

    with pytest.raises(Undecodable, match=r"unknown field `x` - at `\$\.holders\[0\]`"):
        codec.from_builtins(report, reports.BlockReport)


def test_a_foreign_object_is_a_defect_not_a_value():
    with pytest.raises(TypeError, match="object is no value of the model"):
        codec.encode(object())


def test_builtins_hold_no_address_objects():
    block = facts.Block(prefix=ip_network("10.0.0.0/26"), network="n", host="h")

    assert {"prefix": "10.0.0.0/26", "network": "n", "host": "h"} == codec.to_builtins(block)
