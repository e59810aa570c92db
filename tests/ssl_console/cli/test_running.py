from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.supervisor_state import SupervisorView
from ssl_console.workspace.tinydb_storage import exclusive
from tests.ssl_console.cli.shell import Shell

BOUND_S = 60.0
ECHO = ("-b", "own/first", "-t", "echo/things")


def computed(workspace: Workspace) -> list[str]:
    """Requests received by the protocol `echo`."""
    path = workspace.features / "journal"
    return path.read_text().splitlines() if path.exists() else []


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + BOUND_S
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)


def states(shell: Shell) -> dict[str, str]:
    return {row["run_id"]: row["state"] for row in shell("runs", "--json").document["runs"]}


def test_a_run_is_carried_out_and_its_score_said(shell: Shell) -> None:
    done = shell("run", *ECHO)
    assert done.code == 0
    assert done.out.startswith("own/first on echo/things: 50.0 ±1.0")
    assert "1 selected: 1 will run" in done.err
    assert "1 of 1 finished" in done.err


def test_the_same_run_again_computes_nothing_and_says_so(measured_shell: Shell) -> None:
    again = measured_shell("run", *ECHO)
    assert (again.code, again.out) == (0, "")
    assert "1 already done, nothing to run" in again.err
    assert "nothing to run" in again.err
    assert computed(measured_shell.workspace) == ["own/first echo/things 0"]


def test_a_command_ends_only_when_the_next_one_finds_its_result(shell: Shell) -> None:
    with exclusive(shell.workspace.results):
        going = shell.start("run", *ECHO)
        wait_until(lambda: any(shell.workspace.runs.glob("*/result.json")))
        with pytest.raises(subprocess.TimeoutExpired):
            going.wait(1.0)
    assert going.wait(BOUND_S) == 0
    assert [row["backbone"] for row in shell("results", "--json").document["results"]] == ["own/first"]


def test_one_task_added_computes_one_run(measured_shell: Shell) -> None:
    more = measured_shell("run", *ECHO, "-t", "echo/others")
    assert "1 already done, 1 will run" in more.err
    assert computed(measured_shell.workspace) == ["own/first echo/things 0", "own/first echo/others 0"]


def test_equal_content_under_another_name_is_not_computed_again_and_the_plan_says_where_it_is(
    measured_shell: Shell,
) -> None:
    run = measured_shell("plan", "-b", "own/first", "-t", "echo/twins", "--json").document["runs"][0]
    assert (run["status"], run["reason"]) == ("done", "the same measurement is listed as own/first on echo/things")


def test_plan_and_run_and_plan_again(shell: Shell) -> None:
    before = shell("plan", "--suite", "both", "--json").document
    assert before["counts"] == {"done": 0, "stale": 0, "active": 0, "new": 4, "missing": 0, "to_run": 4, "total": 4}
    assert before["eta_s"] is None
    assert shell("run", "--suite", "both").code == 0
    after = shell("plan", "--suite", "both", "--json").document
    assert [run["status"] for run in after["runs"]] == ["done"] * 4
    assert [run["run_id"] for run in after["runs"]] == [run["run_id"] for run in before["runs"]]
    assert after["eta_s"] == 0


def test_a_planned_run_has_exactly_these_fields(shell: Shell) -> None:
    document = shell("plan", *ECHO, "--json").document
    run = document["runs"][0]
    assert {"backbone", "task", "seed", "key", "status", "run_id"} <= run.keys()
    assert (run["backbone"], run["task"], run["seed"], run["status"]) == ("own/first", "echo/things", 0, "new")
    assert run["run_id"] == run["key"][:12]


def test_seeds_and_parameters_make_runs_of_their_own(shell: Shell) -> None:
    assert shell("run", *ECHO, "--seed", "0", "1", "--set", "echo.value=70").code == 0
    assert shell("run", *ECHO).code == 0
    rows = shell("results", "--json").document["results"]
    assert sorted((row["seed"], row["value"]) for row in rows) == [(0, 50.0), (0, 70.0), (1, 71.0)]
    assert len({row["column"] for row in rows}) == 2


def test_a_changed_parameter_of_the_same_variant_name_is_another_column_not_a_stale_run(measured_shell: Shell) -> None:
    counts = measured_shell("plan", *ECHO, "--set", "echo.value=70", "--json").document["counts"]
    assert (counts["new"], counts["stale"]) == (1, 0)


def test_a_changed_backbone_makes_its_result_stale_and_says_why(measured_shell: Shell) -> None:
    card = measured_shell.workspace.backbones / "own" / "first.toml"
    card.write_text(card.read_text().replace("seed = 0", "seed = 9"))
    run = measured_shell("plan", *ECHO, "--json").document["runs"][0]
    assert (run["status"], run["reason"]) == ("stale", "the weights changed")
    assert measured_shell("run", *ECHO).code == 0
    assert len(computed(measured_shell.workspace)) == 2


