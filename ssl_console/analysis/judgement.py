"""Sequential verdict on one backbone against another over the tasks of a suite, image by image. Pure.

The quantity is the mean lead over the tasks so far, in points, on other images of their datasets. Every set of tasks is
one look, and all looks of a judgement together are wrong in 5 % of judgements at most, whenever it stops. The last task
may be judged on a part of its test images, in a fixed random order: bounds are anytime-valid, so looking after every
image is the same look.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

import numpy as np

from ssl_console.analysis.badged_results import MarkedScore
from ssl_console.analysis.comparison import TaskComparison
from ssl_console.analysis.statistics.paired_tests import PairedTest
from ssl_console.analysis.statistics.sequential import (
    BETTING,
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
    """One task on which both backbones have been scored, the first one possibly on a part of the images only."""

    name: str
    dataset: str
    counts: bool
    """Whether it is part of the mean: its score is a percentage and not descriptive."""
    lead: float
    """Lead of the first backbone in points."""
    images: str = ""
    """Digest of the test images; empty if scores by image are unknown."""
    leads: Floats | None = None
    """Lead [n] of the first backbone on single images in points, in random order."""
    of: int = 0
    """Number of test images, of which the first n are known."""
    reach: float = 100.0
    """Largest possible lead on one image."""
    test: PairedTest | None = None
    """Test of the lead; None if only a part of the images is known."""
    one_training: bool = False
    marked: tuple[MarkedScore, ...] = ()
    """Those of its scores that have a mark."""

    @classmethod
    def compared(
        cls,
        comparison: TaskComparison,
        dataset: str,
        images: str = "",
        leads: Floats | None = None,
        reach: float = 100.0,
        marked: tuple[MarkedScore, ...] = (),
    ) -> JudgedTask:
        """A task with results of both backbones; `leads` [n] are in random order."""
        return cls(
            name=comparison.task,
            dataset=dataset,
            counts=comparison.higher_is_better and not comparison.describes,
            lead=comparison.margin,
            images=images,
            leads=leads,
            of=0 if leads is None else len(leads),
            reach=reach,
            test=comparison.test,
            one_training=comparison.one_training,
            marked=marked,
        )

    @property
    def part(self) -> JudgedPart | None:
        """The images that are known; None if all are."""
        known = self.of if self.leads is None else len(self.leads)
        return JudgedPart(self.name, known, self.of) if known < self.of else None


@dataclass(frozen=True)
class JudgedPart:
    """A task that was judged on a part of its test images."""

    task: str
    images: int
    of: int

    def __str__(self) -> str:
        return f"after {self.images:,} of {self.of:,} images of {self.task}"


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
    part: JudgedPart | None = None
    """The task that was judged on a part of its images; None if all images were used."""
    marked: tuple[MarkedScore, ...] = ()
    """Scores behind the answer that have a mark."""

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
        tasks=tuple(task.name for task in counted),
        left_out=tuple(task.name for task in tasks if not task.counts),
        one_training=any(task.one_training for task in counted),
        error=error,
        part=next((task.part for task in counted if task.part), None),
        marked=tuple(score for task in counted for score in task.marked),
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
    after = f" {judgement.part}" if judgement.part else ""
    bounds = f"{test.difference:+.1f} points {where}{after}, certainly {test.low:+.1f} to {test.high:+.1f}"
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
    sampled, sizes = [_leads(tasks) for tasks in datasets], [tasks[0].of for tasks in datasets]
    exact = fmean(task.lead for task in every)
    if any(one is None for one in sampled):
        return mixture_test(_combined(datasets, exact), error)
    known = [one for one in sampled if one is not None]
    values = known[0] if len(known) == 1 else mean_over_datasets(known, [len(tasks) for tasks in datasets], sizes)
    reach = max(task.reach for task in every)
    if not len(values):
        return AnytimeTest(exact, -reach, reach, 0, BETTING, 1.0, 1.0)
    found = anytime_test(values, error, reach=reach, horizon=min(sizes), shuffle=False)
    by = 0.0 if any(task.part for task in every) else exact - found.difference
    return replace(
        found,
        difference=found.difference + by,
        low=found.low + by,
        high=found.high + by,
        n=sum(map(len, known)),
        needed=found.needed if len(known) == 1 else None,
    )


def _leads(tasks: Sequence[JudgedTask]) -> Floats | None:
    """Lead [n] on every image, averaged over the tasks of a dataset; None if their images differ."""
    known = [task.leads for task in tasks if task.leads is not None]
    if (
        len(known) < len(tasks)
        or len({(task.images, len(leads)) for task, leads in zip(tasks, known, strict=True)}) > 1
    ):
        return None
    averaged: Floats = np.mean(known, axis=0)
    return averaged


def _combined(datasets: Sequence[Sequence[JudgedTask]], difference: float) -> PairedTest:
    """Test of the mean lead: independent between datasets, fully correlated between tasks of one dataset."""
    tested = [[task.test for task in tasks if task.test is not None] for tasks in datasets]
    total = sum(map(len, datasets))
    half = math.hypot(*(sum((one.high - one.low) / 2 for one in tests) for tests in tested)) / total
    error = math.hypot(*(sum(one.standard_error for one in tests) for tests in tested)) / total
    samples = sum(max(one.n for one in tests) for tests in tested)
    low, high = difference - half, difference + half
    return replace(tested[0][0], difference=difference, low=low, high=high, standard_error=error, n=samples)
