"""`make cases` runs every program of the given cases, and fails if one of them does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cases import main
from tests.verdicts.__main__ import main as simulate
from tests.verdicts.rates import SIMULATIONS, Rate

WRITE = "import pathlib, sys; pathlib.Path(sys.argv[1], 'written').touch()"
CHECK = """
import pathlib, sys
sys.exit(0 if pathlib.Path(sys.argv[1], "written").exists() and "--program" in sys.argv else 3)
"""


def programs(folder: Path, **texts: str) -> None:
    folder.mkdir(parents=True)
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text)


def test_cases_are_written_and_checked_and_the_exit_code_says_whether_all_are_right(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    programs(tmp_path / "cases" / "datasets", datasets=WRITE, check=CHECK)
    asked = [str(tmp_path / "cases"), str(tmp_path / "out")]
    assert main(asked) == 0
    (tmp_path / "cases" / "datasets" / "check.py").write_text("raise SystemExit(1)")
    assert main(asked) == 1
    assert "datasets     not all right (exit code 1)" in capfd.readouterr().out
    assert main([*asked, "datasets"]) == 1


def test_the_simulations_run_by_name_and_print_every_rate(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate(["three_backbones", "ranking_with_holes", "--json"]) == 0
    printed = capsys.readouterr()
    assert {rate["simulation"] for rate in json.loads(printed.out)["rates"]} == {
        "three_backbones",
        "ranking_with_holes",
    }
    assert "width of Spearman's interval, n = 3" in printed.err


def test_a_rate_outside_of_its_band_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(scale: float) -> Iterator[Rate]:
        yield Rate("wrong", "always", scale, 0.0, 0.5, 1)

    monkeypatch.setitem(SIMULATIONS, "wrong", wrong)
    assert simulate(["wrong"]) == 1
    assert simulate(["wrong", "--scale", "0.4"]) == 0


def test_a_folder_without_cases_is_wrong_usage(tmp_path: Path) -> None:
    for names in ((), ("checkpoints",), ("nonsense",)):
        with pytest.raises(SystemExit) as ended:
            main([str(tmp_path), str(tmp_path / "out"), *names])
        assert ended.value.code == 2
