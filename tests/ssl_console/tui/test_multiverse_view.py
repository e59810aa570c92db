"""The multiverse of the compared backbones in the console."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ssl_console.system.errors import ConsoleError
from ssl_console.tui.app import AppOptions
from ssl_console.tui.screens import multiverse as screen
from ssl_console.tui.screens.multiverse import DialogClosedError, MultiverseDialog, MultiverseProgress, multiverse_lines
from ssl_console.tui.style.text import length
from tasks.features.requests import Advance, Phase
from tests.ssl_console.analysis.test_multiverse import made
from tests.ssl_console.measured import filled
from tests.ssl_console.tui.conftest import Opener, until
from tests.ssl_console.tui.test_screens import app_of, shown

SCORES = ([70.0, 70, 70, 51, 80, 80, 80, 80], [75.0, 75, 75, 50, 70, 70, 70, 70])


async def opened_dialog(
    opened: Opener, monkeypatch: pytest.MonkeyPatch, root: Path, answer: Callable[..., object]
) -> str:
    """Text of the dialog once the subprocess, here `answer`, has ended."""
    monkeypatch.chdir(root)
    monkeypatch.setattr(screen, "multiverse", answer)
    async with opened(filled(Path("measured")), AppOptions(mode="compare")) as pilot:
        await pilot.press("M")
        await until(pilot, lambda: isinstance(app_of(pilot).screen, MultiverseDialog))
        await until(pilot, lambda: "opening" not in shown(pilot, "#text"))
        return shown(pilot, "#text")


async def test_compare_shows_the_verdict_over_all_protocols(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: Opener
) -> None:
    asked: list[tuple[object, ...]] = []

    def answer(_session: object, names: tuple[str, ...], dataset: str, *_rest: object) -> object:
        asked.append((names, dataset))
        result = made(*SCORES, low=0.55)
        renamed = [one.model_copy(update={"backbone": name}) for one, name in zip(result.backbones, names, strict=True)]
        pair = result.pairs[0].model_copy(update={"first": names[0], "second": names[1]})
        return result.model_copy(update={"backbones": tuple(renamed), "pairs": (pair,)})

    text = await opened_dialog(opened, monkeypatch, tmp_path, answer)
    assert {dataset for _, dataset in asked} == {"digits"}
    assert len(asked[0][0]) == 2  # type: ignore[arg-type]
    assert "it loses where pooling is cls" in " ".join(text.split())
    assert "8 protocols by rising difference" in text


async def test_what_is_missing_is_named_in_the_dialog(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: Opener
) -> None:
    def answer(*_given: object) -> object:
        raise ConsoleError("no stored features: run `ssl-console run -t layers/digits`")

    text = await opened_dialog(opened, monkeypatch, tmp_path, answer)
    assert "layers/digits" in text


def test_a_closed_dialog_ends_the_subprocess_at_its_next_report() -> None:
    progress = MultiverseProgress()
    progress(Phase(name="protocols", total=10))
    progress(Advance(count=3))
    assert (progress.total, progress.done) == (10, 3)
    progress.closed = True
    with pytest.raises(DialogClosedError):
        progress(Advance(count=1))


def test_no_line_of_the_dialog_is_wider_than_80_columns() -> None:
    lines = multiverse_lines(made(*SCORES), ("own/a", "own/b"), 74)
    assert max(map(length, lines)) <= 74
