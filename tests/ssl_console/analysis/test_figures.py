"""Figures are valid files, show every name, and are reproducible."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from ssl_console.analysis.correlations import published_transfer
from ssl_console.analysis.export import Notes
from ssl_console.analysis.figures import check_name, save_critical_difference, save_heat_table, save_transfer
from ssl_console.analysis.rank_intervals import BAR, MARK, CriticalDifference, as_text
from ssl_console.analysis.ranking import rank
from ssl_console.system.errors import ConsoleError
from tests.ssl_console.analysis.test_ranking import result

PICTURE = CriticalDifference({"c$_x": 1.2, "b": 2.0, "a": 3.9, "d": 2.9}, 1.0, 0.01)


def words(path: Path) -> str:
    """All text in an SVG file."""
    return "\n".join(element.text or "" for element in ET.parse(path).iter() if element.tag.endswith("text"))


def test_the_picture_as_text_joins_what_cannot_be_told_apart() -> None:
    lines = as_text(PICTURE, columns=31)
    assert [line[0] for line in lines] == ["c$_x", "b", "d", "a"]
    assert [line[1].index(MARK) for line in lines] == [2, 10, 19, 29]
    assert [line[3] for line in lines] == [BAR, f"{BAR} {BAR}", f"  {BAR} {BAR}", f"    {BAR}"]


@pytest.mark.slow
def test_the_critical_difference_picture_names_every_backbone(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    first, second, pixels = tmp_path / "one.svg", tmp_path / "two.svg", tmp_path / "one.png"
    for path in (first, second, pixels):
        save_critical_difference(PICTURE, path)
    shown = words(first)
    assert all(
        f"{name}  {rank:.2f}" in shown or f"{rank:.2f}  {name}" in shown for name, rank in PICTURE.mean_ranks.items()
    )
    assert "critical difference 1.00" in shown
    assert first.read_bytes() == second.read_bytes()
    assert pixels.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_transfer_scatter_has_a_panel_with_its_coefficient_for_every_setting(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    settings = published_transfer().settings[:4]
    save_transfer(settings, tmp_path / "scatter.svg")
    shown = words(tmp_path / "scatter.svg")
    assert all(setting.name in shown for setting in settings)
    assert "Pearson +0.93" in shown
    assert shown.count("supervised") == 4


def test_a_picture_needs_a_name_that_is_free_and_of_a_known_kind(tmp_path: Path) -> None:
    (tmp_path / "there.png").touch()
    for name, words_ in (
        ("x.gif", "is named .svg"),
        ("there.png", "never replaces"),
        ("no/x.svg", "there is no folder"),
    ):
        with pytest.raises(ConsoleError, match=words_):
            check_name(tmp_path / name)
    assert check_name(tmp_path / "new.svg").name == "new.svg"


def test_without_matplotlib_the_way_out_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConsoleError, match=r"pip install 'ssl-console\[figures\]'"):
        save_critical_difference(PICTURE, tmp_path / "x.svg")


@pytest.mark.slow
def test_the_heat_table_is_the_view_with_its_marks_and_legends(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    results = [result("a", "knn/x", 90), result("b", "knn/x", 70), result("a", "linear/y", 50)]
    results[1] = results[1].model_copy(update={"badges": ("few images",)})
    ranking = rank(results)
    for suffix in ("svg", "pdf", "png"):
        save_heat_table(ranking, tmp_path / f"table.{suffix}", Notes(hidden=frozenset({"mean"})))
    shown = words(tmp_path / "table.svg").splitlines()
    assert {"knn", "linear", "x", "y", "a", "b*", "90.0", "70.0!", "50.0", "estimate"} <= set(shown)
    assert "mean" not in shown
    assert any(line.startswith("! ") for line in shown), "what the mark means"
    assert (tmp_path / "table.pdf").read_bytes().startswith(b"%PDF")
