"""`make cases` runs every program of the cases that it is given, and fails where one of them does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cases import main

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
    programs(tmp_path / "cases" / "verdicts", simulations="print('42 rates hold')")
    asked = [str(tmp_path / "cases"), str(tmp_path / "out")]
    assert main(asked) == 0
    assert "42 rates hold" in capfd.readouterr().out
    (tmp_path / "cases" / "verdicts" / "simulations.py").write_text("raise SystemExit(1)")
    assert main(asked) == 1
    told = capfd.readouterr().out
    assert "datasets     all right" in told
    assert "verdicts     not all right (exit code 1)" in told
    assert main([*asked, "datasets"]) == 0


def test_a_folder_without_cases_is_wrong_usage(tmp_path: Path) -> None:
    for names in ((), ("checkpoints",), ("nonsense",)):
        with pytest.raises(SystemExit) as ended:
            main([str(tmp_path), str(tmp_path / "out"), *names])
        assert ended.value.code == 2
