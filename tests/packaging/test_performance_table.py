"""The benchmarks' README shows the content of their result files."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.benchmarks._comparison import Timing, in_turns, row, timed
from tests.benchmarks._options import QUICK_RESULTS, RESULTS, ROOT, parser
from tests.benchmarks._record import Figure, keep, overall, read
from tests.benchmarks._table import BEGIN, END, replaced, table, write

FAST, SLOW, SLOWER = Timing(1.0, 1.0), Timing(3.0, 2.0), Timing(5.0, 4.0)


def test_the_table_in_the_readme_is_the_one_that_the_kept_files_make() -> None:
    text = (ROOT / "tests" / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert replaced(text, table(read(RESULTS))) == text, "the files are newer: make bench-table"


def test_what_is_kept_is_read_back_whole(tmp_path: Path) -> None:
    rows = [row("sorting", "bubble sort", [FAST], [SLOW, SLOWER], goal=2.0, items=7)]
    figures = [Figure("memory", 3.5, "MiB", 4.0), Figure("a note", 1.0, "s", note="by the way")]
    keep("sorting", "How sorting does", rows, tmp_path, figures)
    [document] = read(tmp_path)
    assert (document.name, list(document.rows), list(document.figures)) == ("sorting", rows, figures)
    assert document.machine.cores >= 1


def test_the_table_shows_headlines_with_their_spread_and_figures_with_a_limit(tmp_path: Path) -> None:
    rows = [
        row("sorting", "bubble sort", [FAST], [SLOW, SLOWER], goal=2.0),
        row("a detail", "bubble sort", [FAST], [SLOW], headline=False),
    ]
    keep("sorting", "Sorting", rows, tmp_path, [Figure("memory", 5.0, "MiB", 4.0), Figure("no limit", 1.0, "s")])
    made = table(read(tmp_path))
    assert "| sorting | bubble sort | 4x (3 to 5) | 3x (2 to 4) | 2x |" in made
    assert "| memory | 5 MiB (over) | 4 MiB |" in made
    assert "a detail" not in made
    assert "no limit" not in made
    (tmp_path / "README.md").write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write(tmp_path / "README.md", read(tmp_path))
    assert (tmp_path / "README.md").read_text() == f"before\n{BEGIN}\n{made}{END}\nafter\n"
    with pytest.raises(ValueError, match="no place for the table"):
        replaced("no markers", made)


def test_the_mean_over_sizes_is_geometric_and_spans_the_sizes() -> None:
    rows = [row("small", "other", [FAST], [Timing(2.0, 2.0)]), row("large", "other", [FAST], [Timing(8.0, 8.0)])]
    mean = overall("all", rows).cpu
    assert mean.median == pytest.approx(4.0)
    assert (mean.lowest, mean.highest) == (2.0, 8.0)


def test_ways_are_measured_in_turns_and_the_slower_one_is_told() -> None:
    def work(seconds: float) -> None:
        until = time.process_time() + seconds
        while time.process_time() < until:
            pass

    found = in_turns({"ours": lambda: work(0.01), "other": lambda: work(0.03)}, turns=3)
    assert {name: len(times) for name, times in found.items()} == {"ours": 3, "other": 3}
    assert row("waiting", "other", found["ours"], found["other"]).cpu.lowest > 1
    assert timed(lambda: 7)[1] == 7


def test_quick_runs_leave_the_readmes_files_alone(tmp_path: Path) -> None:
    options = parser("Benchmarks.")
    assert options.parse_args([]).results == RESULTS
    assert options.parse_args(["--quick"]).results == QUICK_RESULTS
    assert options.parse_args(["--results", str(tmp_path), "--quick"]).results == tmp_path
    assert options.parse_args(["--quick", "--results", str(tmp_path)]).results == tmp_path
