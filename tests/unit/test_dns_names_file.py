"""The file between agent and resolver: what is written is read, and each outlives the other."""

from __future__ import annotations

import sqlite3
from ipaddress import ip_address

import pytest

from contracts import changes_what_is_there, finds_and_repairs_drift, puts_and_deletes
from fakes_kernel import FakeTarget
from seaway.dns.names_file import VERSION, HoldersTarget, KnownNames, NamesFile, NamesTarget
from seaway.model.naming import Asker, Holder, Named, NamedPort, Pointer, Task
from zone import FakeNames

ANNA, BERT = ip_address("10.208.0.7"), ip_address("fd00::7")
NAMES = {
    ("front", "anna"): Named(addresses=(ANNA, BERT)),
    ("back", "anna"): Named(addresses=(ANNA,)),
    ("front", "web"): Named(
        service=True,
        tasks=(Task(name="a", addresses=(BERT,)),),
        ports=(NamedPort(name="http", protocol="tcp", port=80),),
    ),
}
HOLDERS = {
    ANNA: Holder(
        asker=Asker(networks=("front", "back")), pointers=(Pointer(network="front", name="anna"),)
    ),
    BERT: Holder(asker=Asker(every=True)),
    ip_address("10.208.0.9"): Holder(pointers=(Pointer(network="back", name="carl"),)),
    ip_address("169.254.83.53"): Holder(asker=Asker(every=True, resolver=True)),
}


@pytest.fixture
def file(tmp_path):
    made = NamesFile(tmp_path / "state" / "names.db")
    yield made
    made.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "names.db"


@pytest.fixture
def known(path):
    made = KnownNames(path)
    yield made
    made.close()


@pytest.fixture(params=["names", "holders", "fake"])
def case(request, file):
    kinds = {
        "names": (NamesTarget(file), NAMES),
        "holders": (HoldersTarget(file), HOLDERS),
        "fake": (FakeTarget("names"), NAMES),
    }
    return kinds[request.param]


def test_rows_keep_the_contract_of_targets(case):
    puts_and_deletes(*case)


def test_another_value_takes_the_place_of_the_old_one(case):
    target, objects = case
    key, *_ = objects
    changes_what_is_there(target, objects, {key: type(objects[key])()})


def test_what_somebody_else_took_is_put_back(file, path):
    def meddle() -> None:
        db = sqlite3.connect(path)
        db.execute("DELETE FROM names WHERE name = 'anna'")
        db.commit()
        db.close()

    finds_and_repairs_drift(NamesTarget(file), NAMES, meddle)


@pytest.mark.parametrize("harm", ["gone", "garbage", "newer"])
def test_a_file_that_is_of_no_use_is_made_anew(file, path, known, harm):
    target = NamesTarget(file)
    target.put(NAMES)
    if harm == "newer":
        db = sqlite3.connect(path)
        db.execute("PRAGMA user_version = 7")
        db.commit()
        db.close()
        file.close()
    else:
        for name in path.parent.iterdir():
            name.unlink()
        if harm == "garbage":
            path.write_bytes(b"garbage" * 1000)
            file.close()
    assert {} == target.read()
    assert {} == target.put(NAMES)
    assert NAMES == target.read()
    assert known.changed()
    assert NAMES["front", "web"] == known.named("web")["front"]


def told(kind: str, file: NamesFile, known: KnownNames):
    """What the resolver knows, and how that is told it."""
    if kind == "file":
        NamesTarget(file).put(NAMES)
        HoldersTarget(file).put(HOLDERS)
        return known
    fake = FakeNames()
    for (network, name), named in NAMES.items():
        fake.names[name][network] = named
    fake.holders = {str(address): holder for address, holder in HOLDERS.items()}
    return fake


@pytest.mark.parametrize("kind", ["file", "fake"])
def test_what_was_written_is_known(file, known, kind):
    names = told(kind, file, known)
    assert {"front", "back"} == names.named("anna").keys()
    assert NAMES["front", "anna"] == names.named("anna")["front"]
    assert {} == names.named("nobody")
    assert HOLDERS[BERT] == names.holder("fd00::7")
    assert None is names.holder("192.0.2.1")


def test_each_change_is_noticed_once_and_outlives_who_wrote_it(file, known):
    assert not known.changed()  # there is no file yet
    assert {} == known.named("anna")
    target = NamesTarget(file)
    target.put(NAMES)
    assert [True, False] == [known.changed(), known.changed()]
    target.delete({("back", "anna")})
    assert [True, False] == [known.changed(), known.changed()]
    assert {"front"} == known.named("anna").keys()
    file.close()
    assert {"front"} == known.named("anna").keys()
    HoldersTarget(file).put(HOLDERS)
    assert known.changed()
    assert {ip_address("169.254.83.53")} == known.listens()


def test_one_of_another_version_is_as_if_it_was_not_there(file, path, known):
    NamesTarget(file).put(NAMES)
    HoldersTarget(file).put(HOLDERS)
    assert known.changed()
    assert known.named("anna")
    version(path, VERSION + 1)
    later = KnownNames(path)  # as one that is opened anew, for the file is another one
    assert ({}, None, frozenset()) == (
        later.named("anna"),
        later.holder(str(ANNA)),
        later.listens(),
    )
    later.changed()
    version(path, VERSION)
    assert later.changed()
    assert later.named("anna")
    later.close()


def version(path, number: int) -> None:
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {number}")
    db.close()


def test_a_damaged_row_takes_no_other_with_it(file, path, known):
    HoldersTarget(file).put(HOLDERS)
    db = sqlite3.connect(path)
    db.execute("""INSERT INTO holders VALUES ('10.9.9.9', '{"asker": 7, "resolver":true}')""")
    db.commit()
    db.close()
    assert {ip_address("169.254.83.53")} == known.listens()


def test_it_is_for_root_alone(file, path):
    NamesTarget(file).put(NAMES)
    assert 0o600 == path.stat().st_mode & 0o777
