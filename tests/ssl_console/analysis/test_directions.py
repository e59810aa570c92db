"""A ladder and a race never name a leader that `compare` calls worse on the same results."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from statistics import fmean

import numpy as np
import pytest

from ssl_console.analysis.comparison import Comparison, compare
from ssl_console.analysis.ladder import Floats, LadderStep, climb
from ssl_console.analysis.race import EXACT, Contender, PredictionError, RaceRound, belief_of_race, chosen, race_round
from tests.ssl_console.analysis.test_ladder import PROTOCOLS, result, rungs
from tests.verdicts.recorded import names, recorded, resampled

Scores = dict[str, Floats]
"""Scores [protocols, n] by backbone."""
CLOSE = 0.3
"""Deviation between drawn backbones, in deviations of an image."""


def compared(first: str, second: str, scores: Scores, count: int) -> Comparison:
    """`compare` on the results of the first `count` protocols."""
    results = [
        result(name, protocol, scores[name][place])
        for name in (first, second)
        for place, protocol in enumerate(PROTOCOLS[:count])
    ]
    arrays = {
        f"{name}-{protocol}": {
            "index": np.arange(scores[name].shape[1]),
            "label": np.ones(scores[name].shape[1]),
            "predicted": scores[name][place] / 100.0,
        }
        for name in (first, second)
        for place, protocol in enumerate(PROTOCOLS[:count])
    }
    return compare(first, second, results, arrays.get)


def recorded_worlds() -> Iterator[Scores]:
    """All images of the recorded runs, then a few of them, of all backbones and of every pair."""
    for dataset in ("digits", "shapes"):
        every = dict(zip(names(), recorded(dataset), strict=True))
        yield every
        for number, pair in enumerate(combinations(every, 2)):
            drawn = resampled(np.stack([every[name] for name in pair]), 80, np.random.default_rng(number))
            yield dict(zip(pair, drawn, strict=True))


def drawn_worlds() -> Iterator[Scores]:
    """Three nearly equal backbones whose order depends on the protocol."""
    for seed in range(25):
        generator = np.random.default_rng((7, seed))
        levels = CLOSE * generator.standard_normal((3, len(PROTOCOLS), 1))
        hard = generator.standard_normal(150)
        answers = hard + generator.standard_normal((3, len(PROTOCOLS), 150)) < 0.7 + levels
        yield dict(zip("abc", np.where(answers, 100.0, 0.0), strict=True))


def check_ladder(step: LadderStep, scores: Scores) -> None:
    """The leader is not behind in the mean of `compare`; what is stated as certain has no opposite verdict there."""
    for rival in step.leads:
        found = compared(step.leader, rival, scores, step.rungs)
        lead = found.tasks[0].margin if step.rungs == 1 else fmean(task.margin for task in found.tasks)
        assert lead >= -1e-9
        if step.rungs > 1:
            assert found.across is not None
            assert found.across.mean_lead == pytest.approx(step.leads[rival].difference)
        verdicts = {task.verdict for task in found.tasks}
        assert step.rungs > 1 or verdicts <= {"better", "alike"}
        if rival in step.behind:
            assert "better" in verdicts, "a certain lead is significant on a protocol"


def check_race(scores: Scores, prediction: PredictionError) -> None:
    """The chosen backbone is not worse than any that the last protocol has measured."""
    first, second, _ = rungs(scores)
    rounds: list[RaceRound] = [race_round(first, prediction, 2, len(scores)), race_round(second, EXACT, 2, len(scores))]
    belief = belief_of_race(rounds)
    contenders = [
        Contender(name, {}, float(belief.probability[place]), float(belief.regret[place]), "finalist")
        for place, name in enumerate(scores)
    ]
    taken = chosen(contenders, "accuracy", 1.0).name
    for rival in scores:
        if rival != taken:
            (task,) = (one for one in compared(taken, rival, scores, 2).tasks if one.task == "linear/x")
            assert task.verdict in {"better", "alike"}
            assert task.verdict == "alike" or task.margin > 0


@pytest.mark.parametrize("worlds", [recorded_worlds, drawn_worlds])
def test_the_leader_of_a_ladder_has_the_direction_of_compare(worlds: type) -> None:
    for scores in worlds():
        for step in climb(rungs(scores), len(PROTOCOLS)):
            check_ladder(step, scores)


@pytest.mark.parametrize("worlds", [recorded_worlds, drawn_worlds])
def test_the_choice_of_a_race_has_the_direction_of_compare(worlds: type) -> None:
    for scores in worlds():
        check_race(scores, PredictionError(4.0, 5, 1))


def test_backbones_with_equal_answers_have_equal_chances() -> None:
    scores = {name: recorded("digits")[3] for name in "abc"}
    first, second, _ = rungs(scores)
    rounds = [race_round(first, EXACT, 2, 3), race_round(second, EXACT, 2, 3)]
    assert belief_of_race(rounds).probability == pytest.approx([1 / 3] * 3, abs=0.05)
