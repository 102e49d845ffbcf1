"""Every mirror in abi.py has the layout that the compiler gave its C struct."""

from __future__ import annotations

import re
import struct
from dataclasses import fields
from pathlib import Path

import pytest

from seaway.bpf import abi
from seaway.bpf.askers import Asked, Place
from seaway.bpf.btf import Btf, layout_hash
from seaway.bpf.maps import CODECS
from seaway.bpf.objects import OBJECTS, PROGRAMS, STATE, read_objects
from seaway.desired.network import host

OF_SOCKETS = (Place, Asked)
MIRRORS = [m for m in (*vars(abi).values(), *OF_SOCKETS) if hasattr(m, "c_name")]
FILES = {name: Btf(elf) for name, elf in read_objects(OBJECTS).items()}
FROM_ENDPOINT = FILES["from_endpoint"]
STRUCT = 4  # of BTF's kinds
HEADERS = sorted((Path(__file__).parents[2] / "bpf" / "lib").glob("*.h"))


@pytest.mark.parametrize("mirror", MIRRORS, ids=lambda m: m.c_name)
def test_mirror_has_the_layout_of_its_c_struct(mirror):
    (size, members), *others = (
        btf.members(mirror.c_name) for btf in FILES.values() if knows(btf, mirror.c_name)
    )
    items = re.findall(r"\d*[a-zA-Z]", mirror.c_format)
    offsets = [struct.calcsize("=" + "".join(items[:i])) for i in range(len(items))]
    ours = {"source": "from", "target": "to"}  # words that Python keeps for itself

    assert [ours.get(f.name, f.name) for f in fields(mirror)] == [m.name for m in members]
    assert offsets == [m.offset for m in members]
    assert struct.calcsize(mirror.c_format) == size
    assert all([m[:2] for m in members] == [m[:2] for m in found] for _, found in others)


def knows(btf, struct_name):
    return any(t.name == struct_name and t.kind == STRUCT for t in btf.types)


@pytest.mark.parametrize("name", sorted(CODECS))
def test_keys_and_values_of_a_map_are_as_long_as_in_c(name):
    btf, found = next((b, m) for b in FILES.values() for m in b.maps() if m.name == name)
    samples = {
        "endpoints": (16, 32),
        "interfaces": (4, 32),
        "subnets": (20, 4),
        "connections": (8, 4),
        "identities": (20, 4),
        "underlays": (4, 44),
        "remotes": (20, 12),
        "paths": (4, 20),
        "next_hops": (4, 28),
        "members": (16, 4),
        "tunnels": (4, 4),
        "link_numbers": (4, 16),
        "publications": (20, 20),
        "origins": (20, 20),
        "clients": (8, 16),
        "shaped": (4, 12),
    }

    assert samples[name] == (btf.size(found.key), btf.size(found.value))


def test_identities_have_the_numbers_that_they_have_in_c():
    named = {name: number for number, name in FROM_ENDPOINT.enumeration("identity").items()}

    ours = {name: n for name, n in vars(host).items() if name.startswith("IDENTITY_")}
    assert {"IDENTITY_HOST", "IDENTITY_FIRST"} == ours.keys()
    assert ours == {name: named[name] for name in ours}


def test_every_program_defines_a_shared_map_alike():
    layouts = [
        {m.name: (m.kind, m.entries, m.flags, btf.layout(m.key), btf.layout(m.value))}
        for btf in FILES.values()
        for m in btf.maps()
    ]
    merged: dict[str, object] = {}
    for layout in layouts:
        for name, words in layout.items():
            assert merged.setdefault(name, words) == words


def test_flags_are_those_of_the_headers():
    headers = "".join(path.read_text() for path in (OBJECTS.parents[4] / "bpf/lib").glob("*.h"))
    found = re.findall(r"#define ([A-Z_]+)\s+(0x[0-9a-f]+|\d+)u?\b", headers)
    defined = {name: int(value, 0) for name, value in found}
    ours = {name: value for name, value in vars(abi).items() if isinstance(value, int)}

    assert ours == {name: defined[name] for name in ours}
    assert {n for n in defined if n.startswith("ENDPOINT_")} <= ours.keys()


def test_reasons_have_names_without_gaps():
    reasons = FROM_ENDPOINT.enumeration("drop_reason")

    assert list(range(len(reasons))) == sorted(reasons)
    assert all(name.startswith("DROP_") for name in reasons.values())


def test_the_layout_hash_does_not_depend_on_the_order_of_files():
    assert layout_hash(list(FILES.values())) == layout_hash(list(reversed(FILES.values())))


def test_a_damaged_object_file_is_refused_in_words():
    elf = (OBJECTS / "to_endpoint.bpf.o").read_bytes()
    for damaged in (b"", elf[:40], elf[:4000], b"x" * 100):
        with pytest.raises(ValueError, match=r"malformed|without"):
            Btf(damaged)


def test_every_map_is_filled_anew_or_goes_on_or_is_of_one_layout_alone():
    of_one_layout = {"drops", "scratches", "trains", "ways"}
    of_services = {"services", "backends", "maglev", "limits", "behind", "origins"}

    assert set(abi.MAPS) == CODECS.keys() | STATE | of_one_layout | of_services
    assert len(abi.MAPS) == sum(map(len, (CODECS, STATE, of_one_layout, of_services)))


def test_ways_have_as_many_places_as_in_c():
    found = next(m for btf in FILES.values() for m in btf.maps() if m.name == "ways")
    assert 6 * abi.WAY_HOSTS == found.entries


def test_every_map_is_known_by_name():
    assert set(abi.MAPS) == {found.name for btf in FILES.values() for found in btf.maps()}


def test_every_program_and_every_map_stays_pinned():
    assert {*abi.MAPS, *(f"programs/{program}" for program in PROGRAMS)} == set(host.PINNED)


def test_each_word_that_is_no_verdict_is_another_one():
    """One is handed on as what it means elsewhere, where two are the same number."""
    found = [
        match[1]
        for header in HEADERS
        for match in re.finditer(r"^#define \w+\s+(0x1000\w)\b", header.read_text(), re.MULTILINE)
    ]

    assert 6 == len(found) == len(set(found))
