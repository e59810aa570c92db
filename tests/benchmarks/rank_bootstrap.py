"""Time of a ranking, of ranks with their uncertainty, and of a comparison: 50 backbones, 60 tasks, 1,000 replicates.

    python -m tests.benchmarks.rank_bootstrap

The limit of each is 2 s on 2 cores. Printed apart: reading the spread of scores out of per-sample predictions.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ssl_console.analysis.comparison import compare
from ssl_console.analysis.ranking import rank
from ssl_console.analysis.statistics.rank_bootstrap import bootstrap_ranks
from ssl_console.analysis.statistics.weighted_metrics import Spread, of_samples
from ssl_console.workspace.predictions import Arrays
from ssl_console.workspace.result import Result
from tests.benchmarks._options import parser
from tests.benchmarks._record import Figure, keep, tell

LIMIT_S = 2.0
REPEATS = 3
PAIR = ("backbone-0", "backbone-1")
FAMILIES = ("linear", "knn", "few-shot", "finetune", "dense")


@dataclass(frozen=True)
class Size:
    """Size of the ranking."""

    backbones: int
    tasks: int
    replicates: int
    samples: int


def main() -> int:
    """Print and store both times."""
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
        *(Figure(name, seconds, "s", LIMIT_S) for name, seconds in table_s(size).items()),
    ]
    for figure in figures:
        tell(figure)
    keep("rank_bootstrap", "Ranks with their uncertainty", [], given.results, figures)
    return 0


def spread(task: int, size: Size) -> Spread:
    """A task on which backbones differ, with the same images hard for all."""
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


def table_s(size: Size) -> dict[str, float]:
    """Seconds of the table with estimates for a tenth of the cells, and of two backbones' comparison."""
    results, outputs = measured(size)
    tables, comparisons = [], []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        rank(results)
        tables.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        compare(*PAIR, results, outputs.get)
        comparisons.append(time.perf_counter() - begun)
    shape = f"{size.backbones} backbones x {size.tasks} tasks"
    return {f"table of {shape}": min(tables), f"compare two on {size.tasks} tasks": min(comparisons)}


def measured(size: Size) -> tuple[list[Result], dict[str, Arrays]]:
    """Results with missing cells, and the predictions of a pair with all results."""
    generator = np.random.default_rng(0)
    results: list[Result] = []
    outputs: dict[str, Arrays] = {}
    for task in range(size.tasks):
        labels = generator.integers(0, 20, size.samples)
        for number in range(size.backbones):
            name = f"backbone-{number}"
            if name not in PAIR and generator.random() < 0.1:
                continue
            result = one_result(name, task, float(np.clip(generator.normal(75, 5), 40, 99)), size)
            results.append(result)
            if name in PAIR:
                outputs[result.run_id] = kept(result, labels, generator)
    return results, outputs


def one_result(backbone: str, task: int, value: float, size: Size) -> Result:
    """Accuracy, mean per-class accuracy and few-shot episodes, in turn."""
    protocol, metric = (("linear", "accuracy"), ("linear", "mean-per-class"), ("few-shot-5", "accuracy"))[task % 3]
    name = f"{protocol}/{task}"
    words = {"key": name, "backbone": backbone, "task": name, "column": name, "metric": metric}
    numbers = {"seed": 0, "value": value, "ci_low": value - 1, "ci_high": value + 1, "finished": 0, "duration_s": 1}
    return Result.model_validate({**words, **numbers, "run_id": f"{backbone} {name}", "n": size.samples})


def kept(result: Result, labels: npt.NDArray[np.int64], generator: np.random.Generator) -> Arrays:
    """Outputs of a run."""
    if result.protocol_name == "few-shot-5":
        halves, images = generator.normal(result.value, 1, (40, 4, 2, 2)), np.full(9, 40)
        episodes = {"accuracy": generator.normal(result.value, 5, 600), "classes": np.zeros((600, 5))}
        return {**episodes, "split_accuracy": halves, "split_images": images}
    right = generator.random(len(labels)) < result.value / 100
    return {"index": np.arange(len(labels)), "label": labels, "predicted": np.where(right, labels, (labels + 1) % 20)}


if __name__ == "__main__":
    sys.exit(main())
