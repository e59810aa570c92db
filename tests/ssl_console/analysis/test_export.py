from __future__ import annotations

import csv
import io
import json

import pytest

from ssl_console.analysis.export import Notes, to_csv, to_json, to_latex, to_markdown, to_text
from ssl_console.analysis.ranking import Ranking, rank
from ssl_console.workspace.badges import LEGEND
from ssl_console.workspace.result import Result


def result(backbone: str, task: str, value: float, **given: object) -> Result:
    found = Result(
        run_id=f"run-{backbone}-{task}",
        key=f"{backbone}{task}",
        backbone=backbone,
        task=task,
        column=task,
        seed=0,
        metric="accuracy",
        value=value,
        ci_low=value - 1.5,
        ci_high=value + 1.5,
        n=200,
        finished=1.0,
        duration_s=1.0,
    )
    return found.model_copy(update=given)


@pytest.fixture
def ranking() -> Ranking:
    return rank(
        [
            result("demo/simclr_1", "linear/digits", 95.04),
            result("demo/simclr_1", "knn/digits", 90),
            result("demo/random", "linear/digits", 80),
            result("demo/random", "knn/digits", 70),
            result("demo/mae", "linear/digits", 95.01),
        ]
    )


def test_json_has_columns_scores_and_aggregates(ranking: Ranking) -> None:
    document = json.loads(to_json(ranking))
    assert document["columns"] == ["knn/digits", "linear/digits"]
    first = document["rows"][0]
    assert first["scores"]["knn/digits"] == {
        "value": 90,
        "ci_low": 88.5,
        "ci_high": 91.5,
        "n": 200,
        "run_id": "run-demo/simclr_1-knn/digits",
        "source": "mine",
        "seeds": 1,
        "n_counts": "images",
        "seed_deviation": None,
        "badges": [],
    }
    assert (first["backbone"], first["mean"], first["mean_rank"], first["complete"]) == (
        "demo/simclr_1",
        pytest.approx(92.52),
        1.0,
        True,
    )


def test_json_leaves_a_missing_score_out_and_its_mean_null(ranking: Ranking) -> None:
    row = next(row for row in json.loads(to_json(ranking))["rows"] if row["backbone"] == "demo/mae")
    assert (set(row["scores"]), row["mean"], row["mean_rank"], row["complete"]) == (
        {"linear/digits"},
        None,
        None,
        False,
    )


def test_csv_holds_unrounded_numbers_and_intervals(ranking: Ranking) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(ranking))))
    assert rows[0]["linear/digits"] == "95.04"
    assert float(rows[0]["linear/digits ci_low"]) == pytest.approx(93.54)
    assert [row["complete"] for row in rows] == ["true", "false", "true"]


def test_csv_leaves_missing_cells_empty(ranking: Ranking) -> None:
    row = next(row for row in csv.DictReader(io.StringIO(to_csv(ranking))) if row["backbone"] == "demo/mae")
    assert (row["knn/digits"], row["mean"]) == ("", "")


@pytest.mark.parametrize("name", ["=1+1", "+cmd", "-2", "@SUM(A1)", " =1"])
def test_csv_never_starts_a_name_as_a_formula(name: str) -> None:
    rows = list(csv.reader(io.StringIO(to_csv(rank([result(name, "=t", 5)])), newline="")))
    assert rows[1][0] == f"'{name}"
    assert rows[0][1] == "'=t"


def test_csv_keeps_negative_numbers_as_numbers() -> None:
    row = next(csv.DictReader(io.StringIO(to_csv(rank([result("a", "t", 10)])))))
    assert float(row["mean_log_odds"]) < 0


def test_csv_quotes_commas_and_takes_line_ends_out_of_names() -> None:
    rows = list(csv.reader(io.StringIO(to_csv(rank([result("\r=a,b\nc", "t", 5)])))))
    assert (len(rows), rows[1][0]) == (2, "'=a,bc")


def test_latex_sets_the_best_bold_and_underlines_the_second() -> None:
    text = to_latex(rank([result("a", "t", 90), result("b", "t", 80), result("c", "t", 70)]))
    assert r"\textbf{90.0}" in text
    assert r"\underline{80.0}" in text
    assert "& 70.0" in text


def test_scores_that_print_alike_are_bold_alike(ranking: Ranking) -> None:
    assert to_latex(ranking).count(r"\textbf{95.0}") == 2


def test_latex_escapes_every_special_character() -> None:
    text = to_latex(rank([result("a_b%c&d#e$f{g}~h^i\\j", "t", 5)]))
    assert r"a\_b\%c\&d\#e\$f\{g\}\textasciitilde{}h\textasciicircum{}i\textbackslash{}j &" in text


def test_latex_is_a_booktabs_table(ranking: Ranking) -> None:
    lines = [line for line in to_latex(ranking).splitlines() if not line.startswith(("%", r"\par"))]
    assert [lines[0], lines[1], lines[-2], lines[-1]] == [
        r"\begin{tabular}{lrrrrrrr}",
        r"\toprule",
        r"\bottomrule",
        r"\end{tabular}",
    ]
    assert all(line.endswith(r"\\") and line.count("&") == 7 for line in lines if "&" in line)


def test_markdown_escapes_what_would_break_the_table() -> None:
    text = to_markdown(rank([result("a|b*c`d<e>", "t", 5)]))
    assert r"a\|b\*c\`d&lt;e>" in text
    assert [line.count(" | ") for line in text.splitlines()] == [6, 6, 6]


