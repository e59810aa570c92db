"""The optimism of a choice on test images: from records of every version, and over backbones."""

from __future__ import annotations

from ssl_console.analysis.further_scores import (
    NO_RECORD,
    NO_STEPS,
    NOT_RECORDED,
    NOTHING_CHOSEN,
    audit,
    by_protocol,
    optimism_of,
)
from ssl_console.workspace.result import Result, ResultRecord


def record(protocol: str, value: float, backbone: str = "own/a", **given: object) -> ResultRecord:
    row = Result(
        run_id=f"{protocol} {backbone}", key="k", backbone=backbone, task=f"{protocol}/cars", column=protocol, seed=0,
        metric="accuracy", value=value, ci_low=value - 1, ci_high=value + 1, n=100, finished=1.0, duration_s=1.0,
    )  # fmt: skip
    fields: dict[str, object] = {"metrics": {"accuracy": value}, "interval_method": "", "samples": {}, **given}
    return ResultRecord.model_validate({"result": row, **fields})


def stated(score: float, selected: float) -> dict[str, object]:
    return {"chosen_on_test": {"score": score, "selected": selected, "choice": "C = 1", "candidates": 45}}


def test_the_inflation_compares_fits_of_one_kind() -> None:
    (found,) = optimism_of(record("linear", 72.0, diagnostics=stated(71.5, 70.0)))
    assert (found.value, found.inflation, found.candidates) == (72.0, 1.5, 45)


def test_earlier_results_of_heads_neighbours_and_layers_are_read() -> None:
    heads = optimism_of(record("linear-heads", 60.0, diagnostics={"chosen_on_test": {"score": 61.0, "head": "last 4"}}))
    metrics = {"accuracy": 50.0, "accuracy@10": 52.0, "accuracy@20": 50.0}
    neighbours = optimism_of(record("knn", 50.0, metrics=metrics))
    curve = [{"block": 1, "pooling": "cls", "score": 40.0}, {"block": 2, "pooling": "mean", "score": 43.0}]
    layers = optimism_of(record("layers", 40.0, diagnostics={"curve": curve}))
    found = [(one.inflation, one.choice) for one in (*heads, *neighbours, *layers)]
    assert found == [(1.0, "last 4"), (2.0, "k = 10"), (3.0, "block 2, mean")]


def test_results_without_it_state_the_reason() -> None:
    earlier = record("linear", 70.0, diagnostics={"validation_curve": []})
    fixed = record("few-shot-5", 70.0)
    trained = record("depth", 0.4, diagnostics={"loss_curve": [[1, 0.5]]})
    voted = record("knn-segmentation-capi", 30.0, diagnostics={"validation_miou": {"1 cosine": 31.0}})
    there = [earlier, fixed, trained, voted]
    rows = [*(one.result for one in there), record("linear", 1.0, "own/gone").result]
    known, unknown = audit(rows, {one.result.run_id: one for one in there})
    assert not known
    assert [one.reason for one in unknown] == [NOT_RECORDED, NOTHING_CHOSEN, NO_STEPS, NOT_RECORDED, NO_RECORD]


def test_step_and_setting_of_a_training_are_audited_apart() -> None:
    step = {"score": 72.0, "selected": 70.0, "choice": "step 40 of 100", "candidates": 10}
    setting = {"score": 71.0, "selected": 70.5, "choice": "rate 0.1", "candidates": 4}
    both = {"chosen_on_test": step, "setting_chosen_on_test": setting}
    made = record("finetune", 70.0, diagnostics=both)
    known, unknown = audit([made.result], {made.result.run_id: made})
    assert [(one.protocol, one.median, one.results) for one in by_protocol(known, unknown)] == [
        ("finetune, step", 2.0, 1),
        ("finetune", 0.5, 1),
    ]
    assert [one.subject for one in known] == ["setting", "step"]


def test_another_leader_and_swapped_pairs_are_counted_by_protocol() -> None:
    records = [
        record("linear", 70.0, "own/a", diagnostics=stated(70.5, 70.0)),
        record("linear", 69.0, "own/b", diagnostics=stated(71.0, 69.0)),
        record("linear", 60.0, "own/c", diagnostics=stated(60.0, 60.0)),
    ]
    known, unknown = audit([one.result for one in records], {one.result.run_id: one for one in records})
    (found,) = by_protocol(known, unknown)
    assert (found.median, found.largest) == (0.5, 2.0)
    assert (found.other_leader, found.columns, found.swapped, found.pairs) == (1, 1, 1, 3)
