"""A race prunes what cannot win, and rarely the best; its predictions have the error that was measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ssl_console.analysis.race import (
    EXACT,
    Contender,
    PredictionError,
    belief_of_race,
    chosen,
    prediction_error,
    predictor_errors,
    race_round,
)
from ssl_console.workspace.result import Result
from tests.ssl_console.analysis.test_ladder import result, rungs
from tests.verdicts.recorded import names, recorded, resampled

PROTOCOLS = ("knn", "linear", "layers")


def results(dataset: str) -> list[Result]:
    return [
        result(name, protocol, recorded(dataset)[one, place]).model_copy(
            update={"dataset": dataset, "task": f"{protocol}/{dataset}"}
        )
        for one, name in enumerate(names())
        for place, protocol in enumerate(PROTOCOLS)
    ]


def test_the_error_of_predictions_is_measured_on_other_datasets_only() -> None:
    every = [*results("digits"), *results("shapes")]
    found = prediction_error(every, "knn", "linear", "shapes")
    assert found is not None
    assert (found.degrees, found.datasets) == (5, 1)
    gains = recorded("digits").mean(axis=2)
    assert found.deviation == pytest.approx(np.std(gains[:, 1] - gains[:, 0], ddof=1) * 2**0.5)
    assert prediction_error(results("digits"), "knn", "linear", "digits") is None
    assert prediction_error([], "linear", "linear", "digits") is EXACT


def logme_of(run_id: str) -> dict[str, float]:
    """LogME that is the reverse of the accuracy under kNN."""
    name = run_id.rpartition("-")[0]
    return {"logme": -float(recorded("digits")[names().index(name), 0].mean())} if name in names() else {}


def test_every_predictor_has_the_fraction_of_pairs_that_it_misorders_on_other_datasets() -> None:
    every = [one.model_copy(update={"protocol": "transferability-sample"}) if one.protocol == "knn" else one
             for one in results("digits")]  # fmt: skip
    found = {one.predictor: one for one in predictor_errors(
        [*every, *results("shapes")], "transferability-sample", "linear", "shapes", logme_of)}  # fmt: skip
    knn, linear = recorded("digits")[:, :2].mean(axis=2).T
    wrong = [(knn[a] > knn[b]) != (linear[a] > linear[b]) for a in range(6) for b in range(a)]
    plain, logme = found["transferability-sample"], found["transferability-sample:logme"]
    assert plain.misordered == pytest.approx(np.mean(wrong))
    assert logme.misordered == pytest.approx(1 - np.mean(wrong))
    assert (plain.pairs, plain.datasets) == (15, 1)
    assert plain.low < plain.misordered < plain.high
    assert predictor_errors(results("digits"), "knn", "linear", "digits", logme_of) == []


def test_the_interval_of_misordered_pairs_covers_the_true_fraction_in_nineteen_of_twenty_worlds() -> None:
    """Scores under the target are the predicted ones with normal errors: the fraction is the angle between them."""
    generator, covered, worlds = np.random.default_rng(3), 0, 300
    truth = np.arctan(0.8) / np.pi
    for _ in range(worlds):
        cheap = generator.standard_normal((2, 12))
        target = cheap + 0.8 * generator.standard_normal((2, 12))
        made = [
            result(f"b{place}", protocol, np.full(4, 50 + scores[place])).model_copy(
                update={"dataset": f"d{dataset}", "value": 50 + scores[place]}
            )
            for dataset in range(2)
            for protocol, scores in (("knn", cheap[dataset]), ("linear", target[dataset]))
            for place in range(12)
        ]
        (found,) = predictor_errors(made, "knn", "linear", "x", lambda _run: {})
        covered += found.low <= truth <= found.high
    assert 0.95 - 2 * (0.05 * 0.95 / worlds) ** 0.5 <= covered / worlds


def test_nothing_is_pruned_while_the_error_of_predictions_is_unknown() -> None:
    scores = {name: recorded("shapes")[place] for place, name in enumerate(names())}
    assert race_round(rungs(scores)[0], None, 3, 6).pruned == ()
    assert len(race_round(rungs(scores)[0], EXACT, 3, 6).pruned) == 5
    assert len(race_round(rungs(scores)[0], PredictionError(100.0, 50, 1), 3, 6).pruned) == 0


def test_the_best_recorded_backbone_is_pruned_in_five_percent_of_races_at_most() -> None:
    """kNN on other images of a dataset predicts linear on all of them; the error is measured on the other dataset."""
    generator, lost, pruned, races = np.random.default_rng(0), 0, 0, 80
    for number in range(races):
        dataset, other = (("digits", "shapes"), ("shapes", "digits"))[number % 2]
        prediction = prediction_error(results(other), "knn", "linear", dataset)
        chosen_ones = generator.choice(6, 4, replace=False)
        truth = recorded(dataset)[chosen_ones, 1].mean(axis=1)
        drawn = resampled(recorded(dataset)[chosen_ones], 300, generator)
        scores = {names()[one]: drawn[place] for place, one in enumerate(chosen_ones)}
        found = race_round(rungs(scores)[0], prediction, 2, 4)
        lost += names()[chosen_ones[truth.argmax()]] in found.pruned
        pruned += len(found.pruned)
    assert lost / races <= 0.05 + 2 * (0.05 * 0.95 / races) ** 0.5
    assert pruned > races / 4


def test_the_best_of_made_up_worlds_is_pruned_in_five_percent_of_races_at_most() -> None:
    """True scores under both protocols are normal; the error of predictions is estimated from ten other backbones."""
    generator, lost, pruned, races = np.random.default_rng(1), 0, 0, 120
    for _ in range(races):
        cheap = np.clip(generator.normal(70, 12, 4), 5, 95)
        target = cheap + generator.normal(0, 3, 4)
        error = float(np.std(generator.normal(0, 3, 10), ddof=1)) * 2**0.5
        answers = np.where(generator.random((4, 300)) < cheap[:, None] / 100, 100.0, 0.0)
        scores = {name: answers[place][None] for place, name in enumerate("abcd")}
        found = race_round(rungs(scores, ("knn",))[0], PredictionError(error, 9, 1), 2, 4)
        lost += "abcd"[target.argmax()] in found.pruned
        pruned += len(found.pruned)
    assert lost / races <= 0.05 + 2 * (0.05 * 0.95 / races) ** 0.5
    assert pruned > races / 4


def test_a_contender_that_was_not_measured_last_is_predicted_with_the_error_of_predictions() -> None:
    first, second, _ = rungs({name: recorded("digits")[place] for place, name in enumerate(names())})
    small = {name: cell for name, cell in second.cells.items() if name in {"demo/simclr", "demo/supervised"}}
    last = replace(second, cells=small, samples={name: second.samples[name] for name in small})
    near, far = (
        belief_of_race([race_round(first, PredictionError(error, 5, 1), 2, 6), race_round(last, EXACT, 2, 6)])
        for error in (1.0, 30.0)
    )
    place = names().index("demo/rotation")
    assert near.probability[place] < 0.01 < far.probability[place]
    assert near.probability.sum() == pytest.approx(1)


def contender(name: str, regret: float, speed: float | None, memory: float | None) -> Contender:
    return Contender(name, {}, 0.5, regret, "finalist", speed, memory)


def test_speed_and_memory_decide_between_the_nearly_best_only() -> None:
    every = [contender("a", 0.1, 100, 900), contender("b", 0.8, 300, None), contender("c", 9.0, 900, 10)]
    assert chosen(every, "accuracy", 1.0).name == "a"
    assert chosen(every, "speed", 1.0).name == "b"
    assert chosen(every, "memory", 1.0).name == "a"
    assert chosen(every, "speed", 0.05).name == "a"


@pytest.mark.parametrize("dataset", ["digits", "shapes"])
def test_a_race_has_the_direction_of_compare_and_prunes_only_what_compare_calls_worse(dataset: str) -> None:
    made = rungs({name: recorded(dataset)[place] for place, name in enumerate(names())})
    for rung in made:
        found = race_round(rung, EXACT, 3, 6)
        for rival, test in found.step.leads.items():
            compared = rung.test(found.step.leader, rival)
            assert test.difference == pytest.approx(compared.difference)
            assert rival not in found.pruned or (compared.difference > 0 and compared.p_value < 0.05)
