"""Side by side with what is installed here: the figures behind every promise about speed.

`run(case, options)` measures; `encode(result)` is its JSON, `render(result)` its table.
"""

from __future__ import annotations

from seaway.bench.cases import CASES, SYSTEMS, run
from seaway.bench.options import QUICK_ROUNDS, ROUNDS, Options
from seaway.bench.promises import verdicts
from seaway.bench.results import Result, encode
from seaway.bench.table import render

__all__ = [
    "CASES",
    "QUICK_ROUNDS",
    "ROUNDS",
    "SYSTEMS",
    "Options",
    "Result",
    "encode",
    "render",
    "run",
    "verdicts",
]
