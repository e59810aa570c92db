"""Two implementations of the same computation, measured alternately in one process.

Every ratio is the other way's time over ours, of the same turn; its median and its extremes over the turns are kept, by
wall clock and by processor time, which a machine that others use disturbs less.
"""

from __future__ import annotations

import atexit
import functools
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TypeVar

from tests.benchmarks._record import Fact, Ratio, Row

T = TypeVar("T")


@dataclass(frozen=True)
class Timing:
    """Seconds of a piece of work, in wall-clock time and in processor time over all cores."""

    wall_s: float
    cpu_s: float


def timed(work: Callable[[], T]) -> tuple[Timing, T]:
    """Time it once. Processor time counts this process and the children that it has waited for."""
    wall, cpu = time.perf_counter(), _cpu_s()
    made = work()
    return Timing(time.perf_counter() - wall, _cpu_s() - cpu), made


def in_turns(ways: Mapping[str, Callable[[], object]], turns: int) -> dict[str, list[Timing]]:
    """Time all implementations once per turn, in rotating order. One that runs in another process returns its own
    duration."""
    found: dict[str, list[Timing]] = {name: [] for name in ways}
    for turn in range(turns):
        names = list(ways)[turn % len(ways) :] + list(ways)[: turn % len(ways)]
        for name in names:
            timing, made = timed(ways[name])
            found[name].append(made if isinstance(made, Timing) else timing)
    return found


def row(
    work: str,
    other: str,
    ours: Sequence[Timing],
    theirs: Sequence[Timing],
    *,
    at_least: bool = False,
    goal: float | None = None,
    headline: bool = True,
    **facts: Fact,
) -> Row:
    """Comparison of timings from the same turns; a single timing is compared with every turn of the other."""
    turns = max(len(ours), len(theirs))
    pairs = [(ours[turn % len(ours)], theirs[turn % len(theirs)]) for turn in range(turns)]
    return Row(
        work=work,
        other=other,
        ours_s=median(timing.cpu_s for timing in ours),
        other_s=median(timing.cpu_s for timing in theirs),
        cpu=_ratio([b.cpu_s / max(a.cpu_s, 1e-9) for a, b in pairs], at_least),
        wall=_ratio([b.wall_s / max(a.wall_s, 1e-9) for a, b in pairs], at_least),
        turns=turns,
        goal=goal,
        headline=headline,
        facts=facts,
    )


@functools.cache
def scratch_folder() -> Path:
    """A folder that is removed when the process ends."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _ratio(values: Sequence[float], at_least: bool) -> Ratio:
    return Ratio(median(values), min(values), max(values), at_least)


def _cpu_s() -> float:
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )
