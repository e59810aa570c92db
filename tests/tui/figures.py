"""What the console's benchmarks say: figures with their limits, as lines to read and as JSON to keep."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.tui.terminal import group_with

URGENT = -15
"""Niceness of a benchmark on a machine that is busy with something else."""


@dataclass(frozen=True)
class Figure:
    """One measured number."""

    name: str
    value: float
    unit: str
    limit: float | None = None
    """It should be at most this."""
    note: str = ""

    @property
    def within(self) -> bool | None:
        """Whether it is; None without a limit."""
        return None if self.limit is None else self.value <= self.limit

    def __str__(self) -> str:
        limit = "" if self.limit is None else f"  ({'limit' if self.within else 'OVER the limit of'} {self.limit:g})"
        return f"  {self.name:<60} {self.value:>9.4g} {self.unit}{limit}{f'  {self.note}' if self.note else ''}"


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which this share of the values lies (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def run_benchmark(description: str, measure: Callable[[], Sequence[Figure]]) -> int:
    """Measure, print, and write JSON where `--json` says; with `--strict`, 1 when a figure is over its limit."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="PATH")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a figure is over its limit")
    parser.add_argument(
        "--urgent", action="store_true", help="go before what else the machine does; needs the right to"
    )
    given = parser.parse_args()
    if given.urgent:
        group_with(os.nice(URGENT))
    before = os.getloadavg()[0]
    tell(f"load average {before:.1f} on {os.cpu_count()} cores, this benchmark's own load not yet in it")
    figures = measure()
    after = os.getloadavg()[0]
    tell(f"load average {after:.1f} at the end")
    if given.json:
        told = [{**asdict(figure), "within": figure.within} for figure in figures]
        document = {
            "cores": os.cpu_count(),
            "load_before": before,
            "load_after": after,
            "nice": os.nice(0),
            "figures": told,
        }
        given.json.write_text(json.dumps(document, indent=2) + "\n")
    return int(given.strict and any(figure.within is False for figure in figures))


def tell(line: object) -> None:
    """One line on standard output, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def told(figures: Sequence[Figure]) -> Sequence[Figure]:
    """The figures, after saying them."""
    for figure in figures:
        tell(figure)
    return figures
