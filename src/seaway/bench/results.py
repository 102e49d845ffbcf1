"""The outcome of a case as a value: rows, ratios, and the machine it was measured on."""

from __future__ import annotations

import msgspec

from seaway.bench.statistics import Estimate


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """A row's value over that of another row."""

    reference: str
    value: float
    low: float
    high: float
    good: bool = True  # both have enough rounds


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One figure. `value` is none where nothing was measured, and `note` says why."""

    system: str
    metric: str
    unit: str
    value: float | None
    low: float | None
    high: float | None
    runs: int  # rounds that were kept
    discarded: int  # rounds that were thrown away: the machine was not quiet
    good: bool  # enough rounds were kept to decide something by
    family: int = 4  # same-host, cross-host, ingress: of the addresses
    endpoints: int | None = None  # attach: present while it was measured
    parallel: int | None = None  # attach: at a time
    hosts: int | None = None  # scale: in the cluster
    services: int | None = None  # service: in the host's maps or rules
    ratios: tuple[Ratio, ...] = ()
    note: str = ""

    @property
    def cell(self) -> str:
        """The system, with what it was measured under."""
        for present in (self.hosts, self.services):
            if present is not None:
                return f"{self.system}@{present}"
        if self.endpoints is None:
            return self.system
        return f"{self.system}@{self.endpoints}x{self.parallel}"


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    kernel: str
    processor: str
    cpus: int
    pinned_to: int
    load: float
    python: str
    at: str
    spin_ms: float  # the fastest calibration loop of the run
    versions: dict[str, str]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    case: str
    machine: Machine
    rows: tuple[Row, ...]
    ratios: dict[str, dict[str, float]]  # metric -> "system/reference" -> ratio


def encode(result: Result) -> bytes:
    return msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n"


def ratio_of(reference: str, found: Estimate, *, good: bool) -> Ratio:
    return Ratio(reference=reference, value=found.value, low=found.low, high=found.high, good=good)


def collect_ratios(rows: tuple[Row, ...]) -> dict[str, dict[str, float]]:
    """By metric and pair of systems; of the cells of one pair, also the worst."""
    ratios: dict[str, dict[str, float]] = {}
    for row in rows:
        of_metric = ratios.setdefault(row.metric, {})
        for ratio in row.ratios:
            of_metric[f"{row.cell}/{ratio.reference}"] = ratio.value
            pair = f"{row.system}/{ratio.reference.partition('@')[0]}"
            of_cells = row.endpoints is not None or row.services is not None
            if of_cells and not pair.startswith(f"{row.system}/{row.system}"):
                worse = min if row.unit.endswith("/s") else max
                of_metric[pair] = worse(ratio.value, of_metric.get(pair, ratio.value))
    return {metric: pairs for metric, pairs in ratios.items() if pairs}
