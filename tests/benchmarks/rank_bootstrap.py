"""What ranks with their uncertainty cost: 50 backbones, 60 tasks, 1,000 replicates. The limit is 2 s on 2 cores.

    python -m tests.benchmarks.rank_bootstrap

Printed apart from it: reading the spread of scores out of per-sample predictions.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import numpy as np

from ssl_console.analysis.statistics.rank_bootstrap import bootstrap_ranks
from ssl_console.analysis.statistics.weighted_metrics import Spread, of_samples
from tests.benchmarks._options import parser
from tests.benchmarks._record import Figure, keep, tell

LIMIT_S = 2.0
REPEATS = 3
FAMILIES = ("linear", "knn", "few-shot", "finetune", "dense")


@dataclass(frozen=True)
class Size:
    """How much there is to rank."""

    backbones: int
    tasks: int
    replicates: int
    samples: int


def main() -> int:
    """Print and keep both times."""
    options = parser(__doc__)
    options.add_argument("--backbones", type=int, default=50)
    options.add_argument("--tasks", type=int, default=60)
    options.add_argument("--replicates", type=int, default=1000)
    options.add_argument("--samples", type=int, default=2000, help="test images of each task")
    given = options.parse_args()
    size = Size(given.backbones, given.tasks, given.replicates, given.samples)
    begun = time.perf_counter()
    spreads = [spread(number, size) for number in range(size.tasks)]
    reading_s = time.perf_counter() - begun
    shape = f"{size.backbones} backbones x {size.tasks} tasks, {size.replicates:,} replicates"
    figures = [
        Figure(f"spread of scores from {size.samples:,} predictions a task", reading_s, "s"),
        Figure(shape, min(ranking_s(spreads, size) for _ in range(REPEATS)), "s", LIMIT_S),
    ]
    for figure in figures:
        tell(figure)
    keep("rank_bootstrap", "Ranks with their uncertainty", [], given.results, figures)
    return 0


def spread(task: int, size: Size) -> Spread:
    """One task on which backbones differ, and agree about which images are hard."""
    generator = np.random.default_rng(task)
    skill = np.linspace(-0.5, 0.5, size.backbones)[:, None] + 0.3 * generator.standard_normal((size.backbones, 1))
    hard = generator.standard_normal(size.samples)
    right = skill + 1.0 > hard + 0.7 * generator.standard_normal((size.backbones, size.samples))
    return of_samples(100.0 * right.mean(axis=1), 100.0 * right)


def ranking_s(spreads: list[Spread], size: Size) -> float:
    """Seconds of the whole ranking."""
    names = [f"backbone-{number}" for number in range(size.backbones)]
    families = [FAMILIES[number % len(FAMILIES)] for number in range(size.tasks)]
    begun = time.perf_counter()
    bootstrap_ranks(names, spreads, families, replicates=size.replicates)
    return time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(main())
