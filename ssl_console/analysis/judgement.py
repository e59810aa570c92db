"""Sequential verdict on one backbone against another over the tasks of a suite, dataset by dataset. Pure.

The quantity is the mean lead over the tasks so far, in points, on other images of their datasets. After every dataset
there is one look, and all looks of a judgement together are wrong in 5 % of judgements at most, whenever it stops.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

import numpy as np

from ssl_console.analysis.comparison import TaskComparison
from ssl_console.analysis.statistics.paired_tests import PairedTest
from ssl_console.analysis.statistics.sequential import (
    ERROR,
    AnytimeTest,
    Floats,
    anytime_test,
    mean_over_datasets,
    mixture_test,
)

Answer = Literal["better", "not better", "practically equal", "needs more"]
DEFAULT_MARGIN = 0.5  # points
PATIENCE = 3
"""Number of consecutive checkpoints that are no better than the best one before, after which a training is reported
to have stopped improving.
"""


@dataclass(frozen=True)
class JudgedTask:
    """One task: its comparison, and the scores of both backbones by image."""

    comparison: TaskComparison
    dataset: str
    images: str = ""
    """Digest of the test images; empty if scores by image are unknown."""
    leads: Floats | None = None
    """Lead [n] of the first backbone on every image, in points."""
    reach: float = 100.0
    """Largest possible lead on one image."""

    @property
    def counts(self) -> bool:
        """Whether it is part of the mean: its score is a percentage and not descriptive."""
        return self.comparison.higher_is_better and not self.comparison.describes


@dataclass(frozen=True)
class Judgement:
    """The answer after some datasets."""

    answer: Answer
    test: AnytimeTest
    """Mean lead over the tasks; positive if the first backbone is better."""
    margin: float
    tasks: tuple[str, ...]
    left_out: tuple[str, ...]
    """Tasks whose scores are not percentages, or are descriptive."""
    one_training: bool
    error: float
    """Probability that its bounds are wrong."""

    @property
    def final(self) -> bool:
        return self.answer != "needs more"


def judge(tasks: Sequence[JudgedTask], margin: float = DEFAULT_MARGIN, error: float = ERROR) -> Judgement | None:
    """One look at the tasks so far, with its part of the error; None if no task counts."""
    counted = [task for task in tasks if task.counts]
    if not counted:
        return None
    datasets: dict[str, list[JudgedTask]] = {}
    for task in counted:
        datasets.setdefault(task.dataset, []).append(task)
    test = _test(list(datasets.values()), error)
    return Judgement(
        answer=answer_of(test, margin),
        test=test,
        margin=margin,
        tasks=tuple(task.comparison.task for task in counted),
        left_out=tuple(task.comparison.task for task in tasks if not task.counts),
        one_training=any(task.comparison.one_training for task in counted),
        error=error,
    )


def answer_of(test: AnytimeTest, margin: float) -> Answer:
    """Answer from the bounds of the lead: `better` above 0, `not better` below the margin, `practically equal` within
    the margin on both sides.
    """
    if test.within(margin):
        return "practically equal"
    if test.low > 0:
        return "better"
    return "not better" if test.high < margin else "needs more"


def judgement_sentence(first: str, second: str, judgement: Judgement) -> str:
    """The answer in words."""
    test, count = judgement.test, len(judgement.tasks)
    where = f"on {judgement.tasks[0]}" if count == 1 else f"over {count} tasks"
    bounds = f"{test.difference:+.1f} points {where}, certainly {test.low:+.1f} to {test.high:+.1f}"
    words = {
        "better": f"{first} is better than {second}",
        "not better": f"{first} is not better than {second} by {judgement.margin:g} points or more",
        "practically equal": f"{first} and {second} are equal within {judgement.margin:g} points",
        "needs more": f"the difference between {first} and {second} is not yet certain",
    }
    runs = "; networks were trained with one seed each" * judgement.one_training
    return f"{words[judgement.answer]}: {bounds}{runs}."


def _test(datasets: Sequence[Sequence[JudgedTask]], error: float) -> AnytimeTest:
    every = [task for tasks in datasets for task in tasks]
    exact = fmean(task.comparison.margin for task in every)
    sampled = [_leads(tasks) for tasks in datasets]
    if any(one is None for one in sampled):
        return mixture_test(_combined(datasets, exact), error)
    known = [one for one in sampled if one is not None]
    values = known[0] if len(known) == 1 else mean_over_datasets(known, [len(tasks) for tasks in datasets])
    found = anytime_test(values, error, reach=max(task.reach for task in every))
    by = exact - found.difference
    needed = found.needed if len(known) == 1 else None
    n = sum(map(len, known))
    return replace(found, difference=exact, low=found.low + by, high=found.high + by, n=n, needed=needed)


def _leads(tasks: Sequence[JudgedTask]) -> Floats | None:
    """Lead [n] on every image, averaged over the tasks of a dataset; None if their images differ."""
    known = [task.leads for task in tasks if task.leads is not None]
    if len(known) < len(tasks) or len({task.images for task in tasks}) > 1:
        return None
    averaged: Floats = np.mean(known, axis=0)
    return averaged


def _combined(datasets: Sequence[Sequence[JudgedTask]], difference: float) -> PairedTest:
    """Test of the mean lead: independent between datasets, fully correlated between tasks of one dataset."""
    total = sum(map(len, datasets))
    halves = [sum((one.comparison.test.high - one.comparison.test.low) / 2 for one in tasks) for tasks in datasets]
    errors = [sum(one.comparison.test.standard_error for one in tasks) for tasks in datasets]
    half, error = math.hypot(*halves) / total, math.hypot(*errors) / total
    samples = sum(max(one.comparison.test.n for one in tasks) for tasks in datasets)
    low, high = difference - half, difference + half
    return replace(
        datasets[0][0].comparison.test, difference=difference, low=low, high=high, standard_error=error, n=samples
    )
