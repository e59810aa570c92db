"""A sequential verdict stops early, is rarely wrong, and has the direction of `compare`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ssl_console.analysis.comparison import compare
from ssl_console.analysis.judgement import JudgedTask, Judgement, answer_of, judge, judgement_sentence
from ssl_console.analysis.ladder import Floats
from ssl_console.analysis.statistics.sequential import AnytimeTest, share_of_error
from ssl_console.operations.checkpoints.record import TransferPoint
from ssl_console.operations.judge import Against, error_of_comparison, follow_training
from ssl_console.workspace.result import Result
from tasks.datasets.splits import scoring_order
from tests.ssl_console.analysis.test_ladder import result
from tests.verdicts.recorded import names, recorded, resampled


def task(name: str, dataset: str, first: Floats, second: Floats, *, images: str = "") -> JudgedTask:
    """A task as an operation makes it, from scores [n] of both backbones."""
    sides = {"a": first, "b": second}
    results = [renamed(result(side, name, scores), f"{name}/{dataset}") for side, scores in sides.items()]
    comparison = compare("a", "b", results, lambda _run: None).tasks[0]
    leads = (first - second)[scoring_order(len(first))]
    return JudgedTask.compared(comparison, dataset, images or dataset, leads)


def first_of(one: JudgedTask, count: int) -> JudgedTask:
    """The task after `count` of its images."""
    assert one.leads is not None
    known = one.leads[:count]
    return replace(one, leads=known, lead=float(known.mean()), test=None if count < one.of else one.test)


def renamed(found: Result, name: str) -> Result:
    return found.model_copy(update={"task": name, "column": name})


def recorded_task(protocol: int, dataset: str, first: str, second: str) -> JudgedTask:
    scores = recorded(dataset)
    one, other = (scores[names().index(name), protocol] for name in (first, second))
    return task(("knn", "linear", "layers")[protocol], dataset, one, other)


def bounds(low: float, high: float) -> AnytimeTest:
    return AnytimeTest((low + high) / 2, low, high, 100, "", 1.0, 1.0)


@pytest.mark.parametrize(
    ("low", "high", "answer"),
    [
        (0.1, 3.0, "better"),
        (-0.4, 0.4, "practically equal"),
        (0.1, 0.4, "practically equal"),
        (-3.0, -0.1, "not better"),
        (-3.0, 0.4, "not better"),
        (-3.0, 3.0, "needs more"),
        (-0.1, 3.0, "needs more"),
    ],
)
def test_answers_follow_from_the_bounds_and_the_margin(low: float, high: float, answer: str) -> None:
    assert answer_of(bounds(low, high), 0.5) == answer


def test_a_clearly_better_checkpoint_is_found_on_the_first_dataset() -> None:
    found = judge([recorded_task(0, "digits", "demo/supervised", "demo/random")], 0.5, share_of_error(3))
    assert found is not None
    assert found.answer == "better"
    assert found.test.needed is not None
    assert "is better than b: +19.0 points on knn/digits, certainly" in judgement_sentence("a", "b", found)
    worse = judge([recorded_task(0, "digits", "demo/random", "demo/supervised")])
    assert worse is not None
    assert worse.answer == "not better"


def test_tasks_have_equal_weight_and_the_lead_is_that_of_compare() -> None:
    places = [(one, place) for one in ("digits", "shapes") for place in (0, 1)]
    tasks = [recorded_task(place, one, "demo/simclr", "demo/rotation") for one, place in places]
    found = judge([*tasks, recorded_task(2, "digits", "demo/simclr", "demo/rotation")])
    assert found is not None
    leads = [one.lead for one in tasks]
    leads.append(recorded_task(2, "digits", "demo/simclr", "demo/rotation").lead)
    assert found.test.difference == pytest.approx(np.mean(leads))
    assert found.test.low < found.test.difference < found.test.high
    assert found.tasks[0] == "knn/digits"


def test_scores_that_are_no_percentages_do_not_count_and_are_named() -> None:
    error = recorded_task(0, "digits", "demo/simclr", "demo/random")
    error = replace(error, name="depth/scenes", counts=False)
    found = judge([error, recorded_task(1, "digits", "demo/simclr", "demo/random")])
    assert found is not None
    assert found.left_out == ("depth/scenes",)
    assert found.tasks == ("linear/digits",)
    assert judge([error]) is None


def test_other_images_under_one_name_are_tested_by_their_standard_errors() -> None:
    pair = [recorded_task(place, "digits", "demo/simclr", "demo/random") for place in (0, 1)]
    together = judge(pair)
    apart = judge([pair[0], replace(pair[1], images="others")])
    assert together is not None
    assert apart is not None
    assert apart.test.method == "normal mixture"
    assert apart.test.high - apart.test.low > together.test.high - together.test.low


def test_of_judgements_between_equal_checkpoints_five_percent_at_most_ever_answer_better() -> None:
    """Answers that change places at random, on other images; one look after each of two datasets."""
    generator, false = np.random.default_rng(0), 0
    for _ in range(150):
        tasks: list[JudgedTask] = []
        better = False
        for dataset in ("digits", "shapes"):
            one, other = recorded(dataset)[2, 1], recorded(dataset)[3, 1]
            swapped = generator.random(len(one)) < 0.5
            pair = np.stack([np.where(swapped, one, other), np.where(swapped, other, one)])
            drawn = resampled(pair, 300, generator)
            tasks.append(task("linear", dataset, drawn[0], drawn[1]))
            found = judge(tasks, error=share_of_error(2))
            better |= found is not None and found.test.low > 0
        false += better
    assert false / 150 <= 0.05 + 2 * (0.05 * 0.95 / 150) ** 0.5


def test_of_judgements_looked_at_after_every_image_five_percent_at_most_ever_answer_better() -> None:
    """Two datasets, the first after every 15 images, the second likewise with all of the first."""
    generator, false, worlds = np.random.default_rng(4), 0, 120
    for _ in range(worlds):
        tasks = []
        for dataset in ("digits", "shapes"):
            one, other = recorded(dataset)[2, 1], recorded(dataset)[3, 1]
            swapped = generator.random(len(one)) < 0.5
            pair = np.stack([np.where(swapped, one, other), np.where(swapped, other, one)])
            tasks.append(task("linear", dataset, *resampled(pair, 150, generator)))
        sets = [[*tasks[:number], first_of(tasks[number], count)] for number in (0, 1) for count in range(15, 151, 15)]
        found = [judge(one, error=share_of_error(2)) for one in sets]
        false += any(one is not None and one.test.low > 0 for one in found)
    assert false / worlds <= 0.05 + 2 * (0.05 * 0.95 / worlds) ** 0.5


def test_a_difference_that_is_certain_after_some_images_stays_certain_after_all() -> None:
    whole = recorded_task(0, "digits", "demo/supervised", "demo/random")
    found = [judge([first_of(whole, count)]) for count in (40, 120, 240, whole.of)]
    lows = [one.test.low for one in found if one is not None]
    assert lows == sorted(lows)
    early, last = found[2], found[-1]
    assert early is not None
    assert last is not None
    assert last.part is None
    assert early.answer == last.answer == "better"
    assert str(early.part) == f"after 240 of {whole.of} images of knn/digits"
    assert "points on knn/digits after 240 of" in judgement_sentence("a", "b", early)
    assert last.test.needed is not None
    at_once = judge([first_of(whole, last.test.needed)])
    assert at_once is not None
    assert at_once.test.evidence >= 2 / 0.05


def test_images_of_a_second_dataset_count_as_they_arrive_and_earlier_ones_stay_as_they_were() -> None:
    done, running = (recorded_task(0, name, "demo/supervised", "demo/random") for name in ("digits", "shapes"))
    found = [judge([done, first_of(running, count)]) for count in (1, 100, 250, running.of)]
    widths = [one.test.high - one.test.low for one in found if one is not None]
    assert widths == sorted(widths, reverse=True)
    assert [one.tasks for one in found if one is not None] == [("knn/digits", "knn/shapes")] * 4


def points(count: int) -> list[TransferPoint]:
    return [TransferPoint(100 * number, f"c{number}", 0.0, 0.0, {}) for number in range(count)]


def test_a_training_has_stopped_improving_after_three_checkpoints_in_a_row_that_are_no_better() -> None:
    better = recorded_task(0, "digits", "demo/supervised", "demo/random")
    worse = recorded_task(0, "digits", "demo/random", "demo/supervised")

    def until(last: int) -> Against:
        return lambda first, _second, error: judge([better if first.step <= last else worse], error=error)

    improving = follow_training(points(4), until(300))
    assert improving is not None
    assert not improving.stopped
    assert improving.sentence == "still improving: step 300 is better than all before"
    stopped = follow_training(points(6), until(200))
    assert stopped is not None
    assert stopped.stopped
    assert stopped.best.step == 200
    assert stopped.sentence == "stopped improving at step 200: the last 3 are no better by 0.5 points"
    early = follow_training(points(5), until(200))
    assert early is not None
    assert not early.stopped
    assert follow_training(points(1), until(0)) is None


def test_of_trainings_without_progress_five_percent_at_most_have_a_better_checkpoint() -> None:
    """Twelve checkpoints of equal quality on the same images, each looked at when it is written."""
    generator, false = np.random.default_rng(1), 0
    for _ in range(60):
        chance = generator.uniform(0.4, 0.95, 300)
        answers = [np.where(generator.random(300) < chance, 100.0, 0.0) for _ in range(12)]

        def against(first: TransferPoint, second: TransferPoint, error: float) -> Judgement | None:
            place = [point.step // 100 for point in (first, second)]
            return judge([task("knn", "x", answers[place[0]], answers[place[1]])], error=error)  # noqa: B023

        found = follow_training(points(12), against)
        assert found is not None
        false += found.best.step > 0
    assert false / 60 <= 0.05 + 2 * (0.05 * 0.95 / 60) ** 0.5


def test_errors_of_all_comparisons_of_a_training_add_up_to_five_percent() -> None:
    assert sum(error_of_comparison(number) for number in range(1, 100_000)) == pytest.approx(0.05, abs=1e-5)
