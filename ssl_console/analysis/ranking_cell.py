"""One score of a ranking: the mean over seeds, its interval and its deviation between seeds; texts about its samples
and seeds. Pure; needs no numpy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, stdev
from typing import Literal

from ssl_console.workspace.result import Result, ResultRecord, Source
from tasks.catalog.protocols import PROTOCOLS, is_trained
from tasks.metrics.outcome import NORMAL_95, student_95

Unit = Literal["images", "episodes"]


@dataclass(frozen=True)
class RankingCell:
    """One backbone in one column, over all seeds measured."""

    value: float
    ci_low: float
    ci_high: float
    n: int
    """Number of test images or episodes."""
    run_id: str
    """The newest contributing run."""
    source: Source
    seeds: tuple[int, ...]
    badges: tuple[str, ...] = ()
    """Names of the warnings of all contributing results (`ssl_console.workspace.badges`)."""
    seed_deviation: float | None = None
    """Standard deviation between seeds; None for one seed. The interval includes it in addition to the variance over
    samples.
    """
    unit: Unit = "images"
    """Unit of `n`."""
    data_notes: tuple[str, ...] = ()
    """Notes on image preprocessing and omitted images."""

    @cached_property
    def log_odds(self) -> float:
        """Log-odds of a percentage."""
        return log_odds(self.value, self.n)

    @property
    def half_width(self) -> float | None:
        """Half of the interval's width; None for a published number without an interval."""
        if self.source == "paper" and self.ci_low == self.ci_high:
            return None
        return (self.ci_high - self.ci_low) / 2


def average_seeds(results: Sequence[Result]) -> RankingCell:
    """One cell from results that differ only in the seed. As seeds share their test samples, averaging does not
    narrow the mean of their intervals; the standard error of the mean over seeds is added in quadrature, with
    Satterthwaite's degrees of freedom.
    """
    value = fmean(result.value for result in results)
    deviation = stdev(result.value for result in results) if len(results) > 1 else None
    below = fmean(result.value - result.ci_low for result in results)
    above = fmean(result.ci_high - result.value for result in results)
    last = max(results, key=lambda result: (result.finished, result.run_id))
    return RankingCell(
        value=value,
        ci_low=last.ci_low if len(results) == 1 else value - _with_seeds(below, deviation, len(results)),
        ci_high=last.ci_high if len(results) == 1 else value + _with_seeds(above, deviation, len(results)),
        n=last.n,
        run_id=last.run_id,
        source=last.source,
        seeds=tuple(sorted(result.seed for result in results)),
        badges=tuple(dict.fromkeys(badge for result in results for badge in result.badges)),
        data_notes=tuple(dict.fromkeys(note for result in results for note in result.data_notes)),
        seed_deviation=deviation,
        unit=unit_of(last.protocol_name),
    )


def _with_seeds(half: float, deviation: float | None, seeds: int) -> float:
    """Half width of the interval over samples, widened by the standard deviation over the seeds."""
    if not deviation:
        return half
    samples, between = half / NORMAL_95, deviation / math.sqrt(seeds)
    total = math.hypot(samples, between)
    return student_95((seeds - 1) * (total / between) ** 4) * total


def unit_of(protocol: str) -> Unit:
    """Unit of the sample size `n` of a protocol."""
    return "episodes" if protocol in PROTOCOLS and PROTOCOLS[protocol].inputs == "pool" else "images"


def log_odds(percent: float, n: int) -> float:
    """ln(p / (1 - p)); 0 and 1 are moved by half a sample, so that the result is finite."""
    margin = 0.5 / max(n, 1)
    share = min(max(percent / 100, margin), 1 - margin)
    return math.log(share / (1 - share))


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


@dataclass(frozen=True)
class SeedSpread:
    """The same measurement with several seeds."""

    values: Mapping[int, float]
    """By seed."""

    @property
    def mean(self) -> float:
        return fmean(self.values.values())

    @property
    def deviation(self) -> float:
        """Standard deviation between seeds."""
        return stdev(self.values.values())


def seed_spread(result: Result, results: Iterable[Result]) -> SeedSpread | None:
    """All seeds with which the same version of the backbone was measured in the column; None if there is only one."""
    alike = (
        one
        for one in sorted(results, key=lambda one: one.finished)
        if (one.column, one.backbone, one.made_of) == (result.column, result.backbone, result.made_of)
    )
    values = {result.seed: result.value, **{one.seed: one.value for one in alike}}
    return SeedSpread(dict(sorted(values.items()))) if len(values) > 1 else None
