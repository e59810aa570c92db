"""Compare's summary and chart, without an app."""

from __future__ import annotations

from backbones.catalog.card import BackboneCard
from ssl_console.analysis.comparison import compare
from ssl_console.analysis.ranking import rank
from ssl_console.tui.data.catalog import BackboneEntry, Catalog
from ssl_console.tui.style.glyphs import UNICODE
from ssl_console.tui.style.text import Line
from ssl_console.tui.views.compare import CompareTable
from ssl_console.tui.views.paired_tests import PairedTests, forest
from ssl_console.workspace.result import Result
from tests.ssl_console.tui import filled


def score(backbone: str, task: str, value: float, half: float, metric: str = "accuracy") -> Result:
    changes = {"metric": metric, "value": value, "ci_low": value - half, "ci_high": value + half}
    return filled.result(backbone, task).model_copy(update=changes)


def catalogue(*names: str) -> Catalog:
    cards = (
        BackboneCard.model_validate(
            {
                "name": name,
                "title": name,
                "architecture": "test_resnet",
                "weights": {"kind": "random", "seed": 0},
                "facts": {"method": "x", "imagenet_top1": 60.0 + 5 * number},
            }
        )
        for number, name in enumerate(names)
    )
    return Catalog(tuple(map(BackboneEntry, cards)), (), (), ())


def table(results: list[Result], *names: str) -> CompareTable:
    paired = PairedTests({name: compare(name, names[0], results, lambda _run_id: None) for name in names[1:]})
    return CompareTable(rank(results), names, names[0], catalogue(*names), {}, UNICODE, paired)


def test_tasks_without_a_difference_are_equal_or_cannot_tell() -> None:
    sure = [score(name, "knn/x", 90.0, 0.1) for name in "ab"]
    unsure = [score(name, "knn/y", 80.0, 5.0) for name in "ab"]
    words = "".join(span.text for span in table([*sure, *unsure], "a", "b").summary())
    assert "0 better, 0 worse, 1 equal, 1 cannot tell of 2" in words


def test_three_backbones_are_too_few_for_a_correlation_and_four_have_intervals() -> None:
    results = [score(name, "knn/x", 60.0 + 7 * number, 1.0) for number, name in enumerate("abcd")]
    assert table(results[:3], "a", "b", "c").transfer().note == "3 backbones are too few for a correlation"
    note = table(results, "a", "b", "c", "d").transfer().note
    assert note.startswith("Pearson +1.00 (")
    assert " to " in note


def text_of(lines: list[Line]) -> list[str]:
    return ["".join(span.text for span in line) for line in lines]


def test_the_forest_draws_every_difference_with_its_interval_around_zero() -> None:
    results = [score("a", "knn/x", 90.0, 0.1), score("b", "knn/x", 80.0, 0.1)]
    results += [score("a", "knn/y", 70.0, 1.0), score("b", "knn/y", 70.5, 1.0)]
    shown = table(results, "a", "b")
    lines = text_of(forest(shown.paired, "b", "a", shown.keys, "knn/y", 80, UNICODE))
    assert "b - a, points, 95 % intervals" in lines[0]
    worse, alike = lines[2], lines[3]
    zero = lines[1].index("0", lines[1].index(" "))
    assert "-10.00 (" in worse
    assert "+0.50 (" in alike
    assert alike.startswith(UNICODE.right), "the task at the cursor is marked"
    assert worse.index(UNICODE.markers[0]) < alike.index(UNICODE.markers[0])
    assert zero > 0
    assert all(len(line) <= 80 for line in lines)


def test_a_difference_in_another_unit_has_numbers_and_no_place_on_the_axis_of_points() -> None:
    results = [score("a", "knn/x", 90.0, 0.1), score("b", "knn/x", 80.0, 0.1)]
    results += [score("a", "inversion/y", 9000.0, 50.0, "mse"), score("b", "inversion/y", 4000.0, 50.0, "mse")]
    shown = table(results, "a", "b")
    _, axis, other, points = text_of(forest(shown.paired, "b", "a", shown.keys, "knn/x", 80, UNICODE))
    if "inversion" not in other:
        other, points = points, other
    assert "-10." in axis
    assert UNICODE.markers[0] in points
    assert "-5000.00 (" in other
    assert UNICODE.markers[0] not in other


def test_header_and_sentence_count_the_same_tasks() -> None:
    results = [
        score(name, task, value, 0.1) for name, value in (("a", 90.0), ("b", 80.0)) for task in ("knn/x", "attention/y")
    ]
    shown = table(results, "a", "b")
    words = "".join(span.text for span in shown.summary())
    assert "0 better, 1 worse" in words
    assert "of 1" in words
    assert "worse than a on 1 of 1 task" in shown.paired.by_backbone["b"].sentence
