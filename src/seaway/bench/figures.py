"""A row of a result, of what the rounds of a run gave."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from seaway.bench.results import Row
from seaway.bench.rounds import Ledger, Value
from seaway.bench.statistics import estimate


def row_of(
    ledger: Ledger[Value],
    key: Hashable,
    figure: Callable[[Sequence[Value]], float],
    **said: Any,
) -> Row:
    """`figure`: what all rounds together say; `said`: what else the row tells."""
    told = ledger.told(key)
    found = estimate(told, figure) if told else None
    measured: dict[str, Any] = {
        "value": found and found.value,
        "low": found and found.low,
        "high": found and found.high,
        "runs": len(ledger.kept(key)),
        "discarded": ledger.discarded(key),
        "good": ledger.is_enough(key),
        "note": ledger.judge(key),
    }
    return Row(**measured | said)
