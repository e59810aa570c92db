"""The form that adds a checkpoint, and the screen of watched trainings, on a real workspace with real files."""

from __future__ import annotations

from pathlib import Path
from threading import Event

import pytest
import torch
from textual.pilot import Pilot
from textual.widgets import Input

from backbones.inspection.inspect_main import propose
from backbones.inspection.proposal import Inspection
from ssl_console.operations import add_backbone
from ssl_console.operations.add_backbone import BackboneOptions
from ssl_console.tui.app import AppOptions, ConsoleApp
from ssl_console.tui.screens import add
from ssl_console.tui.screens.add import BACKBONE_FIELDS, OPTION, WORDS, AddBackboneDialog, in_words_of_backbone_form
from ssl_console.tui.screens.dialogs import ConfirmDialog
from ssl_console.tui.screens.training import TrainingScreen
from ssl_console.tui.widgets.graphics import ChartView
from ssl_console.tui.widgets.styled_text import Lines
from ssl_console.tui.widgets.virtual_table import LineTable
from ssl_console.workspace.paths import Workspace
from tests.backbones.layouts import LAYOUTS, spread, tensors_of
from tests.forked_processes import FORKS
from tests.ssl_console.tui import filled
from tests.ssl_console.tui.conftest import Opener, until


def app_of(pilot: Pilot[int]) -> ConsoleApp:
    assert isinstance(pilot.app, ConsoleApp)
    return pilot.app


def shown(pilot: Pilot[int], selector: str) -> str:
    content = pilot.app.screen.query_one(selector, Lines).content
    return " ".join("".join(span.text for span in line) for line in content)


def fill(pilot: Pilot[int], **values: str) -> None:
    for name, value in values.items():
        pilot.app.screen.query_one(f"#{name}", Input).value = value


@pytest.mark.slow
async def test_the_form_checks_while_one_types_and_writes_the_card(
    used: Workspace, opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(FORKS, raising=False)  # the inspection takes the time of its imports, in which it is shown
    torch.save(LAYOUTS["MoCo"][0](), tmp_path / "last.pth")
    async with opened(used, AppOptions(suite="demo")) as pilot:
        app = app_of(pilot)
        await pilot.press("B")
        dialog = app.screen
        assert isinstance(dialog, AddBackboneDialog)
        fill(pilot, path=str(tmp_path / "nowhere.pth"))
        await until(pilot, lambda: "does not exist" in shown(pilot, "#found"))
        fill(pilot, path=str(tmp_path / "last.pth"), name="own/a name")
        await until(pilot, lambda: "use letters, digits" in shown(pilot, "#found"))
        fill(pilot, name="own/moco")
        await until(pilot, lambda: "Inspecting the file" in shown(pilot, "#found"))
        await until(pilot, lambda: dialog.inspection is not None)
        told = shown(pilot, "#found")
        assert "265 of 265 (100%) at state_dict, module.encoder_q.*" in told
        assert "MoCo is evaluated by its query encoder" in told
        fill(pilot, normalisation="quarter")
        await until(pilot, lambda: "choose imagenet, half, none" in shown(pilot, "#found"))
        fill(pilot, normalisation="", mean="0.4,0.5")
        await until(pilot, lambda: "three numbers from 0 to 1" in shown(pilot, "#found"))
        fill(pilot, mean="0.4,0.5,0.6", std="0.25", crop="0.9", interpolation="cubic")
        await until(pilot, lambda: "choose bicubic, bilinear" in shown(pilot, "#found"))
        fill(pilot, interpolation="bilinear", resize="250")
        await until(pilot, lambda: "give one of them" in shown(pilot, "#found"))
        fill(pilot, crop="")
        await until(pilot, lambda: "0.4,0.5,0.6  0.25,0.25,0.25 (given)" in shown(pilot, "#found"))
        await pilot.press("enter")
        await until(pilot, lambda: "own/moco" in app.state.catalogue.backbone)
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))  # whether it is to be evaluated now
        await pilot.press("escape")
        await until(pilot, lambda: bool(app.screen.query(LineTable)))
        await until(pilot, lambda: app.screen.query_one(LineTable).row == "own/moco")
        assert app.state.suite == "demo", "own backbones are offered under every suite"
        assert not isinstance(app.screen, AddBackboneDialog)
    written = (used.backbones / "own" / "moco.toml").read_text()
    assert 'prefix = "module.encoder_q."' in written
    assert 'interpolation = "bilinear"' in written
    assert "0.4," in written


