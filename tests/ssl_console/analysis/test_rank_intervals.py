from __future__ import annotations

import numpy as np
import pytest

from ssl_console.analysis.comparability import apart_document, kept_apart
from ssl_console.analysis.export import Notes, to_json, to_latex, to_markdown, to_text
from ssl_console.analysis.rank_intervals import ties_with_best
from ssl_console.analysis.ranking import common_columns, pick_columns, rank
from ssl_console.workspace.predictions import Arrays
from ssl_console.workspace.result import Identity, Result

IMAGES = 1000


def result(backbone: str, task: str, value: float, **given: object) -> Result:
    basic: dict[str, object] = {
        "run_id": f"{backbone}-{task}", "key": backbone + task, "backbone": backbone, "task": task, "column": task,
        "seed": 0, "metric": "accuracy", "value": value, "ci_low": value - 3, "ci_high": value + 3, "n": IMAGES,
        "finished": 1.0, "duration_s": 1.0,
    }  # fmt: skip
    return Result.model_validate({**basic, **given})


def answers(share: float) -> Arrays:
    """The first images are correct for every backbone: the same ones are hard for all."""
    label = np.zeros(IMAGES, dtype=np.int64)
    return {"index": np.arange(IMAGES), "label": label, "predicted": (np.arange(IMAGES) >= share * IMAGES).astype(int)}


def test_overlapping_intervals_are_a_tie_only_until_the_same_samples_tell_them_apart() -> None:
    ranking = rank([result("a", "t", 80), result("b", "t", 78), result("c", "t", 60)])
    assert ties_with_best(ranking, lambda _run: None) == {("a", "t"), ("b", "t")}
    shares = {"a-t": answers(0.80), "b-t": answers(0.78), "c-t": answers(0.60)}
    assert ties_with_best(ranking, shares.get) == frozenset()


def test_where_less_is_better_the_lowest_is_the_best() -> None:
    ranking = rank([result("a", "t", 30, higher_is_better=False), result("b", "t", 80, higher_is_better=False)])
    assert ties_with_best(ranking, lambda _run: None) == frozenset()
    close = rank([result("a", "t", 79, higher_is_better=False), result("b", "t", 80, higher_is_better=False)])
    assert ties_with_best(close, lambda _run: None) == {("a", "t"), ("b", "t")}


def test_tables_for_reading_mark_ties_and_show_intervals() -> None:
    ranking = rank([result("a", "t", 80), result("b", "t", 78), result("c", "t", 60)])
    ties = frozenset({("a", "t"), ("b", "t")})
    latex = to_latex(ranking, Notes(ties))
    assert r"\textbf{80.0}$^{=}$\,{\scriptsize$\pm$3.0}" in latex
    assert r"\underline{78.0}$^{=}$\,{\scriptsize$\pm$3.0}" in latex
    assert r"& 60.0\,{\scriptsize$\pm$3.0}" in latex
    assert "| **80.0**= ± 3.0 |" in to_markdown(ranking, Notes(ties))


def test_a_score_to_doubt_is_marked_in_the_table_and_named_in_json() -> None:
    ranking = rank([result("a", "t", 10, badges=("chance",)), result("b", "t", 80)])
    assert "10.0! ±3.0" in to_text(ranking)
    assert '"badges": [\n            "chance"\n          ]' in to_json(ranking)


def test_seeds_are_set_apart_from_samples() -> None:
    ranking = rank([result("a", "t", value, seed=seed, run_id=f"{seed}") for seed, value in enumerate((80, 82, 84))])
    cell = ranking.rows[0].cells["t"]
    assert (cell.value, cell.seeds) == (82, (0, 1, 2))
    assert cell.seed_deviation == pytest.approx(2.0)
    assert rank([result("a", "t", 80)]).rows[0].cells["t"].seed_deviation is None


def test_the_common_tasks_are_those_that_every_backbone_has() -> None:
    ranking = rank([result("a", "t", 80), result("a", "u", 70), result("b", "t", 78)])
    assert common_columns(ranking) == ["t"]
    common = pick_columns(ranking, ["t"])
    assert [(row.backbone, row.complete, row.mean_rank) for row in common.rows] == [("a", True, 1.0), ("b", True, 2.0)]


def made_of(manifest: str, version: int = 1, **parameters: object) -> Identity:
    task = {"protocol": "linear", "version": version, "parameters": parameters}
    return {"data": {"manifest": manifest}, "task": task, "precision": "float32", "backbone": {"weights": "w"}}


def test_results_on_other_data_are_kept_apart_and_the_reason_is_given() -> None:
    old = result("a", "linear/t", 80, column="old", run_id="old", finished=1.0)
    new = result("b", "linear/t", 78, column="new", run_id="new", finished=2.0)
    identities = {"old": made_of("1" * 64), "new": made_of("2" * 64)}
    both, newest = rank([old, new]), rank([old, new], [("linear/t", "default")])
    (told,) = kept_apart([old, new], both, identities.get)
    assert told.sentence == (
        "linear/t: old [default] has a column of its own, separate from new [default]: the data's digest is "
        "11111111 against 22222222"
    )
    (hidden,) = kept_apart([old, new], newest, identities.get)
    assert "old [default] is not in this table" in hidden.sentence
    assert kept_apart([new], rank([new]), identities.get) == []


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (made_of("1", preprocessing="own"), "preprocessing is paper against own"),
        (made_of("1", version=2, preprocessing="paper"), "the protocol's version is 1 against 2"),
        (made_of("1", preprocessing="paper", max_iter=9), "max_iter is absent against 9"),
    ],
)
def test_what_keeps_columns_apart_is_named_with_both_values(other: Identity, words: str) -> None:
    results = [result("a", "t", 80, column=name, run_id=name, finished=at) for at, name in ((2.0, "one"), (1.0, "two"))]
    identities = {"two": made_of("1", preprocessing="paper"), "one": other}
    (told,) = kept_apart(results, rank(results), identities.get)
    assert told.sentence.endswith(f": {words}")
    assert apart_document([told])[0]["differs"] == [
        {"part": part.name, "here": part.first, "there": part.second} for part in told.parts or ()
    ]


def test_columns_of_which_a_record_is_missing_are_said_to_be_so() -> None:
    results = [result("a", "t", 80, column=name, run_id=name, finished=1.0) for name in ("one", "two")]
    (told,) = kept_apart(results, rank(results), lambda _run: None)
    assert told.sentence.endswith("the reason is unknown, as a run's record is missing")
    assert apart_document([told])[0]["differs"] is None


def test_columns_that_describe_backbones_have_no_part_in_means_ranks_and_bests() -> None:
    results = [result("a", "linear/t", 80), result("b", "linear/t", 70), result("b", "attention/t", 50)]
    ranking = rank(results)
    assert [(row.backbone, row.complete, row.mean, row.mean_rank) for row in ranking.rows] == [
        ("a", True, 80, 1.0),
        ("b", True, 70, 2.0),
    ]
    assert "**50.0**" not in to_markdown(ranking)
    assert {label for _, label in ties_with_best(ranking, lambda _run: None)} <= {"linear/t"}


def test_columns_that_only_describe_are_ranked_among_themselves() -> None:
    ranking = rank([result("a", "attention/t", 40), result("b", "attention/t", 50)])
    assert [(row.backbone, row.mean_rank) for row in ranking.rows] == [("b", 1.0), ("a", 2.0)]
