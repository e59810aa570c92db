"""`choose` on the command line: a race within a budget, resumed from stored results."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import backbones
from ssl_console.tui.views.race import contender_lines
from ssl_console.workspace.race_record import races
from ssl_console.workspace.result import ResultRecord
from ssl_console.workspace.supervisor_state import SupervisorView
from tests.ssl_console.cli.shell import Shell
from tests.ssl_console.system.test_nvml import stand_in_driver
from tests.ssl_console.workspace_fixture import eventually

ASKED = ("choose", "-b", "own/*", "--data", "things", "--target", "echo")


def test_the_finalists_are_measured_once_and_every_backbone_has_its_chances(shell: Shell) -> None:
    found = shell(*ASKED, "--hours", "1", "--json")
    assert found.code == 12, found.err
    choice = found.lines[-1]
    assert {one["name"]: one["fate"] for one in choice["contenders"]} == {
        "own/first": "finalist",
        "own/second": "finalist",
    }
    assert sum(one["probability"] for one in choice["contenders"]) == pytest.approx(1)
    (note,) = choice["notes"]
    assert note == "energy is unknown: the run was on cpu, whose energy is not counted"
    assert {one["energy_reason"] for one in choice["contenders"]} == {"the run was on cpu, whose energy is not counted"}
    (race,) = races(shell.workspace)
    assert (race.target, race.state, race.choice) == ("echo/things", "ended", choice["choice"])
    assert [(one.role, one.state, len(one.entrants)) for one in race.rungs] == [("target", "done", 2)]
    assert {one.status for one in race.rungs[0].entrants} == {"measured"}
    assert race.rungs[0].entrants[0].score == 50.0
    again = shell(*ASKED, "--hours", "1", "--for", "memory")
    assert again.code == 12
    assert "chosen for memory" in again.out
    assert "energy is unknown" in again.err
    assert len((shell.workspace.features / "journal").read_text().splitlines()) == 2


def test_energy_that_a_device_has_counted_is_printed_and_exported(shell: Shell) -> None:
    assert shell(*ASKED, "--hours", "1").code == 12
    for folder in shell.workspace.run_folders():
        record = ResultRecord.model_validate_json(folder.result.read_bytes())
        if record.result.backbone == "own/first":
            folder.result.write_text(record.model_copy(update={"energy_j": 1234.0}).model_dump_json())
    found = shell(*ASKED, "--hours", "1", "--json").lines[-1]
    assert {one["name"]: one["energy_j"] for one in found["contenders"]} == {"own/first": 1234.0, "own/second": None}
    assert found["notes"] == ["energy of own/second is unknown: the run was on cpu, whose energy is not counted"]
    (race,) = races(shell.workspace)
    text = "\n".join("".join(span.text for span in one) for one in contender_lines(race, 120))
    assert "1,234 J" in text
    assert found["notes"][0] in text


def test_without_time_nothing_is_run_and_the_reason_is_given(shell: Shell) -> None:
    found = shell(*ASKED, "--hours", "0")
    assert found.code == 12
    assert "0 s of the budget are left" in found.err
    assert not list(shell.workspace.runs.iterdir())
    (race,) = races(shell.workspace)
    assert "0 s of the budget are left" in race.reason
    assert [(one.role, one.state) for one in race.rungs] == [("target", "planned")]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--for", "beauty"), "accuracy, speed, memory"),
        (("-b", "far"), "1 backbones can be measured on things"),
        ((), "at least two backbones are needed, not own/first"),
    ],
)
def test_what_cannot_be_chosen_from_is_refused_with_the_reason(
    shell: Shell, arguments: tuple[str, ...], reason: str
) -> None:
    asked = ("choose", "--hours", "1", "--target", "echo", "--data", "things", "-b", "own/first", *arguments)
    refused = shell(*asked)
    assert refused.code == 2, refused.err
    assert reason in refused.err


def pictures(folder: Path) -> Path:
    """Images of three classes that differ in their stripes, in folders `train` and `test`."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 20), ("test", 30)):
        for place, name in enumerate(("fine", "middle", "wide")):
            (folder / split / name).mkdir(parents=True)
            stripes = 255.0 * (np.arange(64) // (2 << place) % 2)
            for number in range(count):
                pixels = stripes + generator.normal(0, 60, (64, 64))
                image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).convert("RGB")
                image.save(folder / split / name / f"{number}.png")
    return folder


def licensed(shell: Shell, names: Sequence[str]) -> None:
    """Cards of demo backbones under names of the user's, with a licence."""
    for name in names:
        card = (Path(backbones.__file__).parent / "cards" / "demo" / f"{name}.toml").read_text()
        (shell.workspace.backbones / "own" / f"{name}.toml").write_text(f'{card}license = "mit"\n')


@pytest.mark.slow
def test_a_race_on_a_folder_survives_sigkill_and_ends_with_chances_and_costs_of_every_backbone(
    shell: Shell, tmp_path: Path
) -> None:
    names = ("random", "simclr", "supervised")
    licensed(shell, names)
    driver = {"LD_LIBRARY_PATH": stand_in_driver(tmp_path)["LD_LIBRARY_PATH"]}
    variables = {**driver, "SSL_CONSOLE_PROTOCOLS": "tests.ssl_console.cli.on_cpu"}
    chosen = [word for name in names for word in ("-b", f"own/{name}")]
    asked = ("choose", *chosen, "--data", str(pictures(tmp_path / "data")), "--hours", "0.5", "--target", "linear")

    killed = shell.start(*asked, "--devices", "cuda:0", "--json", **variables)
    eventually(lambda: killed.poll() is not None or rounds_done(shell) == 1, "the first round is done", 120)
    assert killed.poll() is None, killed.communicate()
    killed.kill()
    killed.communicate()
    (state,) = [SupervisorView(shell.workspace).state()]
    assert state is not None
    os.kill(state.pid, signal.SIGKILL)
    before = results(shell)
    assert len(before) >= 3

    found = shell(*asked, "--devices", "cuda:0", "--json", **variables)
    assert found.code in {0, 12}, found.err
    after = results(shell)
    assert len(after) == 9, "three backbones by three protocols"
    assert before.items() <= after.items(), "nothing is measured twice"
    choice = found.lines[-1]
    contenders = choice["contenders"]
    assert {one["name"] for one in contenders} == {f"own/{name}" for name in names}
    assert sum(one["probability"] for one in contenders) == pytest.approx(1)
    assert min(one["regret"] for one in contenders) == contenders[0]["regret"] >= 0
    assert choice["choice"] == contenders[0]["name"]
    assert choice["notes"] == []
    for one in contenders:
        assert {one["licence"], one["energy_reason"]} == {"mit", ""}
        assert min(one["energy_j"], one["memory_mb"], one["images_per_s"]) > 0
        assert len(one["scores"]) == 3
    (race,) = races(shell.workspace)
    assert (race.state, race.choice, race.budget_s) == ("ended", choice["choice"], 1800.0)
    assert [one.state for one in race.rungs] == ["done"] * 3


def rounds_done(shell: Shell) -> int:
    """Number of finished rounds in the record of the race."""
    return sum(one.state == "done" for race in races(shell.workspace) for one in race.rungs)


def results(shell: Shell) -> dict[str, float]:
    """Time at which each run ended, by its id."""
    records = (folder.result for folder in shell.workspace.run_folders() if folder.result.exists())
    found = (ResultRecord.model_validate_json(path.read_bytes()).result for path in records)
    return {one.run_id: one.finished for one in found}
