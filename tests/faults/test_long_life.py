"""Workspaces that are used for years: what may go, what stays, and what a thousand broken cards say."""

from __future__ import annotations

import json
import os
import time

import psutil
import pytest

from ssl_console.operations.clean import best_runs, parse_age
from ssl_console.system.errors import ConsoleError
from ssl_console.workspace.results_db import ResultStore, rebuild
from ssl_console.workspace.run import RunState
from tests.faults.scale import full
from tests.faults.stage import PATIENCE_S, Stage
from tests.faults.tally import Tally
from tests.ssl_console.workspace_fixture import eventually

GROUP = "long life"
DAY_S = 86_400.0
BROKEN_CARDS = 1000


def age(stage: Stage, seeds: list[int], days: float) -> None:
    """Let the runs of these seeds have ended so long ago."""
    then = time.time() - days * DAY_S
    for folder in stage.workspace.run_folders():
        if stage.seeds()[folder.run_id] in seeds:
            for path in (folder.result, folder.end(1)):
                if path.exists():
                    text = path.read_text()
                    path.write_text(_with_time(text, then))
                    os.utime(path, (then, then))


def _with_time(text: str, then: float) -> str:
    content = json.loads(text)
    if "ended" in content:
        content["ended"] = then
    return json.dumps(content)


@pytest.mark.slow
def test_old_runs_go_and_the_best_result_of_each_backbone_stays(stage: Stage, tally: Tally) -> None:
    stage.run_to_the_end([0, 1, 2, 3])  # worth 50, 51, 52 and 53
    assert stage(*stage.run_arguments([9], fate="raise")).code == 1
    stage.check_all_gone()
    before = {row.run_id: row.value for row in ResultStore(stage.workspace).results()}
    age(stage, [0, 1, 3, 9], 100)
    planned = stage("clean", "--older", "90d", "--keep-best", "--dry-run")
    assert "3 runs would go (2 done, 1 failed)" in planned.out
    assert len(stage.statuses()) == 5
    alone = stage("clean", "--older", "90d")
    assert "1 runs are removed (1 failed)" in alone.out
    assert {row.run_id: row.value for row in ResultStore(stage.workspace).results()} == before
    done = stage("clean", "--older", "90d", "--keep-best")
    assert "2 runs are removed (2 done)" in done.out
    left = {row.value for row in ResultStore(stage.workspace).results()}
    assert left == {52.0, 53.0}, "the young one, and the best"
    assert rebuild(stage.workspace) == 2
    assert {status.state for status in stage.statuses().values()} == {RunState.DONE}
    assert not [path for path in stage.workspace.runs.iterdir() if path.name.startswith(".")]
    tally.add("runs older than an age, removed by `clean`", 3, "young ones, and each backbone's best result, stay")


@pytest.mark.parametrize(("text", "seconds"), [("90d", 90 * DAY_S), ("6h", 21_600.0), ("2w", 14 * DAY_S)])
def test_ages(text: str, seconds: float) -> None:
    assert parse_age(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "d", "-1d", "1.5d", "90 d"])
def test_an_age_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConsoleError, match="such as 90d"):
        parse_age(text)


def test_the_best_run_of_nothing_is_none() -> None:
    assert best_runs([]) == set()


@pytest.mark.slow
def test_a_thousand_broken_cards_are_one_line_with_their_number(stage: Stage, tally: Tally) -> None:
    for number in range(BROKEN_CARDS):
        (stage.workspace.backbones / f"broken-{number}.toml").write_text("title = 3\n")
    done = stage("backbones")
    assert done.code == 0
    (line,) = done.err.splitlines()
    assert line.startswith("ssl-console: ")
    assert "problems with cards (`ssl-console doctor` lists them), the first: " in line
    tally.add("broken cards at once", BROKEN_CARDS, "one line with their number; `doctor` lists them")


@pytest.mark.slow
def test_descriptors_and_memory_of_a_supervisor_do_not_grow_with_runs(stage: Stage, tally: Tally) -> None:
    rounds, each = (10, 40) if full() else (4, 8)
    keeper = stage.start(*stage.run_arguments([10_000], wait=True))  # so that the supervisor stays
    eventually(stage.workers, "a run is under way", PATIENCE_S)
    process = psutil.Process(stage.supervisor_pid())
    descriptors, memory = [], []
    for number in range(rounds):
        stage.run_to_the_end(list(range(number * each, (number + 1) * each)))
        descriptors.append(process.num_fds())
        memory.append(process.memory_info().rss / 2**20)
    (stage.workspace.features / "go").touch()
    assert stage.finish(keeper) == 0
    assert max(descriptors) - min(descriptors) <= 4, descriptors
    assert memory[-1] - memory[1] < 4 + 0.02 * rounds * each, memory
    tally.add(
        "runs of one supervisor, its descriptors and memory looked at",
        rounds * each,
        f"{descriptors[0]} descriptors at first, {descriptors[-1]} at last; {memory[-1] - memory[0]:+.1f} MB",
    )
