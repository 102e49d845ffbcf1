"""What every target keeps, the real ones and the fakes that stand for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from seaway.reconcile import Single, Target


def puts_and_deletes(target: Target, objects: Mapping[Any, Any]) -> None:
    """From nothing to these objects and back, each step twice."""
    assert {} == target.read()
    for _ in range(2):
        assert {} == target.put(objects)
        assert objects == target.read() == alone(target, objects)
    for _ in range(2):
        assert {} == target.delete(set(objects))
        assert {} == target.read()
        assert not isinstance(target, Single) or {} == target.look(objects.keys())


def alone(target: Target, objects: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """What a target that can be asked for single keys says of these."""
    return target.look(objects.keys()) if isinstance(target, Single) else objects


def changes_what_is_there(target: Target, old: Mapping[Any, Any], new: Mapping[Any, Any]) -> None:
    """Another value for a key that exists takes the old one's place."""
    assert {} == target.put(old)
    assert {} == target.put(new)
    assert {**old, **new} == target.read()


def finds_and_repairs_drift(
    target: Target, objects: Mapping[Any, Any], meddle: Callable[[], object]
) -> None:
    """What somebody else changed is read back as different, and put back."""
    assert {} == target.put(objects)
    assert objects == target.read()
    meddle()
    found = target.read()
    assert objects != found
    drifted = {key: value for key, value in objects.items() if found.get(key) != value}
    assert {} == target.delete(set(found) - set(objects))
    assert {} == target.put(drifted)
    assert objects == target.read()


def one_failure_holds_back_nothing(
    target: Target, good: Mapping[Any, Any], bad: Mapping[Any, Any]
) -> None:
    failed = target.put({**bad, **good})
    assert set(bad) == set(failed)
    assert all(isinstance(error, OSError) for error in failed.values())
    assert set(good) <= set(target.read())
