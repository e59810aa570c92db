"""The ladder: backbones on one dataset under ever more expensive protocols, until it is certain which one leads. Pure.

After every rung, the leader is the backbone with the highest mean over the protocols so far. Its differences to the
others are tested by anytime-valid bounds, each with its part of the 5 % of error: all statements on all rungs and all
pairs of backbones together are wrong in 5 % of ladders at most, whenever the ladder stops.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import fmean
from typing import Literal

import numpy as np
import numpy.typing as npt

from ssl_console.analysis.badged_results import MarkedScore
from ssl_console.analysis.comparison import TaskComparison
from ssl_console.analysis.ranking_cell import RankingCell
from ssl_console.analysis.statistics.paired_tests import PairedTest
from ssl_console.analysis.statistics.selection import BestOf, Interaction, best_of, interaction
from ssl_console.analysis.statistics.sequential import AnytimeTest, anytime_test, mixture_test, share_of_error
from tasks.metrics.outcome import NORMAL_95

Arrays = Mapping[str, npt.NDArray[np.generic]]
Floats = npt.NDArray[np.float64]
Pair = tuple[str, str]
Verdict = Literal["leader", "equal", "open"]
MARGIN = 1.0
"""Margin in points, unless the settings define another one for the metric."""
FEWEST_RUNGS = 2
"""Minimum number of protocols for a statement on whether the order depends on the protocol."""


def sample_scores(metric: str, runs: Sequence[Arrays]) -> Floats | None:
    """Scores [n] of the test images, averaged over seeds, whose mean is the score in percent; in order of the images.

    None for a score that is not a mean over images, and for predictions of several draws.
    """
    if metric not in {"accuracy", "mean-per-class"} or not all({"label", "predicted"} <= set(one) for one in runs):
        return None
    if any(one["predicted"].ndim != 1 for one in runs):
        return None
    right: Floats = 100.0 * np.mean([one["predicted"] == one["label"] for one in runs], axis=0)
    if metric == "mean-per-class":
        right = right * _class_weights(runs[0]["label"])
    order = np.argsort(runs[0]["index"], kind="stable") if "index" in runs[0] else slice(None)
    return right[order]


def part_scores(metric: str, part: Arrays) -> Floats | None:
    """Scores [k] of the first k test images, in their order: `predicted` [k], of `label` [n] of all of them."""
    if metric not in {"accuracy", "mean-per-class"}:
        return None
    known = len(part["predicted"])
    right: Floats = np.where(part["predicted"] == part["label"][:known], 100.0, 0.0)
    return right * _class_weights(part["label"])[:known] if metric == "mean-per-class" else right


def largest_score(metric: str, labels: npt.NDArray[np.generic]) -> float:
    """Largest score of one image: 100, or more for images of rare classes in a mean over classes."""
    return 100.0 * float(_class_weights(labels).max()) if metric == "mean-per-class" else 100.0


def _class_weights(labels: npt.NDArray[np.generic]) -> Floats:
    """Weights [n] of images in a mean over classes; their mean is 1."""
    _, place, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    weights: Floats = (len(labels) / len(sizes) / sizes)[place]
    return weights


@dataclass(frozen=True)
class LadderRung:
    """All backbones under one protocol."""

    task: str
    variant: str
    protocol: str
    cells: Mapping[str, RankingCell]
    samples: Mapping[str, Floats]
    """Scores of the test images, of backbones for which they are known."""
    pairs: Mapping[Pair, TaskComparison]
    """The comparison of every pair of backbones, as by `compare`."""
    images: str = ""
    """Digest of the test images: rungs with the same one can be averaged image by image."""
    reach: float = 100.0
    """Largest possible difference of two scores of one image."""

    @property
    def name(self) -> str:
        """The task, with its variant unless that is the default one."""
        return self.task if self.variant == "default" else f"{self.task} ({self.variant})"

    @property
    def marked(self) -> tuple[MarkedScore, ...]:
        """The scores with a mark."""
        scores = (MarkedScore(name, self.name, cell.run_id, cell.badges) for name, cell in self.cells.items())
        return tuple(score for score in scores if score.marks)

    @property
    def one_training(self) -> bool:
        """Whether networks were trained with one seed each, so that a verdict is on these runs."""
        return any(pair.one_training for pair in self.pairs.values())

    def test(self, first: str, second: str) -> PairedTest:
        """Test of the first minus the second, on their common seeds."""
        if (first, second) in self.pairs:
            return self.pairs[first, second].test
        found = self.pairs[second, first].test
        return replace(found, difference=-found.difference, low=-found.high, high=-found.low)


@dataclass(frozen=True)
class Crossing:
    """Two backbones whose order certainly differs between two protocols."""

    first: str
    second: str
    ahead: str
    """Task on which the first is better."""
    behind: str


@dataclass(frozen=True)
class LadderStep:
    """Results after a rung."""

    rung: LadderRung
    rungs: int
    """Number of rungs so far."""
    leader: str
    probability: Mapping[str, float]
    """Probability of being the best over the protocols so far."""
    regret: Mapping[str, float]
    """Expected loss, in points, if this backbone is chosen."""
    leads: Mapping[str, AnytimeTest]
    """The leader minus each rival, over the protocols so far."""
    interaction: Interaction | None
    crossings: tuple[Crossing, ...]
    margin: float
    last: bool = False
    one_training: bool = False
    """Whether networks of any rung were trained with one seed each."""

    @property
    def behind(self) -> tuple[str, ...]:
        """Rivals that are certainly worse than the leader."""
        return tuple(name for name, test in self.leads.items() if test.low > 0 and not test.within(self.margin))

    @property
    def equals(self) -> tuple[str, ...]:
        """Rivals whose difference from the leader is certainly within the margin."""
        return tuple(name for name, test in self.leads.items() if test.within(self.margin))

    @property
    def undecided(self) -> tuple[str, ...]:
        return tuple(name for name in self.leads if name not in {*self.behind, *self.equals})

    @property
    def verdict(self) -> Verdict:
        """Verdict over the protocols so far: one leads, several are equal within the margin, or undecided."""
        if self.undecided:
            return "open"
        return "equal" if self.equals else "leader"

    @property
    def contested(self) -> tuple[Crossing, ...]:
        """Crossings of the leader."""
        return tuple(one for one in self.crossings if self.leader in {one.first, one.second})

    @property
    def settled(self) -> bool:
        """Whether further rungs are unnecessary: a verdict from several protocols that do not contradict it."""
        enough = self.rungs >= FEWEST_RUNGS or self.last
        return self.verdict != "open" and enough and not self.contested


def climb(
    rungs: Sequence[LadderRung], planned: int, margin: float = MARGIN, error: float | None = None
) -> list[LadderStep]:
    """The step after every rung, of a ladder of `planned` rungs; each has all backbones.

    `error` is that of one interval, by default its share if every pair of backbones has two of them on every rung: over
    the rungs so far, and on this one alone.
    """
    looks = max(planned, len(rungs))
    pairs = len(list(combinations(rungs[0].cells, 2))) if rungs else 1
    each = share_of_error(looks, 2 * pairs) if error is None else error
    return [_step(rungs[:place], looks, margin, each) for place in range(1, len(rungs) + 1)]


def _step(rungs: Sequence[LadderRung], planned: int, margin: float, error: float) -> LadderStep:
    names = list(rungs[0].cells)
    means = {name: fmean(rung.cells[name].value for rung in rungs) for name in names}
    leader = max(names, key=lambda name: (means[name], -names.index(name)))
    stacked = _stacked(rungs, names)
    found = _best(rungs, names, means, stacked)
    rivals = [name for name in names if name != leader]
    places = {name: number for number, name in enumerate(names)}
    leads = {}
    for rival in rivals:
        exact = means[leader] - means[rival]
        if stacked is not None:
            leads[rival] = _moved(_of_samples(stacked[places[leader]] - stacked[places[rival]], rungs, error), exact)
        else:
            leads[rival] = mixture_test(_averaged([rung.test(leader, rival) for rung in rungs], exact), error)
    return LadderStep(
        rung=rungs[-1],
        rungs=len(rungs),
        leader=leader,
        probability=dict(zip(names, map(float, found.probability), strict=True)),
        regret=dict(zip(names, map(float, found.regret), strict=True)),
        leads=leads,
        interaction=None if stacked is None else interaction(stacked),
        crossings=_crossings(rungs, names, error),
        margin=margin,
        last=len(rungs) == planned,
        one_training=any(rung.one_training for rung in rungs),
    )


def _stacked(rungs: Sequence[LadderRung], names: Sequence[str]) -> Floats | None:
    """Scores [backbones, protocols, n] of the same images; None if unknown for any."""
    if len({rung.images for rung in rungs}) > 1 or any(set(names) - set(rung.samples) for rung in rungs):
        return None
    return np.stack([np.stack([rung.samples[name] for rung in rungs]) for name in names])


def _of_samples(differences: Floats, rungs: Sequence[LadderRung], error: float) -> AnytimeTest:
    """Test of differences [protocols, n], averaged over protocols."""
    return anytime_test(differences.mean(axis=0), error, reach=max(rung.reach for rung in rungs))


def _moved(test: AnytimeTest, difference: float) -> AnytimeTest:
    """The test shifted to the difference of the shown scores."""
    by = difference - test.difference
    return replace(test, difference=difference, low=test.low + by, high=test.high + by)


def _averaged(tests: Sequence[PairedTest], difference: float) -> PairedTest:
    """Mean of differences on shared images, whose errors are assumed fully correlated: never too narrow."""
    half = fmean((test.high - test.low) / 2 for test in tests)
    error = fmean(test.standard_error for test in tests)
    return replace(tests[0], difference=difference, low=difference - half, high=difference + half, standard_error=error)


def _best(
    rungs: Sequence[LadderRung], names: Sequence[str], means: Mapping[str, float], stacked: Floats | None
) -> BestOf:
    """Belief about the best; the error is at least that of one image, even if all answers are equal."""
    if stacked is not None:
        samples = stacked.mean(axis=1)
        size, one_image = samples.shape[1], 100.0 / samples.shape[1]
        covariance = np.cov(samples, ddof=1).reshape(len(names), len(names)) / size + np.eye(len(names)) * one_image**2
    else:
        halves = [fmean(rung.cells[name].half_width or 0.0 for rung in rungs) for name in names]
        covariance = np.diag([(half / NORMAL_95) ** 2 for half in halves])
    return best_of(np.array([means[name] for name in names]), covariance)


def _crossings(rungs: Sequence[LadderRung], names: Sequence[str], error: float) -> tuple[Crossing, ...]:
    pairs = list(combinations(names, 2))
    found = []
    for first, second in pairs if len(rungs) > 1 else ():
        tests = {rung.name: _on_rung(rung, first, second, error) for rung in rungs}
        ahead = [task for task, test in tests.items() if test.low > 0]
        behind = [task for task, test in tests.items() if test.high < 0]
        if ahead and behind:
            found.append(Crossing(first, second, ahead[0], behind[-1]))
    return tuple(found)


def _on_rung(rung: LadderRung, first: str, second: str, error: float) -> AnytimeTest:
    test = rung.test(first, second)
    if {first, second} <= set(rung.samples):
        return _moved(_of_samples((rung.samples[first] - rung.samples[second])[None], [rung], error), test.difference)
    return mixture_test(test, error)
