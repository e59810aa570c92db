"""Correlation, ranks and badges of several backbones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from ssl_console.analysis.comparison import is_within, over_trainings
from ssl_console.analysis.ranking import rank
from ssl_console.analysis.ranking_cell import average_seeds
from ssl_console.analysis.statistics.correlation import associate
from ssl_console.analysis.statistics.paired_tests import accuracy
from ssl_console.analysis.statistics.rank_bootstrap import bootstrap_ranks
from ssl_console.analysis.statistics.weighted_metrics import of_samples
from ssl_console.workspace.badges import BadgeInputs, badges_of, chance_level
from ssl_console.workspace.result import Result
from tasks.catalog.protocol import Margin
from tasks.metrics.confidence_intervals import wilson
from tasks.metrics.scoring import interval
from tests.verdicts.rates import AT_MOST, COVERED, Floats, Labels, Rate, repeated, scored, simulation


@simulation
def correlation(scale: float) -> Iterator[Rate]:
    """Intervals of Pearson's and Spearman's coefficients between two measurements: `associate`."""
    truth, ranked = 0.6, 6 / np.pi * np.arcsin(0.3)
    for count in (3, 5, 8, 14, 30):
        times, generator = repeated(500, scale), np.random.default_rng(count)
        covered = [0, 0]
        for _ in times:
            x = generator.standard_normal(count)
            found = associate(list(x), list(truth * x + np.sqrt(1 - truth**2) * generator.standard_normal(count)))
            covered[0] += found is None or found.pearson.low <= truth <= found.pearson.high
            covered[1] += found is None or found.spearman.low <= ranked <= found.spearman.high
        for name, one in zip(("Pearson", "Spearman"), covered, strict=True):
            yield Rate(
                "correlation", f"{name}, {count} backbones, coverage", one / len(times), COVERED[0], 1.0, len(times)
            )


@simulation
def three_backbones(scale: float) -> Iterator[Rate]:
    """Three backbones in the same order twice, with probability 1/6 by chance: no interval may imply certainty."""
    del scale
    found = associate([1.0, 2.0, 3.0], [1.0, 2.0, 3.1])
    width = 2.0 if found is None else found.spearman.high - found.spearman.low
    yield Rate("three_backbones", "width of Spearman's interval, n = 3", width, 1.0, 2.0, 1)


@simulation
def rank_intervals(scale: float) -> Iterator[Rate]:
    """Six backbones of fixed true order on twelve tasks that are redrawn each time: `bootstrap_ranks` on
    `of_samples`."""
    times, names = repeated(100, scale), [f"b{place}" for place in range(6)]
    true, covered = np.linspace(0.80, 0.75, 6), 0
    for seed in times:
        generator = np.random.default_rng((9, seed))
        tasks = []
        for _ in range(12):
            chance = np.clip(true + 0.03 * generator.standard_normal(6), 0, 1)
            right = 100.0 * (generator.random((6, 300)) < chance[:, None])
            tasks.append(of_samples(right.mean(axis=1), right))
        rows = bootstrap_ranks(names, tasks, ["linear"] * 12, replicates=300, seed=seed).rows
        covered += sum(row.low <= names.index(row.backbone) + 1 <= row.high for row in rows)
    yield Rate(
        "rank_intervals", "6 backbones, 12 tasks, coverage", covered / 6 / len(times), COVERED[0], 1.0, len(times)
    )


@simulation
def chance_badge(scale: float) -> Iterator[Rate]:
    """A backbone that guesses must have the badge; one that is worse than guessing must not be called a guesser."""
    times, generator = repeated(1000, scale), np.random.default_rng(4)
    for classes, total in ((2, 40), (10, 200)):
        labels, marked = np.arange(total) % classes, 0
        for _ in times:
            marked += _is_marked(labels, generator.integers(0, classes, total), classes)
        yield Rate(
            "chance_badge",
            f"{classes} classes, n = {total}, a guesser is marked",
            marked / len(times),
            0.95,
            1.0,
            len(times),
        )
    labels = np.arange(60) % 3
    false = _says_not_excluded(labels, (labels + 1) % 3, 3)
    yield Rate("chance_badge", "0 of 60 right, said not to be excluded", float(false), 0.0, 0.0, 1)


def _seen(labels: Labels, guesses: Labels, classes: int) -> BadgeInputs:
    found = interval("accuracy", scored(guesses, classes), labels)
    value, chance = 100 * float(np.mean(labels == guesses)), chance_level("accuracy", classes, labels.tolist())
    return BadgeInputs(
        value=value, ci_low=found.low, ci_high=found.high, tested=len(labels), chance=chance, diagnostics={}
    )


def _is_marked(labels: Labels, guesses: Labels, classes: int) -> bool:
    return any(badge.name == "chance" for badge in badges_of(_seen(labels, guesses, classes)))


def _says_not_excluded(labels: Labels, guesses: Labels, classes: int) -> bool:
    badges = badges_of(_seen(labels, guesses, classes))
    return any("does not exclude" in badge.advice for badge in badges)


def _result(backbone: str, task: str, value: float) -> Result:
    words = {
        "run_id": f"{backbone}-{task}",
        "key": f"{backbone}-{task}",
        "backbone": backbone,
        "task": task,
        "column": task,
    }
    numbers = {
        "seed": 0,
        "value": value,
        "ci_low": value - 1,
        "ci_high": value + 1,
        "n": 1000,
        "finished": 0,
        "duration_s": 1,
    }
    return Result.model_validate({**words, **numbers, "metric": "accuracy"})


@simulation
def ranking_with_holes(scale: float) -> Iterator[Rate]:
    """One backbone wins every shared task and misses one; another is complete. `rank` must not rank the complete one
    higher: more measurements are no merit."""
    del scale
    tasks = [f"linear/{place}" for place in range(6)]
    results = [_result("complete", task, 60.0) for task in tasks]
    results += [_result("winner", task, 80.0) for task in tasks[:5]]
    first = rank(results).rows[0].backbone
    yield Rate(
        "ranking_with_holes",
        "the complete loser of every shared task heads the table",
        float(first == "complete"),
        0.0,
        0.0,
        1,
    )


@simulation
def training_seeds(scale: float) -> Iterator[Rate]:
    """Two equal backbones with a head trained three or five times each; every training has a random effect."""
    for seeds in (3, 5):
        times, generator, alarms = repeated(1000, scale), np.random.default_rng(seeds), 0
        for _ in times:
            hard = generator.standard_normal(400)
            runs = [_trained(generator, hard, seeds) for _ in range(2)]
            test = over_trainings(accuracy(*runs), *(100 * run.mean(axis=1) for run in runs))
            alarms += test.p_value < 0.05
        yield Rate("training_seeds", f"{seeds} seeds, false alarms", alarms / len(times), *AT_MOST, len(times))


def _trained(generator: np.random.Generator, hard: Floats, seeds: int) -> npt.NDArray[np.bool_]:
    """Correct or wrong [seeds, n]: random effects of the training, of the image, and of both."""
    luck = 0.1 * generator.standard_normal((seeds, 1))
    found: npt.NDArray[np.bool_] = hard + luck + 0.5 * generator.standard_normal((seeds, len(hard))) < 0.8
    return found


@simulation
def interval_over_seeds(scale: float) -> Iterator[Rate]:
    """Coverage of the accuracy over all images and trainings, for the score shown in rankings."""
    truth = 100 * norm.cdf(0.8 / np.sqrt(1 + 0.1**2 + 0.5**2))
    for seeds in (2, 3, 5):
        times, generator, covered = repeated(1000, scale), np.random.default_rng(seeds), 0
        for _ in times:
            runs = _trained(generator, generator.standard_normal(400), seeds)
            cell = average_seeds([_of_seed(seed, run) for seed, run in enumerate(runs)])
            covered += cell.ci_low <= truth <= cell.ci_high
        yield Rate("interval_over_seeds", f"{seeds} seeds, coverage", covered / len(times), 0.93, 1.0, len(times))


def _of_seed(seed: int, right: npt.NDArray[np.bool_]) -> Result:
    found = wilson(int(right.sum()), len(right))
    changes = {"seed": seed, "value": 100 * float(right.mean()), "ci_low": found.low, "ci_high": found.high}
    return _result("a", "finetune/x", 0.0).model_copy(update={**changes, "n": len(right)})


@simulation
def equivalence(scale: float) -> Iterator[Rate]:
    """Two backbones whose true difference equals the margin must rarely be called equal within it."""
    times, generator, called = repeated(1000, scale), np.random.default_rng(12), 0
    for _ in times:
        common = generator.standard_normal(2000)
        first, second = (
            (common + 0.5 * generator.standard_normal(2000) < norm.ppf(share) * np.sqrt(1.25))[None]
            for share in (0.82, 0.80)
        )
        called += is_within(accuracy(first, second), Margin(2.0, "points"))
    yield Rate("equivalence", "at the margin, called equal", called / len(times), *AT_MOST, len(times))
