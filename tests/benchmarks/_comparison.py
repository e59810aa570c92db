"""Two ways of doing the same thing, measured in turns in one process, and what is kept of it.

Every ratio is the other way's time over ours, of the same turn; its median and its extremes over the turns are kept, by
wall clock and by processor time, which a machine that others use disturbs less.
"""

from __future__ import annotations

import argparse
import atexit
import functools
import json
import os
import platform
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any, TypeVar

T = TypeVar("T")
RESULTS = Path(__file__).parent / "results"
PACKAGES = ("numpy", "scikit-learn", "torch", "torchvision")


@dataclass(frozen=True)
class Timing:
    """Seconds that a piece of work took, by the wall clock and of all processors."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class Ratio:
    """How many times as long the other way took: median, lowest and highest over the turns."""

    median: float
    lowest: float
    highest: float
    at_least: bool = False
    """The other way was stopped before it was done, so that these are lower bounds."""

    def __str__(self) -> str:
        spread = f" ({short(self.lowest)} to {short(self.highest)})" if self.highest > self.lowest else ""
        return f"{'≥ ' if self.at_least else ''}{short(self.median)}x{spread}"


@dataclass(frozen=True)
class Row:
    """One comparison: what was done, both ways' median seconds, and their ratios."""

    work: str
    other: str
    ours_s: float
    other_s: float
    cpu: Ratio
    wall: Ratio
    turns: int
    facts: Mapping[str, float | int | str | bool | None] = field(default_factory=dict)
    """What belongs to it besides the times: gaps, limits, differences between the results."""

    def __str__(self) -> str:
        facts = "".join(
            f"; {name} {value if not isinstance(value, float) else short(value)}" for name, value in self.facts.items()
        )
        return (
            f"{self.work}: ours {short(self.ours_s)} s, {self.other} {short(self.other_s)} s CPU: "
            f"{self.cpu} by CPU, {self.wall} by wall{facts}"
        )


def timed(work: Callable[[], T]) -> tuple[Timing, T]:
    """Do it once. Processor time counts this process and the children that it has waited for."""
    wall, cpu = time.perf_counter(), _cpu_s()
    made = work()
    return Timing(time.perf_counter() - wall, _cpu_s() - cpu), made


def in_turns(ways: Mapping[str, Callable[[], object]], turns: int) -> dict[str, list[Timing]]:
    """Every way once per turn, in rotating order."""
    found: dict[str, list[Timing]] = {name: [] for name in ways}
    for turn in range(turns):
        names = list(ways)[turn % len(ways) :] + list(ways)[: turn % len(ways)]
        for name in names:
            found[name].append(timed(ways[name])[0])
    return found


def row(
    work: str,
    other: str,
    ours: Sequence[Timing],
    theirs: Sequence[Timing],
    *,
    at_least: bool = False,
    **facts: float | int | str | bool | None,
) -> Row:
    """The comparison of timings taken in the same turns; a way timed once is compared with every turn of the other."""
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
        facts=facts,
    )


def geometric(rows: Sequence[Row]) -> float:
    """Geometric mean of the rows' CPU ratios."""
    return geometric_mean(one.cpu.median for one in rows)


def keep(name: str, title: str, rows: Sequence[Row], folder: Path, **facts: Any) -> None:
    """Write `folder/name.json`: the rows, and the machine that they were measured on."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {"title": title, "rows": [asdict(one) for one in rows], **facts, "machine": machine()}
    (folder / f"{name}.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """What has to be known of the machine to read the numbers."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "day": time.strftime("%Y-%m-%d"),
        **{name: metadata.version(name) for name in PACKAGES},
    }


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that every comparison has."""
    made = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    sizes = made.add_mutually_exclusive_group()
    sizes.add_argument("--full", action="store_true", default=os.environ.get("BENCH") == "full", help="every size")
    sizes.add_argument("--quick", dest="full", action="store_false", help="the sizes that take a minute or two")
    made.add_argument("--results", type=Path, default=RESULTS, metavar="DIR", help="where the JSON goes")
    return made


@functools.cache
def scratch_folder() -> Path:
    """A folder that is gone when the process ends."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def tell(line: object) -> None:
    """One line on standard output, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def short(value: float) -> str:
    """Three digits, more only where they are whole."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _ratio(values: Sequence[float], at_least: bool) -> Ratio:
    return Ratio(median(values), min(values), max(values), at_least)


def _cpu_s() -> float:
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())
