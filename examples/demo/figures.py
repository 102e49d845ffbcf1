"""The last chapter: what `seaway bench same-host` measures here."""

from __future__ import annotations

from story import check, tell, title

from seaway import bench

CASE = "same-host"


def side_by_side(options: bench.Options) -> None:
    title("Measured here, side by side, on hosts of their own")
    tell(f"$ seaway bench {CASE} --rounds {options.rounds}")
    result = bench.run(CASE, options)
    for name in bench.SYSTEMS[CASE]:
        rows = [row for row in result.rows if row.system == name]
        taken = [f"{r.metric} {r.value:.4g} {r.unit}" for r in rows if r.value is not None]
        tell(f"  {name}: {', '.join(taken) or rows[0].note}")
        check(f"{name} was measured", taken or name not in ("veth", "seaway"))
    tell("  (one round is a look: docs/benchmarks.md has a measurement, `make bench` makes one)")
