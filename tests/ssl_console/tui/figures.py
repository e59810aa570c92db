"""Output of the console's benchmarks: figures with their limits, as text and as JSON."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.benchmarks._options import parser
from tests.benchmarks._record import Figure, keep, tell
from tests.ssl_console.tui.terminal import group_with

URGENT = -15
"""Niceness of a benchmark on a machine that is busy with something else."""


def quantile(values: Sequence[float], share: float) -> float:
    """Quantile of the values by nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def run_benchmark(description: str, measure: Callable[[bool], Sequence[Figure]]) -> int:
    """Measure (`quick` or not), print, and write JSON; with `--strict`, return 1 if a figure exceeds its limit."""
    options = parser(description)
    options.add_argument("--strict", action="store_true", help="exit with 1 when a figure is over its limit")
    options.add_argument(
        "--urgent", action="store_true", help="go before what else the machine does; needs the right to"
    )
    given = options.parse_args()
    if given.urgent:
        group_with(os.nice(URGENT))
    tell(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, this benchmark's own load not yet in it")
    figures = measure(given.quick)
    tell(f"load average {os.getloadavg()[0]:.1f} at the end")
    keep(Path(sys.argv[0]).stem, description.splitlines()[0].rstrip("."), [], given.results, figures)
    return int(given.strict and any(figure.within is False for figure in figures))


def told(figures: Sequence[Figure]) -> Sequence[Figure]:
    """The figures, after printing them."""
    for figure in figures:
        tell(figure)
    return figures
