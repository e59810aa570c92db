"""The correlation analysis, of the published numbers compared with the paper's, and of own results."""

from __future__ import annotations

import math

import pytest

from ssl_console.analysis.correlations import Setting, published_imagenet, published_transfer, transfer
from ssl_console.analysis.published import published
from ssl_console.analysis.ranking_cell import log_odds
from ssl_console.analysis.statistics.correlation import associate
from ssl_console.workspace.result import Result

PRINTED = {
    "calibration/many-shot ece-linear": -0.77,
    "calibration/many-shot ece-linear-scaled": -0.59,
    "calibration/many-shot ece-finetune": -0.90,
    "calibration/many-shot ece-finetune-scaled": -0.59,
    "inversion/recognition lpips-alex": -0.51,
    "inversion/recognition lpips-vgg": -0.69,
    "inversion/recognition lpips-squeeze": -0.57,
    "inversion/recognition mse-red": -0.56,
    "inversion/recognition mse-green": -0.11,
    "inversion/recognition mse-blue": -0.22,
    "attention/recognition": 0.09,
}
"""Table 9, last row."""
PRINTED_ATTENTION_TO_LINEAR = 0.38
"""Section 4.9."""


def settings() -> dict[str, Setting]:
    return {setting.name: setting for setting in published_transfer().settings}


def pearson_of(setting: Setting) -> float:
    assert setting.association is not None
    return setting.association.pearson.value


@pytest.mark.parametrize(("name", "printed"), PRINTED.items())
def test_the_printed_correlations_are_reproduced(name: str, printed: float) -> None:
    """To the precision of LPIPS values of two decimals."""
    assert pearson_of(settings()[name]) == pytest.approx(printed, abs=0.025)


def test_attention_correlates_with_linear_transfer_as_printed() -> None:
    found = settings()
    attention = {name: y for name, (_, y) in found["attention/recognition"].points.items()}
    linear = {name: y for name, (_, y) in found["linear"].points.items()}
    association = associate([attention[name] for name in linear], list(linear.values()))
    assert association is not None
    assert association.pearson.value == pytest.approx(PRINTED_ATTENTION_TO_LINEAR, abs=0.02)


def test_many_shot_recognition_follows_imagenet_far_more_than_detection_and_dense_tasks() -> None:
    found = settings()
    linear = found["linear"].association
    assert linear is not None
    assert linear.pearson.value > 0.9
    for name in ("detection-finetune/voc07 ap50", "normals/nyuv2 within-11.25", "segmentation/ade20k miou"):
        assert linear.pearson.low > pearson_of(found[name]) + 0.3, name
    assert linear.pearson.value > pearson_of(found["detection-frozen/voc07 ap50"])


def test_other_domains_follow_imagenet_less_than_the_usual_few_shot_datasets() -> None:
    found = settings()
    for shots in (5, 20, 50):
        assert pearson_of(found[f"few-shot-{shots}"]) > pearson_of(found[f"few-shot-{shots}, other domains"])


def test_log_odds_are_averaged_over_the_tasks_of_a_setting() -> None:
    values = [r.value for r in published() if r.backbone == "paper/byol" and r.task.startswith("linear/")]
    expected = math.fsum(math.log(value / (100 - value)) for value in values) / 11
    assert settings()["linear"].points["paper/byol"][1] == pytest.approx(expected)


def test_angles_are_negated_and_left_as_they_are() -> None:
    assert settings()["normals/nyuv2 mean-angle"].points["paper/insdis"][1] == -32.99


def test_all_fourteen_backbones_take_part_in_every_published_setting() -> None:
    assert {len(setting.points) for setting in settings().values()} == {14}


def test_single_tasks_are_correlated_too() -> None:
    tasks = {task.name: task for task in published_transfer().tasks}
    assert len(tasks) == 85
    assert pearson_of(tasks["linear/aircraft"]) < pearson_of(settings()["linear"])


def measured(backbone: str, task: str, value: float, variant: str = "default") -> Result:
    name = f"{backbone}-{task}-{variant}"
    return Result(
        run_id=name, key=name, backbone=backbone, task=task, variant=variant, column=f"{task}-{variant}", seed=0,
        metric="accuracy", value=value, ci_low=value, ci_high=value, n=100, finished=1.0, duration_s=1.0,
    )  # fmt: skip


TOP1 = {"a": 60.0, "b": 70.0, "c": 75.0, "d": 80.0}


def test_own_results_are_correlated_with_the_accuracies_on_the_cards() -> None:
    results = [measured(name, "linear/x", value - 20) for name, value in TOP1.items()]
    (setting,) = transfer(results, TOP1).settings
    assert (setting.name, setting.source, len(setting.points)) == ("linear", "mine", 4)
    assert pearson_of(setting) > 0.99
    assert setting.points["a"][0] == pytest.approx(log_odds(60, 50_000))


def test_a_backbone_that_misses_a_task_takes_no_part_and_is_named() -> None:
    results = [measured(name, task, 50 + len(name)) for name in "abc" for task in ("linear/x", "linear/y")]
    results.append(measured("d", "linear/x", 50))
    (setting,) = transfer(results, TOP1).settings
    assert (set(setting.points), setting.incomplete) == ({"a", "b", "c"}, ("d",))


def test_two_variants_of_a_protocol_are_two_settings() -> None:
    results = [measured(name, "linear/x", 50, variant) for name in "abc" for variant in ("default", "paper")]
    assert [setting.name for setting in transfer(results, TOP1).settings] == ["linear [default]", "linear [paper]"]


@pytest.mark.parametrize("names", ["ab", "abc"])
def test_three_backbones_are_too_few_for_a_coefficient(names: str) -> None:
    found = [measured(name, "linear/x", 50 + place) for place, name in enumerate(names)]
    (setting,) = transfer(found, TOP1).settings
    assert setting.association is None


def test_a_perfect_order_of_four_backbones_is_no_certainty() -> None:
    found = associate([1, 2, 3, 4], [1, 2, 3, 4.5])
    assert found is not None
    assert found.spearman.value == pytest.approx(1)
    assert found.spearman.low < 0
    assert found.spearman.high > 0.99


def test_backbones_without_an_imagenet_accuracy_take_no_part() -> None:
    (setting,) = transfer([measured("unknown", "linear/x", 50)], TOP1).settings
    assert (setting.points, setting.incomplete) == ({}, ())


def test_intervals_of_coefficients_are_the_same_every_time_and_hold_the_value() -> None:
    x, y = list(published_imagenet().values()), [y for _, y in settings()["linear"].points.values()]
    found, again = associate(x, y), associate(x, y)
    assert found == again
    assert found is not None
    assert -1 <= found.spearman.low < found.spearman.value < found.spearman.high <= 1
