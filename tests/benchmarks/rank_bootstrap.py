"""What ranks with their uncertainty cost: 50 backbones, 60 tasks, 1,000 replicates. The limit is 2 s on 2 cores.

    python tests/benchmarks/rank_bootstrap.py

Prints the time of the ranking and, apart from it, of reading the spread of scores out of per-sample predictions. Exits
with 1 above the limit.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass

import numpy as np

from ssl_console.statistics.ranks import bootstrap_ranks
from ssl_console.statistics.spread import Spread, of_samples

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
    """Print both times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--backbones", type=int, default=50)
    parser.add_argument("--tasks", type=int, default=60)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=2000, help="test images of each task")
    given = Size(**vars(parser.parse_args()))
    tell(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    begun = time.perf_counter()
    spreads = [spread(number, given) for number in range(given.tasks)]
    tell(f"spread of scores from {given.samples:,} predictions a task: {time.perf_counter() - begun:.2f} s")
    seconds = min(ranking_s(spreads, given) for _ in range(REPEATS))
    shape = f"{given.backbones} backbones x {given.tasks} tasks, {given.replicates:,} replicates"
    tell(f"{shape}: {seconds:.2f} s   (limit {LIMIT_S:.0f} s)")
    return int(seconds > LIMIT_S)


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


def tell(line: str) -> None:
    """One line on standard output, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
