"""Sample size and seeds of a score, in words. Pure; needs no numpy."""

from __future__ import annotations

from collections.abc import Sequence

from ssl_console.analysis.ranking_cell import Unit, unit_of
from ssl_console.workspace.result import Result, ResultRecord
from tasks.catalog.protocols import is_trained


def size_text(n: int, unit: Unit) -> str:
    """`1,000 images` or `600 episodes`."""
    return f"{n:,} {unit}"


def record_text(result: Result, record: ResultRecord | None) -> str:
    """`n 225 images of the pool, in 600 episodes` if the run's record contains the size of the pool."""
    unit = unit_of(result.protocol_name)
    pool = record.samples.get("pool") if record is not None and unit == "episodes" else None
    if pool is not None:
        return f"n {pool:,} images of the pool, in {size_text(result.n, unit)}"
    return f"n {size_text(result.n, unit)}"


def seeds_text(protocol: str, seeds: Sequence[int]) -> str:
    """`seed 0`; for protocols that train or draw with it, `the run's seed 0 of training` or `of episodes`."""
    shown = f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds"
    use = "training" if is_trained(protocol) else "episodes" if unit_of(protocol) == "episodes" else ""
    whose = "the run's" if len(seeds) == 1 else "the runs'"
    return f"{whose} {shown} of {use}" if use else shown
