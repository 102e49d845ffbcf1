"""What is said on a host that is set up, whichever way: by `init`, or by a join."""

from __future__ import annotations

from pathlib import Path

import pytest

from seaway import names
from seaway.client import Client
from seaway.errors import Unavailable
from seaway.model.reports import Finding
from seaway.setup import disk
from seaway.store import file


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a host that is not set up."""
    for name in ("STORE_FILE", "CACHE_FILE", "MEMBER_FILE"):
        monkeypatch.setattr(names, name, tmp_path / getattr(names, name).name)
    monkeypatch.setattr(names, "SET_UP", (names.STORE_FILE, names.MEMBER_FILE))
    return tmp_path


def hint(state: Path) -> str:
    """Of a command, while no agent answers."""
    with pytest.raises(Unavailable) as told:
        Client(state / "agent.sock").status()
    return told.value.hint


def of_the_store() -> list[Finding]:
    return [finding for finding in disk.findings() if finding.check == "store"]


def test_a_host_that_is_not_set_up_is_told_to_be(state):
    assert "this host is not set up: seaway init" == hint(state)
    assert [] == of_the_store()


@pytest.mark.parametrize("by", ["store.db", "member.json"])
def test_of_one_that_is_set_up_the_agent_is_to_be_started(state, by):
    if by == "store.db":
        file.create(state / by)
    else:
        (state / by).write_text("{}")

    assert "start it: seaway init, or systemctl start seaway" == hint(state)


@pytest.mark.parametrize("name", ["store.db", "cache.db"])
def test_what_a_host_has_of_its_records_is_looked_at(state, name):
    file.create(state / name)
    assert [("ok", f"{state / name} is whole")] == [(f.level, f.found) for f in of_the_store()]


@pytest.mark.parametrize(
    ("name", "level", "advice"),
    [
        ("store.db", "error", "seaway restore FILE --replace"),
        ("cache.db", "warning", "the agent sets it aside"),
    ],
)
def test_a_damaged_one_is_named_and_what_to_do(state, name, level, advice):
    (state / name).write_text("broken")
    (found,) = of_the_store()

    assert (level, True) == (found.level, advice in found.advice)
    assert f"{state / name} is damaged" in found.found