@pytest.mark.slow
async def test_the_form_takes_what_the_tensors_do_not_show(
    used: Workspace, opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(add_backbone, "inspect", propose)  # in this process, which has imported torch
    net = tensors_of("vit_base_patch16_224", embed_dim=320, depth=1, num_heads=5, img_size=32)
    torch.save({**net, "mystery.weight": spread((4, 4))}, tmp_path / "odd.pth")
    async with opened(used) as pilot:
        await pilot.press("B")
        fill(pilot, path=str(tmp_path / "odd.pth"), name="own/odd")
        await until(pilot, lambda: "drop mystery." in shown(pilot, "#found"))
        fill(pilot, drop="mystery.")
        await until(pilot, lambda: "arguments num_heads=5" in shown(pilot, "#found"))
        fill(pilot, arguments="num_heads=10")
        await until(pilot, lambda: "num_heads=10" in shown(pilot, "#found"))
        await pilot.press("enter")
        await until(pilot, lambda: "own/odd" in app_of(pilot).state.catalogue.backbone)
    assert "num_heads = 10" in (used.backbones / "own" / "odd.toml").read_text()


async def test_enter_during_the_inspection_is_kept_and_its_elapsed_time_is_shown(
    used: Workspace, opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, inspected = Event(), add_backbone.inspect_checkpoint

    def slow(options: BackboneOptions) -> Inspection:
        release.wait(60)
        return inspected(options)

    monkeypatch.setattr(add_backbone, "inspect", propose)  # in this process, which has imported torch
    monkeypatch.setattr(add, "inspect_checkpoint", slow)
    torch.save(LAYOUTS["MoCo"][0](), tmp_path / "last.pth")
    async with opened(used, AppOptions(suite="demo")) as pilot:
        await pilot.press("B")
        fill(pilot, path=str(tmp_path / "last.pth"), name="own/early")
        await until(pilot, lambda: "Inspecting the file ...  1 s" in shown(pilot, "#found"))
        await pilot.press("enter")
        assert "Enter is kept" in shown(pilot, "#found")
        release.set()
        await until(pilot, lambda: "own/early" in app_of(pilot).state.catalogue.backbone)
    assert (used.backbones / "own" / "early.toml").is_file()


async def test_nothing_is_written_when_the_form_is_left(used: Workspace, opened: Opener) -> None:
    async with opened(used) as pilot:
        await pilot.press("B", "escape")
        assert not isinstance(app_of(pilot).screen, AddBackboneDialog)
    assert not list(used.backbones.rglob("*.toml"))


async def test_the_training_screen_draws_transfer_beside_other_backbones_and_says_that_it_peaked(
    used: Workspace, opened: Opener
) -> None:
    filled.watch_training(used, (20.0, 45.0, 60.0, 50.0, 49.0, 48.0))
    async with opened(used) as pilot:
        await pilot.press("6")
        screen = app_of(pilot).screen
        assert isinstance(screen, TrainingScreen)
        await until(pilot, lambda: "peaked" in shown(pilot, "#summary"))
        assert "peaked at step 300 (60.0): the last 3 checkpoints are 11.0 points below it" in shown(pilot, "#summary")
        names = {series.name for series in screen.query_one(ChartView).chart.series}
        assert "this training" in names
        assert any(name.startswith("demo/") for name in names)
        table = screen.query_one(LineTable)
        assert len(table.rows.keys) == 6
        assert table.rows.cell(table.rows.keys[0], table.rows.columns[0]).text == "step 600"


async def test_without_a_training_the_screen_says_how_to_watch_one(used: Workspace, opened: Opener) -> None:
    async with opened(used) as pilot:
        await pilot.press("6")
        assert "no watched trainings" in shown(pilot, "#summary")
        assert "ssl-console watch DIR" in app_of(pilot).screen.query_one(LineTable).empty


def test_advice_in_the_backbone_form_names_its_fields() -> None:
    advice = "assumed; --norm or --mean; choose --arch NAME or --arg num_heads=6"
    assert (
        in_words_of_backbone_form(advice)
        == "assumed; normalisation or mean; choose architecture NAME or arguments num_heads=6"
    )
    assert in_words_of_backbone_form("--trust-code runs its file") == "--trust-code runs its file"
    labels = {label.partition(" (")[0] for _, label, _ in BACKBONE_FIELDS}
    assert {WORDS.get(name, name) for name in OPTION.pattern[3:-3].split("|")} <= labels
