from __future__ import annotations

from dataclasses import replace

import pytest

from ssl_console.planning.duration import History, Work, format_duration, makespan
from ssl_console.workspace.result import Result


def result(backbone: str, task: str, seconds: float, finished: float = 1.0) -> Result:
    return Result(
        run_id="r",
        key=f"{backbone}{task}",
        backbone=backbone,
        task=task,
        column=task,
        seed=0,
        metric="accuracy",
        value=50,
        ci_low=49,
        ci_high=51,
        n=100,
        finished=finished,
        duration_s=seconds,
    )


def work(backbone: str, task: str) -> Work:
    return Work(backbone, task, "default", task.partition("/")[0])


def test_the_same_run_takes_as_long_as_the_last_time() -> None:
    history = History.of([result("a", "linear/x", 10, finished=1), result("a", "linear/x", 30, finished=2)])
    assert history.seconds(work("a", "linear/x")) == 30


def test_another_backbone_takes_the_median_of_its_task() -> None:
    history = History.of([result(name, "linear/x", seconds) for name, seconds in (("a", 10), ("b", 20), ("c", 60))])
    assert history.seconds(work("new", "linear/x")) == 20


def test_a_backbone_that_was_slow_elsewhere_is_expected_to_be_slow() -> None:
    history = History.of(
        [
            result("small", "linear/x", 10),
            result("middle", "linear/x", 20),
            result("large", "linear/x", 80),
            result("small", "knn/x", 5),
            result("middle", "knn/x", 5),
        ]
    )
    assert history.seconds(work("large", "knn/x")) == 5 * 4


def test_a_new_task_takes_the_median_of_its_protocol() -> None:
    history = History.of([result("a", "linear/x", 10), result("a", "linear/y", 30), result("a", "knn/x", 500)])
    assert history.seconds(work("a", "linear/new")) == 20


def test_a_training_takes_the_median_of_its_preset_and_never_that_of_another() -> None:
    short = [result("a", "finetune/x", 10).model_copy(update={"variant": "small"})]
    long = [result("a", "finetune/y", 500)]
    small = Work("a", "finetune/new", "small", "finetune")
    assert History.of([*short, *long]).seconds(small) == 10
    assert History.of([*short, *long]).seconds(replace(small, variant="default")) == 500
    assert History.of(long).seconds(small) is None, "unknown, instead of the duration of another training"


def test_nothing_comparable_means_unknown_not_zero() -> None:
    assert History.of([result("a", "knn/x", 10)]).seconds(work("a", "linear/x")) is None
    assert makespan([10.0, None], slots=2) is None


@pytest.mark.parametrize(("slots", "seconds"), [(1, 60), (2, 40), (3, 30), (9, 30)])
def test_slots_share_the_work_in_order(slots: int, seconds: float) -> None:
    assert makespan([10, 20, 30], slots) == seconds


def test_nothing_to_do_takes_no_time() -> None:
    assert makespan([], slots=2) == 0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (89, "89 s"), (90, "2 min"), (3590, "1 h 00 min"), (6720, "1 h 52 min"), (273600, "3 d 4 h")],
)
def test_times_are_said_in_the_unit_that_suits_them(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words
