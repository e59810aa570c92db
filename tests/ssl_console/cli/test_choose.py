"""`choose` on the command line: a race within a budget, resumed from stored results."""

from __future__ import annotations

import pytest

from ssl_console.tui.views.race import contender_lines
from ssl_console.workspace.race_record import races
from ssl_console.workspace.result import ResultRecord
from tests.ssl_console.cli.shell import Shell

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