def test_force_runs_again_in_a_folder_of_its_own(measured_shell: Shell) -> None:
    assert measured_shell("run", *ECHO, "--force").code == 0
    run_ids = sorted(states(measured_shell))
    assert run_ids[1] == f"{run_ids[0]}-2"
    assert len(computed(measured_shell.workspace)) == 2


def test_a_failed_run_ends_in_exit_code_1_and_can_be_retried(shell: Shell) -> None:
    failed = shell("run", *ECHO, "--set", "echo.fate=raise")
    assert failed.code == 1
    assert "told to fail" in failed.out
    assert "1 failed" in failed.err
    assert shell("retry", "--failed").code == 0
    wait_until(lambda: len(computed(shell.workspace)) == 2)


def test_missing_weights_end_in_exit_code_3_before_anything_starts(shell: Shell) -> None:
    lacking = shell("run", "-b", "far", "own/first", "-t", "echo/things")
    assert lacking.code == 3
    assert "ssl-console weights fetch far" in lacking.err
    assert states(shell) == {}


def test_missing_data_end_in_exit_code_3_and_name_the_command(shell: Shell) -> None:
    lacking = shell("run", "-b", "own/first", "-t", "echo/*")
    assert lacking.code == 3
    assert "ssl-console data fetch absent" in lacking.err
    plan = shell("plan", "-b", "own/first", "-t", "echo/absent", "--json").document
    assert (plan["runs"][0]["key"], plan["runs"][0]["run_id"], plan["counts"]["missing"]) == (None, None, 1)
    assert plan["missing"][0]["kind"] == "data"


def test_what_is_missing_can_be_skipped(shell: Shell) -> None:
    done = shell("run", "-b", "far", "own/first", "-t", "echo/*", "--skip-missing")
    assert done.code == 0
    assert sorted(computed(shell.workspace)) == ["own/first echo/others 0", "own/first echo/things 0"]


def test_run_json_is_json_lines_and_nothing_else(shell: Shell) -> None:
    lines = shell("run", *ECHO, "--json").lines
    assert (lines[0]["event"], lines[0]["counts"]["new"]) == ("plan", 1)
    assert [line["state"] for line in lines if line["event"] == "run"][-1] == "done"
    assert (lines[-1]["event"], lines[-1]["exit_code"], lines[-1]["counts"]["done"]) == ("end", 0, 1)
    again = shell("run", *ECHO, "--json")
    assert [line["event"] for line in again.lines] == ["plan", "end"]
    assert again.code == 0


def test_detached_runs_go_on_by_themselves(shell: Shell) -> None:
    begun = shell("run", *ECHO, "--detach")
    assert begun.code == 0
    assert begun.out.strip() in states(shell)
    wait_until(lambda: shell("results", "--json").document["results"] != [])


def test_ctrl_c_leaves_the_runs_going_and_says_so(shell: Shell) -> None:
    process = shell.start("run", *ECHO, "--set", "echo.seconds=4")
    wait_until(lambda: computed(shell.workspace) != [])
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=BOUND_S)
    assert process.returncode == 130
    assert "the runs continue" in said
    assert "Traceback" not in said
    wait_until(lambda: shell("results", "--json").document["results"] != [])
    assert len(computed(shell.workspace)) == 1


@pytest.mark.slow
def test_following_survives_the_death_of_the_supervisor_and_nothing_is_computed_twice(shell: Shell) -> None:
    process = shell.start("run", *ECHO, "--seed", "0", "1", "2", "--set", "echo.seconds=3")
    wait_until(lambda: computed(shell.workspace) != [])
    state = SupervisorView(shell.workspace).living()
    assert state is not None
    os.kill(state.pid, signal.SIGKILL)
    out, said = process.communicate(timeout=BOUND_S)
    assert process.returncode == 0, said
    assert len(out.splitlines()) == 3
    assert sorted(computed(shell.workspace)) == [f"own/first echo/things {seed}" for seed in range(3)]


def test_two_consoles_that_submit_the_same_make_one_run(shell: Shell) -> None:
    both = [shell.start("run", *ECHO, "--set", "echo.seconds=1") for _ in range(2)]
    assert [process.wait(timeout=BOUND_S) for process in both] == [0, 0]
    for process in both:
        process.communicate()
    assert len(computed(shell.workspace)) == 1


def test_cancel_ends_what_is_queued_and_what_runs(shell: Shell) -> None:
    begun = shell("run", *ECHO, "--seed", "0", "1", "--set", "echo.seconds=60", "--detach")
    run_ids = begun.out.split()
    wait_until(lambda: computed(shell.workspace) != [])
    assert shell("cancel", "--all").code == 0
    wait_until(lambda: set(states(shell).values()) == {"cancelled"})
    refused = shell("cancel", run_ids[0])
    assert refused.code == 2
    assert "it is already cancelled" in refused.err