def test_signs_of_rows_are_explained_where_they_stand(ranking: Ranking) -> None:
    assert r"\* incomplete row: a score is missing" in to_markdown(ranking)
    assert "* incomplete row: a score is missing" in to_latex(ranking)
    scores = {("a", "t"): 90, ("b", "t"): 80, ("b", "u"): 90, ("c", "u"): 80, ("c", "v"): 90, ("a", "v"): 80}
    circle = rank([result(name, task, value) for (name, task), value in scores.items()])
    assert r"\~ ahead of one another in a cycle" in to_markdown(circle)
    assert r"\textasciitilde{} ahead of one another in a cycle" in to_latex(circle)
    rows = list(csv.DictReader(io.StringIO(to_csv(circle))))
    assert {row["estimate in a circle"] for row in rows} == {"true"}


def test_markdown_shows_intervals_and_missing_cells(ranking: Ranking) -> None:
    text = to_markdown(ranking)
    assert "| demo/simclr\\_1 | **90.0** ± 1.5 | **95.0** ± 1.5 |" in text
    assert "| demo/mae\\* | — |" in text


def test_text_marks_incomplete_rows_and_aligns_columns(ranking: Ranking) -> None:
    lines = to_text(ranking).splitlines()
    assert lines[2].startswith("demo/mae*")
    assert len({line.index(" ±1.5", line.rindex("95.0") if "95.0" in line else 0) for line in lines[1:2]}) == 1
    assert "—" in lines[2]


def test_text_of_nothing_is_nothing() -> None:
    assert to_text(rank([])) == ""


def test_text_for_a_narrow_terminal_never_exceeds_its_width(ranking: Ranking) -> None:
    for columns in (40, 60, 80, 200):
        lines = to_text(ranking, columns).splitlines()
        assert max(map(len, lines)) <= columns
        assert lines[1].split()[:2] == ["backbone", "estimate"] or lines[0].split()[:2] == ["backbone", "estimate"]
        assert sum("95.0 ±1.5" in line for line in lines) == 2


def doubted(badge: str, **given: object) -> Ranking:
    return rank([result("a", "t", 90, badges=(badge,), **given), result("b", "t", 80, **given)])


@pytest.mark.parametrize(("badge", "mark", "latex"), [("chance", "!", "!"), ("seen in pre-training", "§", r"\S{}")])
def test_a_mark_stands_in_every_export_with_its_meaning(badge: str, mark: str, latex: str) -> None:
    ranking, meaning = doubted(badge), LEGEND[mark]
    assert f"**90.0**{mark}" in to_markdown(ranking)
    assert f"{mark} {meaning}" in to_markdown(ranking)
    assert rf"\textbf{{90.0}}{latex}" in to_latex(ranking)
    assert meaning in to_latex(ranking)
    assert f"90.0{mark}" in to_text(ranking)
    assert json.loads(to_json(ranking))["marks"] == {mark: meaning}
    rows = list(csv.DictReader(io.StringIO(to_csv(ranking))))
    assert [row["t doubts"] for row in rows] == [badge, ""]


def test_a_table_without_doubts_needs_no_legend(ranking: Ranking) -> None:
    assert json.loads(to_json(ranking))["marks"] == {}
    assert not any(meaning in to_markdown(ranking) + to_latex(ranking) for meaning in LEGEND.values())


def test_intervals_that_reach_further_to_one_side_are_not_printed_as_plus_minus() -> None:
    ranking = rank([result("a", "t", 90, ci_low=85.0, ci_high=92.0)])
    assert "90.0 [85.0, 92.0]" in to_text(ranking)
    assert r"**90.0** \[85.0, 92.0\]" in to_markdown(ranking)
    assert r"\textbf{90.0}\,{\scriptsize[85.0, 92.0]}" in to_latex(ranking)


def test_an_aggregate_that_is_hidden_is_not_exported(ranking: Ranking) -> None:
    hidden = Notes(hidden=frozenset({"win_rate"}))
    assert "win_rate" not in to_csv(ranking, hidden)
    assert "win rate" not in to_latex(ranking, hidden) + to_markdown(ranking, hidden)
    assert "win_rate" not in json.loads(to_json(ranking, hidden))["rows"][0]


def test_what_was_done_to_the_images_is_in_every_export_and_only_where_something_was() -> None:
    notes = ("2 images of test: transparent, composited on white (#ffffff)", "=1 & *starred*")
    noted = result("a", "knn/pets", 80).model_copy(update={"data_notes": notes})
    found = rank([noted, result("a", "knn/digits", 90)])
    assert json.loads(to_json(found))["rows"][0]["scores"]["knn/pets"]["data_notes"] == list(notes)
    assert "data_notes" not in json.loads(to_json(found))["rows"][0]["scores"]["knn/digits"]
    (row,) = csv.DictReader(io.StringIO(to_csv(found)))
    assert row["knn/pets data"] == "; ".join(notes)
    assert "knn/digits data" not in row
    assert r"knn/pets: 2 images of test: transparent" in to_markdown(found)
    assert r"\*starred\*" in to_markdown(found)
    assert r"composited on white (\#ffffff); =1 \& *starred*" in to_latex(found)


def test_latex_has_the_protocols_above_their_datasets() -> None:
    scores = [result("a", task, 90) for task in ("knn/x", "linear/x", "linear/y_z")]
    lines = to_latex(rank(scores)).splitlines()
    top = lines.index(r"\toprule")
    assert lines[top + 1].startswith(r" & \multicolumn{1}{c}{knn} & \multicolumn{2}{c}{linear} &")
    assert lines[top + 2] == r"\cmidrule(lr){2-2} \cmidrule(lr){3-4}"
    assert lines[top + 3].startswith(r"backbone & x & x & y\_z & estimate")
    assert lines[top + 1].count("&") + 1 == lines[top + 3].count("&")
