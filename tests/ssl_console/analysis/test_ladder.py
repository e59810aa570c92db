"""The ladder: it stops when the order is certain, never against `compare`, and rarely when there is no order."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from ssl_console.analysis.comparison import compare
from ssl_console.analysis.ladder import Floats, LadderRung, climb, largest_score, sample_scores
from ssl_console.analysis.ladder_sentences import (
    HEAD,
    closest,
    interaction_sentence,
    step_document,
    step_row,
    verdict_sentence,
)
from ssl_console.analysis.ranking_cell import average_seeds
from ssl_console.workspace.result import Result
from tests.verdicts.rates import both_right
from tests.verdicts.recorded import names, recorded, resampled

PROTOCOLS = ("knn", "linear", "layers")


def result(name: str, protocol: str, scores: Floats) -> Result:
    value = float(scores.mean())
    half = 1.96 * float(scores.std()) / len(scores) ** 0.5
    return Result(
        run_id=f"{name}-{protocol}", key=f"{name}-{protocol}", backbone=name, task=f"{protocol}/x", column=protocol,
        seed=0, metric="accuracy", value=value, ci_low=value - half, ci_high=value + half, n=len(scores), finished=1.0,
        duration_s=1.0, protocol=protocol, dataset="x",
    )  # fmt: skip


def rungs(
    scores: dict[str, Floats], protocols: tuple[str, ...] = PROTOCOLS, *, paired: bool = True
) -> list[LadderRung]:
    """Rungs as an operation makes them, from scores [protocols, n] of every backbone."""
    return [_rung({name: one[place] for name, one in scores.items()}, protocol, paired=paired)
            for place, protocol in enumerate(protocols)]  # fmt: skip


def _rung(scores: dict[str, Floats], protocol: str, *, paired: bool) -> LadderRung:
    results = {name: result(name, protocol, one) for name, one in scores.items()}
    arrays = {
        one.run_id: {"index": np.arange(len(values)), "label": np.ones(len(values)), "predicted": values / 100.0}
        for one, values in zip(results.values(), scores.values(), strict=True)
    }
    pairs = {
        (first, second): compare(first, second, [results[first], results[second]], arrays.get).tasks[0]
        for first, second in combinations(scores, 2)
    }
    cells = {name: average_seeds([one]) for name, one in results.items()}
    return LadderRung(f"{protocol}/x", "default", protocol, cells, scores if paired else {}, pairs, images="same")


def digits(*chosen: str) -> dict[str, Floats]:
    return {name: recorded("digits")[names().index(name)] for name in chosen}


def test_it_is_settled_by_two_protocols_that_agree_and_not_by_one() -> None:
    first, second, _ = climb(rungs(digits("demo/simclr", "demo/supervised", "demo/random")), 3)
    assert first.verdict == second.verdict == "leader"
    assert first.leader == second.leader == "demo/supervised"
    assert not first.settled
    assert second.settled
    assert second.behind == ("demo/simclr", "demo/random")
    assert second.probability["demo/supervised"] > 0.99
    assert verdict_sentence(second) == "demo/supervised is better than demo/simclr and demo/random over 2 protocols."


def test_a_ladder_of_one_rung_is_settled_by_it() -> None:
    (only,) = climb(rungs(digits("demo/simclr", "demo/supervised"))[:1], 1)
    assert only.settled
    assert "cannot show" in interaction_sentence(only)


def test_an_order_that_depends_on_the_protocol_is_reported_and_settles_nothing() -> None:
    good, bad = recorded("digits")[5, 0], recorded("digits")[4, 0]
    steps = climb(rungs({"a": np.stack([good, bad, good]), "b": np.stack([bad, good, bad])}), 3)
    assert [step.settled for step in steps] == [False, False, False]
    (crossing,) = steps[-1].crossings
    assert (crossing.ahead, crossing.behind) == ("knn/x", "linear/x")
    assert steps[-1].interaction is not None
    assert steps[-1].interaction.p_value < 1e-6
    assert "The order depends on the protocol" in interaction_sentence(steps[-1])
    assert "not under each" in verdict_sentence(steps[-1])


def test_alike_backbones_are_equal_within_the_margin_once_there_are_enough_images() -> None:
    right: Floats = np.where(np.random.default_rng(0).random((3, 6_000)) < 0.8, 100.0, 0.0)
    step = climb(rungs({"a": right, "b": right}), 3)[1]
    assert step.verdict == "equal"
    assert step.settled
    assert step.probability["a"] == pytest.approx(0.5, abs=0.05)
    assert verdict_sentence(step) == "a is equal to b within 1 point over 2 protocols."


def test_few_images_leave_it_open() -> None:
    few = {name: one[:, :40] for name, one in digits("demo/mae", "demo/rotation").items()}
    step = climb(rungs(few), 3)[-1]
    assert step.verdict == "open"
    assert not step.settled
    assert "is not yet certain" in verdict_sentence(step)


def test_of_ladders_between_equal_backbones_five_percent_at_most_ever_name_a_leader() -> None:
    """All rungs are looked at, and the ladder stops at the first one that has a leader."""
    generator, false = np.random.default_rng(1), 0
    for _ in range(100):
        difficulty = generator.uniform(0.3, 0.95, 200)
        answers = [both_right(generator, difficulty) for _ in range(3)]
        scores = {"ab"[side]: np.where([pair[side] for pair in answers], 100.0, 0.0) for side in (0, 1)}
        false += any(step.verdict == "leader" for step in climb(rungs(scores), 3))
    assert false / 100 <= 0.05 + 2 * (0.05 * 0.95 / 100) ** 0.5


def test_of_ladders_on_other_recorded_images_few_leaders_are_not_the_best() -> None:
    """Backbones whose answers change places at random are equal, so every leader of theirs is a false one."""
    generator, false = np.random.default_rng(2), 0
    one, other = recorded("digits")[2], recorded("digits")[3]
    for _ in range(60):
        swapped = generator.random(one.shape[1]) < 0.5
        scores = {"a": np.where(swapped, one, other), "b": np.where(swapped, other, one)}
        drawn = resampled(np.stack(list(scores.values())), 400, generator)
        false += any(step.verdict == "leader" for step in climb(rungs({"a": drawn[0], "b": drawn[1]}), 3))
    assert false / 60 <= 0.05 + 2 * (0.05 * 0.95 / 60) ** 0.5


@pytest.mark.parametrize("dataset", ["digits", "shapes"])
def test_its_direction_is_that_of_compare_on_the_same_results(dataset: str) -> None:
    scores = {name: recorded(dataset)[place] for place, name in enumerate(names())}
    made = rungs(scores)
    for step in climb(made, 3):
        for rival, test in step.leads.items():
            leads = [rung.test(step.leader, rival).difference for rung in made[: step.rungs]]
            assert test.difference == pytest.approx(np.mean(leads))
            assert test.difference >= 0
    results = [
        result(name, protocol, scores[name][place]) for name in scores for place, protocol in enumerate(PROTOCOLS)
    ]
    last = climb(made, 3)[-1]
    for rival, test in last.leads.items():
        across = compare(last.leader, rival, results, lambda _run: None).across
        assert across is not None
        assert across.mean_lead == pytest.approx(test.difference)


def test_scores_without_answers_of_single_images_are_tested_with_wider_bounds() -> None:
    chosen = digits("demo/random", "demo/supervised")
    with_images, without = climb(rungs(chosen), 3)[1], climb(rungs(chosen, paired=False), 3)[1]
    assert without.leader == with_images.leader
    one, other = closest(with_images)[1], closest(without)[1]
    assert other.difference == pytest.approx(one.difference)
    assert other.method == "normal mixture"
    assert other.high - other.low > 0.9 * (one.high - one.low)
    assert without.interaction is None


def test_images_count_by_their_class_where_the_score_is_a_mean_over_classes() -> None:
    labels, predicted = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    arrays = {"index": np.array([3, 2, 1, 0]), "label": labels, "predicted": predicted}
    found = sample_scores("mean-per-class", [arrays])
    assert found is not None
    assert found.mean() == pytest.approx((200 / 3 + 100) / 2)
    assert found[0] == pytest.approx(200.0)
    assert largest_score("mean-per-class", labels) == pytest.approx(200.0)
    assert sample_scores("map11", [arrays]) is None
    assert sample_scores("accuracy", [{**arrays, "predicted": np.zeros((4, 2))}]) is None


def test_a_step_is_one_row_and_one_json_document() -> None:
    step = climb(rungs(digits("demo/simclr", "demo/supervised")), 3)[1]
    assert len(step_row(step)) == len(HEAD)
    document = step_document(step)
    assert document["leader"] == "demo/supervised"
    assert document["settled"] is True
    leads = document["leads"]
    assert isinstance(leads, dict)
    assert leads["demo/simclr"]["low"] > 0
