from __future__ import annotations

import tomllib
from typing import Any

import pytest
from pydantic import TypeAdapter

from backbones.catalog.card import BackboneCard
from ssl_console.analysis.badged_results import BadgeSources, distances, twins
from ssl_console.workspace.badges import Badge, BadgeInputs, badges_of, chance_level
from ssl_console.workspace.result import Result

HEALTHY = {"train": {"not_finite_rows": 0, "collapsed": False, "effective_rank": 30.0, "dead_share": 0.0}}


def seen(**given: Any) -> BadgeInputs:
    basic = {"value": 60.0, "ci_low": 55.0, "ci_high": 65.0, "tested": 500, "chance": 10.0}
    return BadgeInputs.model_validate({**basic, "diagnostics": {"features": HEALTHY}, **given})


def names(badges: tuple[Badge, ...]) -> list[str]:
    return [badge.name for badge in badges]


def diagnosed(**diagnostics: Any) -> list[str]:
    return names(badges_of(seen(diagnostics={"features": HEALTHY, **diagnostics})))


def test_a_good_result_has_no_badge() -> None:
    assert badges_of(seen(diagnostics={"features": HEALTHY, "converged": True, "on_edge": False})) == ()


def test_a_score_that_guessing_could_give_is_told() -> None:
    (badge,) = badges_of(seen(value=11.0, ci_low=8.0, ci_high=14.0))
    assert (badge.name, "the chance level is 10.0" in badge.advice) == ("chance", True)
    assert badges_of(seen(value=14.0, ci_low=11.0, ci_high=17.0)) == ()


def test_a_score_below_chance_is_called_worse_than_guessing() -> None:
    (badge,) = badges_of(seen(value=10.0, ci_low=5.0, ci_high=15.0, chance=33.0))
    assert "significantly below it" in badge.advice
    (badge,) = badges_of(seen(value=30.0, ci_low=25.0, ci_high=35.0, chance=33.0))
    assert "does not exclude" in badge.advice


def test_an_error_is_judged_from_above() -> None:
    assert names(badges_of(seen(value=30.0, ci_low=25.0, ci_high=35.0, chance=33.0, higher_is_better=False))) == [
        "chance"
    ]


def test_guessing_means_the_most_frequent_class_or_one_of_the_ways() -> None:
    assert chance_level("accuracy", 10, [0, 0, 0, 1]) == 75
    assert chance_level("accuracy", 10, ways=5) == 20
    assert chance_level("mean-per-class", 4, [0, 0, 0, 1]) == 25
    assert chance_level("map11", 20) is None
    assert chance_level("accuracy", None) is None


def test_broken_and_collapsed_features_are_told_with_their_split() -> None:
    nan = {"train": {**HEALTHY["train"], "not_finite_rows": 3}}
    flat = {"test": {**HEALTHY["train"], "collapsed": True, "effective_rank": 1.2}}
    (broken,) = badges_of(seen(diagnostics={"features": nan}))
    (collapsed,) = badges_of(seen(diagnostics={"features": flat}))
    assert (broken.name, "3 in train" in broken.advice) == ("not finite", True)
    assert (collapsed.name, "rank of 1.2" in collapsed.advice) == ("collapsed", True)


def test_test_images_seen_in_training_are_told_above_one_in_a_hundred() -> None:
    assert diagnosed(test_images_seen_in_training=5) == []
    assert diagnosed(test_images_seen_in_training=6) == ["train = test"]


def test_the_edge_of_the_grid_and_fits_that_did_not_converge_are_told() -> None:
    assert diagnosed(on_edge=True, converged=False, solver="exact") == ["grid edge", "not converged"]


def test_a_loss_that_was_still_falling_is_told() -> None:
    (badge,) = badges_of(seen(diagnostics={"loss_falling": True}))
    assert (badge.name, "raise the number of steps" in badge.advice) == ("not converged", True)
    assert diagnosed(loss_falling=False) == []


def test_the_published_solver_is_not_blamed_for_stopping_early() -> None:
    assert diagnosed(converged=False, solver="published") == []


CARDS = TypeAdapter(list[BackboneCard]).validate_python(
    [
        {"name": name, "title": name, "facts": {"method": method}, **tomllib.loads(text)}
        for name, method, text in (
            ("trained", "simclr", "architecture = 'test_resnet'\nweights = {kind = 'shipped', filename = 'x'}"),
            ("untrained", "none", "architecture = 'test_resnet'\nweights = {kind = 'random'}"),
            ("another", "mae", "architecture = 'test_vit'\nweights = {kind = 'shipped', filename = 'y'}"),
        )
    ]
)


def result(backbone: str, value: float, **given: object) -> Result:
    basic: dict[str, object] = {
        "run_id": f"{backbone}{value}", "key": backbone, "backbone": backbone, "task": "linear/x", "column": "c",
        "seed": 0, "metric": "accuracy", "value": value, "ci_low": value - 3, "ci_high": value + 3, "n": 100,
        "finished": 1.0, "duration_s": 1.0,
    }  # fmt: skip
    return Result.model_validate({**basic, **given})


def test_the_random_twin_has_the_same_architecture() -> None:
    assert twins(CARDS) == {"trained": "untrained"}


@pytest.mark.parametrize(("value", "badges"), [(70.0, ()), (52.0, ("random twin",)), (40.0, ("below random",))])
def test_a_result_no_better_than_its_random_twin_is_told(value: float, badges: tuple[str, ...]) -> None:
    marked = BadgeSources(twins(CARDS)).badged([result("trained", value), result("untrained", 50.0)])
    assert [one.badges for one in marked] == [badges, ()]


@pytest.mark.parametrize("protocol", ["attention", "colour", "inversion"])
def test_what_describes_a_backbone_is_no_reason_to_doubt_it(protocol: str) -> None:
    both = [result("trained", 40.0, task=f"{protocol}/x"), result("untrained", 50.0, task=f"{protocol}/x")]
    assert [one.badges for one in BadgeSources(twins(CARDS)).badged(both)] == [(), ()]
    assert distances(both, twins(CARDS))["trained40.0"].margin == -10.0


def test_the_distance_to_the_twin_has_an_interval() -> None:
    found = distances([result("trained", 60.0), result("untrained", 50.0)], twins(CARDS))
    one = found["trained60.0"]
    assert (one.margin, one.badge) == (10.0, None)
    assert (one.low, one.high) == pytest.approx((10 - 18**0.5, 10 + 18**0.5))


def test_a_twin_on_other_data_is_no_twin() -> None:
    assert distances([result("trained", 60.0), result("untrained", 50.0, column="d")], twins(CARDS)) == {}