def test_paused_runs_wait_and_resumed_ones_go_on(shell: Shell) -> None:
    shell("pause")
    shell("run", *ECHO, "--detach")
    listed = shell("runs", "--json").document["runs"]
    assert [row["state"] for row in listed] == ["queued"]
    assert "ssl-console resume" in listed[0]["reason"]
    shell("resume")
    wait_until(lambda: shell("results", "--json").document["results"] != [])


def test_logs_show_what_a_run_printed_without_its_escape_sequences(measured_shell: Shell) -> None:
    run_id = next(iter(states(measured_shell)))
    shown = measured_shell("logs", run_id[:5])
    assert shown.code == 0
    assert "red tail" in shown.out.splitlines()
    assert "\x1b" not in shown.out


def test_events_are_json_lines(measured_shell: Shell) -> None:
    lines = measured_shell("events", next(iter(states(measured_shell)))).lines
    assert lines[0]["kind"] == "started"
    assert (lines[-1]["kind"], lines[-1]["name"]) == ("ended", "done")


def test_following_events_ends_with_the_run(shell: Shell) -> None:
    run_id = shell("run", *ECHO, "--set", "echo.seconds=2", "--detach").out.strip()
    followed = shell("events", run_id, "-f")
    assert followed.code == 0
    assert followed.lines[-1]["name"] == "done"
    assert shell("logs", run_id, "-f").out.splitlines()[0] == "red tail"


def test_runs_can_be_listed_by_state(measured_shell: Shell) -> None:
    measured_shell("run", *ECHO, "--set", "echo.fate=raise")
    failed = measured_shell("runs", "--state", "failed", "--json").document["runs"]
    assert [(row["state"], row["kind"]) for row in failed] == [("failed", "crash")]
    assert "failed" in measured_shell("runs").out


def test_rank_shows_what_was_measured_in_every_format(shell: Shell) -> None:
    shell("run", "--suite", "both")
    shell("run", "-b", "own/first", "-t", "echo/things", "--seed", "2")
    document = shell("rank", "--json").document
    assert document["columns"] == ["echo/others", "echo/things"]
    row = document["rows"][0]
    assert (row["backbone"], row["complete"], row["scores"]["echo/things"]["value"]) == ("own/first", True, 51.0)
    assert shell("rank", "--csv").out.startswith("backbone,echo/others,")
    assert shell("rank", "--markdown").out.startswith("| backbone | echo/others |")
    assert "\n\\begin{tabular}" in shell("rank", "--latex").out
    assert shell("rank", "--suite", "both", "--sort", "echo/things").out.splitlines()[1].startswith("own/first")
    assert [r["backbone"] for r in shell("rank", "-b", "own/s*", "--json").document["rows"]] == ["own/second"]


def test_nothing_measured_yet_is_an_empty_ranking(shell: Shell) -> None:
    assert shell("rank", "--json").document == {"columns": [], "rows": [], "kept_apart": [], "marks": {}}
    assert "no results yet" in shell("rank").err


def test_rebuild_brings_back_the_results_of_the_run_folders(measured_shell: Shell) -> None:
    before = measured_shell("results", "--json").document
    measured_shell.workspace.results.write_text("{ broken")
    assert measured_shell("rebuild").code == 0
    assert measured_shell("results", "--json").document == before


def test_doctor_finds_sound_cards_and_results_sound(shell: Shell) -> None:
    process = shell.start("doctor")
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line[5:].startswith("results "):
            break
    process.kill()
    process.communicate()
    verdicts = {line[5:].split()[0]: line[:5].strip() for line in lines}
    assert {verdicts[name] for name in ("python", "workspace", "cards", "results")} == {"ok"}


@pytest.mark.slow
def test_doctor_names_what_is_wrong_and_finds_the_rest_sound(shell: Shell) -> None:
    (shell.workspace.backbones / "broken.toml").write_text("title = 5")
    shell.workspace.results.write_text("{ broken")
    found = shell("doctor", "--json")
    bad = {check["name"]: check["words"] for check in found.document["checks"] if check["verdict"] == "bad"}
    assert found.code == 1
    assert "broken.toml" in bad["cards"]
    assert "rebuild" in bad["results"]
    verdicts = {check["name"]: check["verdict"] for check in found.document["checks"]}
    assert {verdicts[name] for name in ("python", "workspace", "cpu", "libraries")} == {"good"}


def test_in_a_terminal_progress_is_redrawn_and_the_score_stays(shell: Shell, tmp_path: Path) -> None:
    script = tmp_path / "in_a_terminal.py"
    script.write_text(
        "import os, pty, sys\n"
        f"code = pty.spawn({shell.command('run', *ECHO, '--set', 'echo.seconds=1')!r})\n"
        "sys.exit(os.waitstatus_to_exitcode(code))\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        env={**shell.environment, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"},
        stdin=subprocess.DEVNULL,
        timeout=BOUND_S,
        check=False,
    )
    assert done.returncode == 0
    assert "own/first on echo/things: 50.0 ±1.0" in done.stdout
    assert "echoing" in done.stdout
    assert "\x1b[2K" in done.stdout
