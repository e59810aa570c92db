"""Choices by `choose` between backbones whose answers were recorded in real runs: reliability of P(best), expected
regret, and coverage of the paired intervals beneath them.

The recorded images of a dataset are the population. In every world, the answers of a few backbones change places at
random on a part of the images, anew for each image that is drawn, so that they are from exactly equal to as different
as in the runs. A race then runs kNN and linear on images drawn from this population; the error of predictions is
measured on the images of the other dataset, where answers change places equally often.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ssl_console.analysis.ladder import LadderRung
from ssl_console.analysis.race import EXACT, PredictionError, belief_of_race, race_round
from ssl_console.analysis.ranking_cell import RankingCell, average_seeds
from ssl_console.analysis.statistics.paired_tests import accuracy
from ssl_console.workspace.result import Result
from tests.verdicts.rates import COVERED, Floats, Rate, repeated, simulation
from tests.verdicts.recorded import names, recorded

DATASETS = ("digits", "shapes")
OWN = (0.0, 0.1, 0.25, 0.5, 1.0)
"""Fractions of the images whose answers do not change places."""
IMAGES = (60, 150, 400)
FINALISTS = 3
EXCESS, SHORTFALL = 0.05, 0.1
"""Largest excess and shortfall of a stated probability in every fifth of the scale, besides the error of its count."""
LOSS = (0.65, 1.25)
"""Smallest and largest mean loss in expected ones, besides the error of its count."""
EQUAL = 1e-9  # points


@simulation
def choices(scale: float) -> Iterator[Rate]:
    """How often the chosen backbone is the best, and by how many points it is worse than the best one."""
    times = repeated(3_000, scale if scale >= 1 else scale / 2, 150)
    found = np.array([_choice(np.random.default_rng((5, number))) for number in times])
    stated, best, regret, loss = found.T
    for low in np.arange(0.0, 1.0, 0.2):
        inside = (stated > low) & (stated <= low + 0.2)
        if (count := int(inside.sum())) >= 20:
            said, were = float(stated[inside].mean()), float(best[inside].mean())
            error = 2 * np.sqrt(said * (1 - said) / count)
            setting = f"best, {said:.2f} stated of {count}"
            yield Rate("choices", setting, were, said - EXCESS - error, said + SHORTFALL + error, 1)
    said, error = float(regret.mean()), 2 * float(loss.std()) / len(times) ** 0.5
    low, high = LOSS[0] * said - error, LOSS[1] * said + error
    yield Rate("choices", f"loss, {said:.2f} points expected", float(loss.mean()), low, high, 1)


@simulation
def recorded_pairs(scale: float) -> Iterator[Rate]:
    """Coverage of the paired interval of `compare` on other images of recorded runs."""
    for dataset in DATASETS:
        times, covered = repeated(2_000, scale, 300), 0
        for number in times:
            generator = np.random.default_rng((6, number))
            first, second = generator.choice(len(names()), 2, replace=False)
            pair = recorded(dataset)[[first, second], generator.integers(3)]
            drawn = pair[:, generator.integers(0, pair.shape[1], 400)] > 0
            test = accuracy(drawn[:1], drawn[1:])
            covered += test.low <= float(pair[0].mean() - pair[1].mean()) <= test.high
        yield Rate("recorded_pairs", f"{dataset}, coverage", covered / len(times), *COVERED, len(times))


def _choice(generator: np.random.Generator) -> tuple[float, bool, float, float]:
    """Stated probability and expected regret of the chosen backbone, whether it is the best, and its true loss."""
    dataset = int(generator.integers(2))
    population = recorded(DATASETS[dataset])[:, :2]
    count = int(generator.integers(2, len(population) + 1))
    answers = population[generator.choice(len(population), count, replace=False)]
    own, means = float(generator.choice(OWN)), answers[:, 1].mean(axis=1)
    truth = own * means + (1 - own) * means.mean()
    images = generator.integers(0, answers.shape[2], int(generator.choice(IMAGES)))
    drawn = {str(place): one for place, one in enumerate(_exchanged(answers[..., images], own, generator))}
    error = _prediction(_exchanged(recorded(DATASETS[1 - dataset]), own, generator))
    cheap = race_round(_rung("knn", {name: one[0] for name, one in drawn.items()}), error, 2, count)
    regret = belief_of_race([cheap]).regret
    kept = sorted(cheap.survivors, key=lambda name: float(regret[int(name)]))[:FINALISTS]
    rounds = [cheap]
    if len(kept) > 1:
        rounds.append(race_round(_rung("linear", {name: drawn[name][1] for name in kept}), EXACT, 2, count))
    belief = belief_of_race(rounds)
    taken = int(belief.regret.argmin())
    loss = float(truth.max() - truth[taken])
    equal = int((truth > truth.max() - EQUAL).sum())
    best = loss < EQUAL and generator.random() < 1 / equal
    return float(belief.probability[taken]), best, float(belief.regret[taken]), loss


def _exchanged(answers: Floats, own: float, generator: np.random.Generator) -> Floats:
    """Answers [backbones, protocols, n] that change places at random, except on a fraction `own` of the images."""
    order = generator.random((len(answers), 1, answers.shape[2])).argsort(axis=0)
    kept = generator.random(answers.shape[2]) < own
    exchanged: Floats = np.where(kept, answers, np.take_along_axis(answers, order, axis=0))
    return exchanged


def _prediction(answers: Floats) -> PredictionError:
    """Error of predicting linear from kNN, measured on answers [backbones, protocols, n]."""
    means = answers.mean(axis=2)
    gains = means[:, 1] - means[:, 0]
    return PredictionError(float(gains.std(ddof=1)) * 2**0.5, len(gains) - 1, 1)


def _rung(protocol: str, scores: dict[str, Floats]) -> LadderRung:
    """Scores of all backbones, with tests that are made only where they are needed."""
    cells = {name: _cell(name, protocol, one) for name, one in scores.items()}
    return LadderRung(f"{protocol}/x", "default", protocol, cells, scores, {}, images="same")


def _cell(name: str, protocol: str, scores: Floats) -> RankingCell:
    value, half = float(scores.mean()), 1.96 * float(scores.std()) / len(scores) ** 0.5
    words = dict.fromkeys(("run_id", "key", "task", "column", "metric"), protocol)
    numbers = {"seed": 0, "value": value, "ci_low": value - half, "ci_high": value + half, "n": len(scores)}
    return average_seeds(
        [Result.model_validate({**words, **numbers, "backbone": name, "finished": 1, "duration_s": 1})]
    )
