"""What `doctor` says of the files in which a host has its records, or what it saw of them."""

from __future__ import annotations

import pytest

from seaway.setup import disk
from seaway.store import file

ADVICE = "it is begun anew"


def test_what_is_not_there_is_no_finding(tmp_path):
    assert [] == list(disk.look_at(tmp_path / "store.db"))


def test_one_that_is_whole_is_told(tmp_path):
    path = tmp_path / "cache.db"
    file.create(path)
    assert [("ok", f"{path} is whole")] == [(f.level, f.found) for f in disk.look_at(path)]


@pytest.mark.parametrize(
    ("given", "level", "advice"),
    [("", "error", "seaway restore FILE --replace"), (ADVICE, "warning", ADVICE)],
)
def test_a_damaged_one_is_named_and_what_is_done(tmp_path, given, level, advice):
    path = tmp_path / "cache.db"
    path.write_text("broken")
    (found,) = disk.look_at(path, damaged=given)

    assert (level, True) == (found.level, advice in found.advice)
    assert f"{path} is damaged" in found.found
