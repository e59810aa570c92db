"""Results of a benchmark: ratios and figures with the machine they were measured on, one JSON file each."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from statistics import geometric_mean

from pydantic import TypeAdapter

PACKAGES = ("numpy", "pillow", "scikit-learn", "textual", "timm", "torch", "torchvision")
LOAD_BEFORE = os.getloadavg()[0]
"""Load average before this benchmark started."""

Fact = float | int | str | bool | None


@dataclass(frozen=True)
class Ratio:
    """Duration of the alternative relative to ours: median, minimum and maximum over the turns."""

    median: float
    lowest: float
    highest: float
    at_least: bool = False
    """The alternative was stopped before it was done, so these are lower bounds."""

    def __str__(self) -> str:
        spread = f" ({short(self.lowest)} to {short(self.highest)})" if self.highest > self.lowest else ""
        return f"{'≥ ' if self.at_least else ''}{short(self.median)}x{spread}"


@dataclass(frozen=True)
class Row:
    """One comparison: its subject, median seconds of both, and their ratios."""

    work: str
    other: str
    ours_s: float
    other_s: float
    cpu: Ratio
    """Ratio by processor time."""
    wall: Ratio
    """Ratio by wall-clock time."""
    turns: int
    goal: float | None = None
    """Minimum ratio aimed at."""
    headline: bool = True
    """Whether it is shown in the table of the README."""
    facts: Mapping[str, Fact] = field(default_factory=dict)
    """Further data: gaps, limits, differences between the results."""

    def __str__(self) -> str:
        facts = "".join(
            f"; {name} {value if not isinstance(value, float) else short(value)}" for name, value in self.facts.items()
        )
        goal = "" if self.goal is None else f" (goal {short(self.goal)}x)"
        return (
            f"{self.work}: ours {short(self.ours_s)} s, {self.other} {short(self.other_s)} s CPU: "
            f"{self.cpu} by CPU, {self.wall} by wall{goal}{facts}"
        )


@dataclass(frozen=True)
class Figure:
    """One measured number."""

    name: str
    value: float
    unit: str
    limit: float | None = None
    """Upper limit aimed at."""
    note: str = ""

    @property
    def within(self) -> bool | None:
        """Whether the limit is met; None without a limit."""
        return None if self.limit is None else self.value <= self.limit

    def __str__(self) -> str:
        limit = "" if self.limit is None else f"  ({'limit' if self.within else 'OVER the limit of'} {self.limit:g})"
        return f"  {self.name:<60} {self.value:>9.4g} {self.unit}{limit}{f'  {self.note}' if self.note else ''}"


@dataclass(frozen=True)
class Machine:
    """Machine and library versions."""

    processor: str
    cores: int
    threads: int | None
    """Threads of torch in this process; None if it was not imported."""
    load_before: float
    load_after: float
    python: str
    versions: Mapping[str, str]
    day: str


@dataclass(frozen=True)
class Document:
    """All results of one benchmark."""

    name: str
    title: str
    rows: Sequence[Row]
    figures: Sequence[Figure]
    machine: Machine
    command: Sequence[str] = ()
    """Options of the run."""


_DOCUMENT = TypeAdapter(Document)


def keep(name: str, title: str, rows: Sequence[Row], folder: Path, figures: Sequence[Figure] = ()) -> None:
    """Write `folder/name.json`: results and machine."""
    folder.mkdir(parents=True, exist_ok=True)
    document = Document(name, title, tuple(rows), tuple(figures), machine(), tuple(sys.argv[1:]))
    (folder / f"{name}.json").write_bytes(_DOCUMENT.dump_json(document, indent=1) + b"\n")


def read(folder: Path) -> list[Document]:
    """All documents of a folder, by name."""
    return [_DOCUMENT.validate_json(path.read_bytes()) for path in sorted(folder.glob("*.json"))]


def machine() -> Machine:
    """The current machine."""
    torch = sys.modules.get("torch")
    return Machine(
        processor=_processor(),
        cores=os.cpu_count() or 1,
        threads=torch.get_num_threads() if torch else None,
        load_before=round(LOAD_BEFORE, 1),
        load_after=round(os.getloadavg()[0], 1),
        python=platform.python_version(),
        versions={name: metadata.version(name) for name in PACKAGES},
        day=time.strftime("%Y-%m-%d"),
    )


def overall(work: str, rows: Sequence[Row], goal: float | None = None) -> Row:
    """Geometric mean of comparisons with the same alternative; its range is from their minimum to their maximum."""
    return Row(
        work=work,
        other=rows[0].other,
        ours_s=sum(one.ours_s for one in rows),
        other_s=sum(one.other_s for one in rows),
        cpu=_mean([one.cpu for one in rows]),
        wall=_mean([one.wall for one in rows]),
        turns=min(one.turns for one in rows),
        goal=goal,
    )


def tell(line: object) -> None:
    """Print one line immediately."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def short(value: float) -> str:
    """Three significant digits, more only for integers."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _mean(ratios: Sequence[Ratio]) -> Ratio:
    medians = [one.median for one in ratios]
    return Ratio(geometric_mean(medians), min(medians), max(medians), any(one.at_least for one in ratios))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())
