"""Programs and maps outlive whoever loaded them, and give way to the next build's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from struct import calcsize

import pytest

from builds import OTHER_CODE, OTHER_LAYOUT
from cast import HOST
from seaway.bpf import abi, maps, objects
from seaway.bpf.objects import OBJECTS, DataPlane
from seaway.bpf.table import Table
from seaway.errors import HostUnfit
from stage import Stage, settings

Open = Callable[..., DataPlane]


@pytest.fixture
def pins(request: pytest.FixtureRequest) -> Path:
    return Path("/sys/fs/bpf") / request.node.name.split("[")[0]


@pytest.fixture
def opened(place: Stage, pins: Path) -> Iterator[Open]:
    """Opens data planes on one folder; all are closed, and the folder is gone, afterwards."""
    planes: list[DataPlane] = []

    def open_plane(build_folder: Path = OBJECTS, **hosts: str) -> DataPlane:
        given = settings(**{k: ip_address(v) for k, v in hosts.items()})
        planes.append(place.run(DataPlane.open, given, pins, build_folder))
        return planes[-1]

    yield open_plane
    for plane in planes:
        plane.close()
    place.run(objects.remove, pins)


def names(place: Stage, folder: Path) -> set[str]:
    return place.run(lambda: {path.name for path in folder.iterdir()})


def identities(plane: DataPlane) -> dict[str, int]:
    return {name: program.id for name, program in plane.programs.items()}


@pytest.mark.parametrize("program", objects.PROGRAMS)
def test_every_program_is_loadable(opened, program):
    assert opened().programs[program].id > 0


def test_the_next_agent_of_the_same_build_adopts_everything(place, opened):
    first = opened()
    place.run(maps.targets(first)["connections"].put, {(1, 2): 1})
    second = opened()

    assert identities(first) == identities(second)
    assert {(1, 2): 1} == place.run(maps.targets(second)["connections"].read)


def test_other_settings_bring_other_programs_over_the_same_maps(place, opened):
    first = opened()
    place.run(maps.targets(first)["connections"].put, {(1, 2): 1})
    second = opened(host4=HOST[4])

    assert first.layout == second.layout
    assert set(identities(first).values()).isdisjoint(identities(second).values())
    assert {(1, 2): 1} == place.run(maps.targets(second)["connections"].read)


def test_other_code_of_the_same_layout_keeps_the_maps(place, opened, built):
    first = opened()
    place.run(maps.targets(first)["connections"].put, {(1, 2): 1})
    second = opened(built(OTHER_CODE))

    assert first.layout == second.layout
    assert first.programs["from_endpoint"].tag != second.programs["from_endpoint"].tag
    assert {(1, 2): 1} == place.run(maps.targets(second)["connections"].read)


def test_another_layout_has_maps_of_its_own(place, opened, built):
    first = opened()
    place.run(maps.targets(first)["connections"].put, {(1, 2): 1})
    second = opened(built(OTHER_LAYOUT))

    assert first.layout != second.layout
    assert {} == place.run(maps.targets(second)["connections"].read)
    assert {(1, 2): 1} == place.run(maps.targets(first)["connections"].read)


def test_what_only_the_kernel_knows_goes_from_one_layout_to_the_next(place, opened, built):
    first = opened()
    key, value = (bytes(calcsize(of.c_format)) for of in (abi.FlowKey, abi.Flow))
    flow = [(key, value)]
    assert {} == place.run(Table(first.maps["flows"]).update, flow)
    second = opened(built(OTHER_LAYOUT))
    assert first.layout != second.layout
    assert flow == place.run(lambda: list(Table(second.maps["flows"]).elements()))

    changed = {"lib/flow.h": ("__u32 seen;", "__u32 seen, other;")}
    third = opened(built(changed))
    assert [] == place.run(lambda: list(Table(third.maps["flows"]).elements()))
    place.run(third.retire)
    assert len(objects.STATE) == len(names(place, third.pins / "state"))


def test_what_is_old_is_retired_and_nothing_else(place, opened, pins, built):
    opened()
    old = opened(host4=HOST[4])
    new = opened(built(OTHER_LAYOUT))
    place.run((pins / "links").mkdir)
    assert {old.layout, new.layout, "links", "state"} == names(place, pins)

    place.run(new.retire)
    assert {new.layout, "links", "state"} == names(place, pins)
    assert {"programs", *new.maps} - objects.STATE == names(place, new.folder)
    assert objects.STATE == {name.rpartition("-")[0] for name in names(place, pins / "state")}
    assert {p.pin for p in new.programs.values()} == names(place, new.folder / "programs")


def test_programs_of_other_settings_are_retired(place, opened):
    opened()
    new = opened(host4=HOST[4])
    place.run(new.retire)

    assert {p.pin for p in new.programs.values()} == names(place, new.folder / "programs")


def test_a_folder_that_keeps_nothing_is_refused(place, tmp_path):
    with pytest.raises(HostUnfit, match="no BPF file system") as refused:
        place.run(DataPlane.open, settings(), tmp_path / "pins")

    assert "mount" in refused.value.hint
    assert not (tmp_path / "pins").exists()


def test_a_missing_build_is_refused(place, pins, tmp_path):
    with pytest.raises(HostUnfit, match=r"from_endpoint\.bpf\.o is missing"):
        place.run(DataPlane.open, settings(), pins, tmp_path)


def test_a_program_that_the_verifier_refuses_is_told_with_its_words(opened, built):
    main = "int verdict = decide(skb, &pkt);"
    wild = {"from_endpoint.bpf.c": (main, "int verdict = *(volatile int *)(long)skb->hash;")}
    with pytest.raises(OSError, match="invalid mem access"):
        opened(built(wild))
    opened()
