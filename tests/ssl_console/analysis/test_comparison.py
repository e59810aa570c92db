from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pytest

from ssl_console.analysis.comparison import Comparison, compare
from ssl_console.workspace.predictions import Arrays
from ssl_console.workspace.result import Identity, Result

IMAGES = 1000


class Laboratory:
    """Results with their predictions."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.arrays: dict[str, Arrays] = {}
        self.identities: dict[str, Identity] = {}

    def classify(self, backbone: str, task: str, skill: float, **given: object) -> Result:
        """Measure accuracy; the same images are hard for all backbones."""
        number = sum(map(ord, task))
        labels = np.random.default_rng(number).integers(0, 10, IMAGES)
        hard = np.random.default_rng(number + 1).normal(size=IMAGES)
        noise = 0.3 * np.random.default_rng(sum(map(ord, backbone + task))).normal(size=IMAGES)
        predicted = np.where(hard + noise < skill, labels, (labels + 1) % 10)
        result = self._keep(backbone, task, 100 * float(np.mean(predicted == labels)), **given)
        self.arrays[result.run_id] = {"index": np.arange(IMAGES), "label": labels, "predicted": predicted}
        return result

    def episodes(self, backbone: str, skill: float, seed: int = 0) -> Result:
        """Measure few-shot accuracy on the episodes of a seed."""
        common = np.random.default_rng(seed).normal(70, 8, 600)
        accuracy = common + skill + np.random.default_rng(len(backbone) + seed).normal(0, 2, 600)
        result = self._keep(backbone, "few-shot-5/things", float(accuracy.mean()), n=600, seed=seed)
        halves = skill + np.random.default_rng((len(backbone), seed)).normal(70, 0.5, (20, 2, 2, 2))
        self.arrays[result.run_id] = {
            "accuracy": accuracy,
            "classes": np.full((600, 5), seed),
            "split_accuracy": halves,
            "split_images": np.full(5, 40),
        }
        return result

    def angle(self, backbone: str, value: float) -> Result:
        """Measure something without per-sample scores."""
        return self._keep(backbone, "normals/things", value, metric="mean-angle", higher_is_better=False)

    def _keep(self, backbone: str, task: str, value: float, **given: object) -> Result:
        run_id = f"{backbone}-{task}-{len(self.results)}"
        basic: dict[str, object] = {
            "run_id": run_id, "key": run_id, "backbone": backbone, "task": task, "column": task, "seed": 0,
            "metric": "accuracy", "value": value, "ci_low": value - 1, "ci_high": value + 1, "n": IMAGES,
            "finished": float(len(self.results)), "duration_s": 1.0,
        }  # fmt: skip
        result = Result.model_validate({**basic, **given})
        self.results.append(result)
        return result

    def compare(self, wanted: Sequence[tuple[str, str]] | None = None) -> Comparison:
        return compare("a", "b", self.results, self.arrays.get, self.identities.get, wanted)


@pytest.fixture
def laboratory() -> Laboratory:
    return Laboratory()


def verdicts(comparison: Comparison) -> Mapping[str, str]:
    return {task.task: task.verdict for task in comparison.tasks}


def test_each_task_has_its_verdict(laboratory: Laboratory) -> None:
    for task, skill in (("linear/x", 1.0), ("linear/y", 0.5), ("linear/z", 0.0)):
        laboratory.classify("a", task, skill)
        laboratory.classify("b", task, 0.5)
    found = laboratory.compare()
    assert verdicts(found) == {"linear/x": "better", "linear/y": "alike", "linear/z": "worse"}
    assert "a is better than b on 1 of 3 tasks and worse on 1, with no significant difference on 1." in found.sentence


def test_a_small_difference_that_is_certain_is_equal_within_the_margin_and_another_cannot_be_told(
    laboratory: Laboratory,
) -> None:
    for name in ("a", "b"):
        laboratory.classify(name, "linear/x", 0.5)
    sure = compare("a", "b", laboratory.results, laboratory.arrays.get, margins={"accuracy": 50.0}).tasks[0]
    unsure = compare("a", "b", laboratory.results, laboratory.arrays.get, margins={"accuracy": 0.01}).tasks[0]
    assert (sure.verdict, sure.words) == ("alike", "equal within 50 points")
    assert (unsure.verdict, unsure.words) == ("alike", "cannot tell")


def test_a_difference_can_be_certain_and_within_the_margin(laboratory: Laboratory) -> None:
    laboratory.classify("a", "linear/x", 1.0)
    laboratory.classify("b", "linear/x", 0.5)
    found = compare("a", "b", laboratory.results, laboratory.arrays.get, margins={"accuracy": 99.0}).tasks[0]
    assert found.words == "better, but within 99 points"


def test_two_trainings_with_one_seed_each_are_two_runs_and_no_backbones(laboratory: Laboratory) -> None:
    for name in ("a", "b"):
        for task in ("finetune/x", "linear/x"):
            laboratory.classify(name, task, 0.5)
    tasks = {task.task: task for task in laboratory.compare().tasks}
    assert tasks["finetune/x"].one_training
    assert tasks["finetune/x"].words.endswith("(these runs)")
    assert not tasks["linear/x"].one_training


def test_scores_that_vary_over_trainings_make_the_difference_less_certain(laboratory: Laboratory) -> None:
    for seed, (ours, theirs) in enumerate([(0.9, 0.5), (0.5, 0.6), (0.8, 0.4)]):
        for task in ("finetune/x", "linear/x"):
            laboratory.classify("a", task, ours, seed=seed)
            laboratory.classify("b", task, theirs, seed=seed)
    tasks = {task.task: task.test for task in laboratory.compare().tasks}
    assert tasks["finetune/x"].method.endswith("and seeds of training")
    assert tasks["finetune/x"].p_value > 5 * tasks["linear/x"].p_value


def test_the_difference_is_that_of_the_scores(laboratory: Laboratory) -> None:
    first, second = laboratory.classify("a", "linear/x", 0.8), laboratory.classify("b", "linear/x", 0.5)
    task = laboratory.compare().tasks[0]
    assert task.test.difference == pytest.approx(first.value - second.value)
    assert task.test.low < task.test.difference < task.test.high
    assert task.test.method.startswith("McNemar")


def test_many_questions_at_once_make_each_answer_less_certain(laboratory: Laboratory) -> None:
    for number in range(10):
        laboratory.classify("a", f"linear/{number}", 0.55)
        laboratory.classify("b", f"linear/{number}", 0.5)
    for task in laboratory.compare().tasks:
        assert task.adjusted_p >= task.test.p_value


def test_over_all_tasks_the_signed_rank_test_decides(laboratory: Laboratory) -> None:
    for number in range(8):
        laboratory.classify("a", f"linear/{number}", 0.8)
        laboratory.classify("b", f"linear/{number}", 0.5)
    found = laboratory.compare()
    assert found.across is not None
    assert found.across.test.effect == 1.0
    assert found.across.test.p_value == pytest.approx(2 / 2**8)
    assert "Over all tasks, a is ahead" in found.sentence


def test_few_tasks_say_that_they_are_too_few(laboratory: Laboratory) -> None:
    for number in range(3):
        laboratory.classify("a", f"linear/{number}", 0.8)
        laboratory.classify("b", f"linear/{number}", 0.5)
    assert (
        "3 tasks are too few for a conclusion about others: at least six are needed." in laboratory.compare().sentence
    )


def test_no_difference_says_which_ones_could_not_have_been_seen(laboratory: Laboratory) -> None:
    laboratory.classify("a", "linear/x", 0.5)
    laboratory.classify("b", "linear/x", 0.5)
    found = laboratory.compare()
    least = found.tasks[0].test.smallest
    assert f"No significant difference between a and b on the one task; differences below {least:.1f}" in found.sentence


def test_different_datasets_are_refused_with_what_changed(laboratory: Laboratory) -> None:
    first = laboratory.classify("a", "linear/x", 0.5, column="old")
    second = laboratory.classify("b", "linear/x", 0.5, column="new")
    common = {"task": {"protocol": "linear", "version": 1, "parameters": {}}, "precision": "float32"}
    laboratory.identities[first.run_id] = {**common, "backbone": {"weights": "1"}, "data": {"manifest": "1"}}
    laboratory.identities[second.run_id] = {**common, "backbone": {"weights": "2"}, "data": {"manifest": "2"}}
    found = laboratory.compare()
    assert (found.tasks, found.across) == ((), None)
    assert found.not_comparable[0].reason.endswith("the dataset changed")
    assert found.sentence == "a and b cannot be compared: they share no comparable result."


def test_a_missing_record_is_named_when_the_reason_is_not_known(laboratory: Laboratory) -> None:
    laboratory.classify("a", "linear/x", 0.5, column="old", variant="paper")
    laboratory.classify("b", "linear/x", 0.5, column="new")
    assert "paper #old and default #new" in laboratory.compare().not_comparable[0].reason


def test_tasks_of_one_backbone_alone_are_named(laboratory: Laboratory) -> None:
    laboratory.classify("a", "linear/x", 0.5)
    laboratory.classify("b", "linear/y", 0.5)
    found = laboratory.compare()
    assert (found.only_first, found.only_second) == (("linear/x",), ("linear/y",))


def test_a_suite_leaves_other_tasks_out(laboratory: Laboratory) -> None:
    for name in ("a", "b"):
        laboratory.classify(name, "linear/x", 0.5)
        laboratory.classify(name, "linear/y", 0.5)
    assert verdicts(laboratory.compare([("linear/y", "default")])) == {"linear/y": "alike"}


def test_episodes_are_paired_one_by_one(laboratory: Laboratory) -> None:
    laboratory.episodes("a", 0.5)
    laboratory.episodes("b", 0.0)
    task = laboratory.compare().tasks[0]
    assert (task.verdict, task.test.method, task.note) == ("better", "half-splits of the pool", "")


def test_only_seeds_that_both_have_are_compared(laboratory: Laboratory) -> None:
    for seed in (0, 1, 2):
        laboratory.episodes("a", 0.5, seed)
    for seed in (1, 2, 3):
        laboratory.episodes("b", 0.0, seed)
    task = laboratory.compare().tasks[0]
    assert (task.first.seeds, task.second.seeds, task.test.n) == ((1, 2), (1, 2), 200)


def test_different_episodes_are_compared_by_their_intervals_and_it_is_said(laboratory: Laboratory) -> None:
    laboratory.episodes("a", 0.5, seed=0)
    laboratory.episodes("b", 0.0, seed=1)
    task = laboratory.compare().tasks[0]
    assert (task.test.method, task.note) == ("intervals, not paired", "their predictions are not of the same episodes")


def test_episodes_without_halves_of_their_pool_are_compared_by_intervals_and_it_is_said(
    laboratory: Laboratory,
) -> None:
    for name, skill in (("a", 0.5), ("b", 0.0)):
        run_id = laboratory.episodes(name, skill).run_id
        kept = laboratory.arrays[run_id]
        laboratory.arrays[run_id] = {array: kept[array] for array in ("accuracy", "classes")}
    task = laboratory.compare().tasks[0]
    assert task.test.method == "intervals, not paired"
    assert "episodes share images" in task.note


def test_lost_predictions_are_named_and_intervals_used(laboratory: Laboratory) -> None:
    lost = laboratory.classify("a", "linear/x", 0.5)
    laboratory.classify("b", "linear/x", 0.5)
    del laboratory.arrays[lost.run_id]
    task = laboratory.compare().tasks[0]
    assert task.note == f"the predictions of run {lost.run_id} are missing"
    assert task.test.high - task.test.low == pytest.approx(2 * np.sqrt(2))


def test_predictions_of_other_images_are_not_paired(laboratory: Laboratory) -> None:
    moved = laboratory.classify("a", "linear/x", 0.5)
    laboratory.classify("b", "linear/x", 0.5)
    laboratory.arrays[moved.run_id] = {**laboratory.arrays[moved.run_id], "index": np.arange(IMAGES)[::-1]}
    assert "not of the same test images" in laboratory.compare().tasks[0].note


def test_a_smaller_angle_is_better(laboratory: Laboratory) -> None:
    laboratory.angle("a", 20.0)
    laboratory.angle("b", 30.0)
    task = laboratory.compare().tasks[0]
    assert (task.test.difference, task.margin, task.verdict) == (-10.0, 10.0, "better")


def test_the_newest_result_of_a_seed_counts(laboratory: Laboratory) -> None:
    laboratory.classify("a", "linear/x", 0.0)
    newest = laboratory.classify("a", "linear/x", 0.7)
    laboratory.classify("b", "linear/x", 0.5)
    assert laboratory.compare().tasks[0].first.run_id == newest.run_id


def test_average_precision_is_resampled_in_pairs(laboratory: Laboratory) -> None:
    generator = np.random.default_rng(0)
    labels = (generator.random((300, 4)) < 0.3).astype(np.uint8)
    for name, noise in (("a", 0.3), ("b", 1.5)):
        scores: npt.NDArray[np.float16] = (labels + noise * generator.normal(size=labels.shape)).astype(np.float16)
        result = laboratory._keep(name, "linear/voc", 90.0 if name == "a" else 60.0, metric="map11")
        laboratory.arrays[result.run_id] = {"index": np.arange(300), "label": labels, "scores": scores}
    task = laboratory.compare().tasks[0]
    assert (task.test.method, task.verdict) == ("paired bootstrap", "better")


def test_a_backbone_that_is_nowhere_better_is_called_worse(laboratory: Laboratory) -> None:
    laboratory.classify("a", "linear/x", 0.0)
    laboratory.classify("b", "linear/x", 1.0)
    assert laboratory.compare().sentence.startswith("a is worse than b on 1 of 1 task.")


def test_what_describes_backbones_gets_no_verdict_and_counts_nowhere(laboratory: Laboratory) -> None:
    for backbone, skill in (("a", 0.9), ("b", 0.1)):
        laboratory.classify(backbone, "linear/things", skill)
        laboratory.classify(backbone, "attention/things", -skill)
    found = laboratory.compare()
    assert verdicts(found) == {"linear/things": "better", "attention/things": "described"}
    assert found.across is not None
    assert found.across.tasks == 1
    assert found.sentence.startswith("a is better than b on 1 of 1 task.")


def test_backbones_that_share_only_descriptions_are_not_judged(laboratory: Laboratory) -> None:
    for backbone, skill in (("a", 0.9), ("b", 0.1)):
        laboratory.classify(backbone, "attention/things", skill)
    found = laboratory.compare()
    assert found.across is None
    assert "only descriptive tasks" in found.sentence


def test_leads_in_degrees_are_not_mixed_with_leads_in_percent(laboratory: Laboratory) -> None:
    for backbone, skill in (("a", 0.9), ("b", 0.1)):
        for task in ("linear/things", "knn/things"):
            laboratory.classify(backbone, task, skill)
        laboratory.angle(backbone, 20 - skill)
    across = laboratory.compare().across
    assert across is not None
    assert across.tasks == 2
    assert across.median_lead > 10
