"""Checks of services' endpoints: as people write them, who is checked, and what follows from it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from msgspec.structs import replace

from seaway.errors import Invalid
from seaway.model.addresses import Address
from seaway.model.durations import parse_duration
from seaway.model.facts import Value
from seaway.model.services import Check

NONE: Final = "none"
UNASKED: Final = "it was not asked yet"  # why one that was just attached fails
INTERVAL_MOST: Final = 3600  # seconds
IN_A_ROW_MOST: Final = 100
_PATH_MOST: Final = 1024
_PATH = re.compile(r"/[!-+\--~]*")  # what may stand in a request's first line, but for a comma
_TOLD: Final = 60
_DIGITS: Final = 6
_FORM: Final = "expected tcp or http:PATH, e.g. http:/ready,port=8080,interval=5s,failures=2"


def parse_check(text: str) -> Check:
    """Of tcp or http:PATH, and perhaps port, interval, timeout, failures and successes, with commas
    between them; or of none.
    """
    if text == NONE:
        return Check()
    what, *knobs = text.split(",")
    by, _, path = what.partition(":")
    made = replace(Check(), by=_by(by, text), path=path)
    for knob in knobs:
        name, _, value = knob.strip().partition("=")
        if name not in _KNOBS or not value:
            raise Invalid(f"'{knob[:_TOLD]}' is nothing that a check has", _FORM)
        made = replace(made, **{name: _KNOBS[name](value)})
    check_form(made)
    return made


def written(check: Check) -> str:
    """As `parse_check` reads it; what is usual is left out."""
    if not check.by:
        return NONE
    words = [f"http:{check.path}" if check.by == "http" else check.by]
    for name in _KNOBS:
        value = getattr(check, name)
        if value != getattr(_USUAL, name):
            words.append(f"{name}={value}{'s' if name in _SPANS else ''}")
    return ",".join(words)


def _by(text: str, whole: str) -> Literal["tcp", "http"]:
    if text == "tcp":
        return "tcp"
    if text == "http":
        return "http"
    raise Invalid(f"'{whole[:_TOLD]}' is no check", _FORM)


def _port(text: str) -> int | str:
    return _number(text) if text.isascii() and text.isdecimal() else text


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS):
        raise Invalid(f"'{text[:_TOLD]}' is no number", _FORM)
    return int(text)


def _seconds(text: str) -> int:
    return int(parse_duration(text[:_TOLD]))


_USUAL: Final = Check()
_SPANS: Final = ("interval", "timeout")
_KNOBS: Final[Mapping[str, Callable[[str], Any]]] = {
    "port": _port,
    "interval": _seconds,
    "timeout": _seconds,
    "failures": _number,
    "successes": _number,
}


def check_form(check: Check) -> None:
    """What can be said of it without its service; `Invalid`."""
    if not check.by:
        if check != _USUAL:
            raise Invalid("a check that is none has nothing more", f"{_FORM}; or {NONE}")
        return
    if check.by == "tcp" and check.path:
        raise Invalid("a check by tcp asks for no path", _FORM)
    if check.by == "http":
        _check_path(check.path)
    if not 1 <= check.interval <= INTERVAL_MOST:
        raise Invalid(
            f"an interval of {check.interval} s is out of range", f"expected 1s to {INTERVAL_MOST}s"
        )
    if not 1 <= check.timeout <= check.interval:
        raise Invalid(
            f"a timeout of {check.timeout} s is out of range",
            f"expected 1s to the interval, which is {check.interval}s",
        )
    for name, times in (("failures", check.failures), ("successes", check.successes)):
        if not 1 <= times <= IN_A_ROW_MOST:
            raise Invalid(f"{times} {name} are out of range", f"expected 1 to {IN_A_ROW_MOST}")


def _check_path(path: str) -> None:
    if len(path) > _PATH_MOST or not _PATH.fullmatch(path):
        raise Invalid(
            f"{path[:_TOLD]!r} is no path that can be asked for",
            f"expected up to {_PATH_MOST} printable ASCII characters from / on, no space or comma "
            "(%20, %2C)",
        )


class Checked(Value):
    """One endpoint that is checked."""

    endpoint: str  # its id
    address: Address
    port: int


class Checks(Value):
    """All that this host checks for one service."""

    service: str  # its name
    check: Check
    places: tuple[Checked, ...]


class Standing(Value):
    """What is known of one endpoint by the checks of one service."""

    failing: bool = False
    run: int = 0  # results in a row that say otherwise
    new: bool = False  # it never passed since it was attached
    bad: int = 0  # results in a row


def judge(before: Standing, passed: bool, check: Check) -> Standing:
    """After one more result."""
    bad = 0 if passed else before.bad + 1
    new = before.new and not passed
    run = before.run + 1 if passed == before.failing else 0
    turns = run >= (check.successes if passed else check.failures)
    return Standing(failing=before.failing != turns, run=0 if turns else run, new=new, bad=bad)


def pace(standing: Standing, check: Check) -> float:
    """Seconds to the next check. Who is new and starts is asked sooner, then less and less often,
    so that it gets connections soon after it can serve them.
    """
    if not standing.new:
        return check.interval
    return min(check.interval, 2.0 ** max(standing.bad - 1, 0))
