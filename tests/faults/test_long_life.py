"""Workspaces used for years: what may be removed, what stays, and reports of a thousand broken cards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from statistics import median

import pytest

from ssl_console.operations.disk_space import best_runs, parse_age
from ssl_console.system.errors import ConsoleError
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.results_db import ResultStore, rebuild
from ssl_console.workspace.run import RunState
from tests.faults.conftest import MakeStage
from tests.faults.load import carry_out, fill_with_ended_runs, queue_many, queue_more
from tests.faults.scale import Scale, full
from tests.faults.stage import PATIENCE_S, ROOT, Stage
from tests.faults.tally import Tally

GROUP = "long life"
DAY_S = 86_400.0
BROKEN_CARDS = 1000
LEAK_MB = 10.0
KILOBYTES_EACH = 3.0
"""Memory for each run of a workspace: its entry in the index (1 kB), and its row while the database is written."""


def age(stage: Stage, seeds: list[int], days: float) -> None:
    """Make the runs of these seeds end this long ago."""
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
    assert "3 runs would be removed (2 done, 1 failed)" in planned.out
    assert len(stage.statuses()) == 5
    alone = stage("clean", "--older", "90d")
    assert "1 run is removed (1 failed)" in alone.out
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
def test_descriptors_and_memory_of_a_supervisor_do_not_grow_with_runs(
    make_stage: MakeStage, scale: Scale, tally: Tally
) -> None:
    """A supervisor that has executed all runs takes what one takes that finds them: the index and the database."""
    stage = make_stage(slots=scale.slots)
    queue_many(stage, scale.life)
    found = carry_out(stage, 30 * PATIENCE_S)
    assert found.runs == scale.life
    assert {row.run_id for row in ResultStore(stage.workspace).results()} == set(stage.seeds())
    early, late = len(found.memory_mb) // 5, -len(found.memory_mb) // 20
    descriptors = median(found.descriptors[:early]), median(found.descriptors[late:])
    assert max(found.descriptors) - min(found.descriptors) <= 2 * scale.slots + 8
    assert descriptors[1] <= descriptors[0] + 4
    queue_more(stage, scale.life)
    new = carry_out(stage, PATIENCE_S)
    assert new.runs == scale.life + 1
    memory = max(found.memory_mb[:early]), max(found.memory_mb[late:]), new.peak_mb
    assert memory[1] < memory[2] + LEAK_MB, memory
    assert memory[1] - memory[0] < LEAK_MB + KILOBYTES_EACH * scale.life / 1e3, memory
    tally.add(
        "runs of one supervisor, its descriptors and memory looked at all the time",
        scale.life,
        f"{descriptors[0]:.0f} descriptors in the first fifth, {descriptors[1]:.0f} in the last twentieth; "
        f"{memory[0]:.0f} and {memory[1]:.0f} MB at most, a new supervisor on the same runs {memory[2]:.0f} MB",
    )


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["runs", "doctor"] if full() else ["runs"])
def test_years_of_runs_cost_a_verb_little_memory_and_time(
    workspace: Workspace, scale: Scale, verb: str, tally: Tally
) -> None:
    fill_with_ended_runs(workspace, scale.years)
    long_ago = time.time() - DAY_S
    for folder in workspace.run_folders():
        os.utime(folder.path, (long_ago, long_ago))
    first, again = (own_usage(workspace, verb) for _ in range(2))
    assert max(first.lines, again.lines) >= (scale.years if verb == "runs" else 10)
    assert again.memory_mb < 120
    assert again.cpu_s < 4, "twice what it may take on a machine that does nothing else"
    tally.add(
        f"run folders in a workspace, for `{verb}`",
        scale.years,
        f"{again.cpu_s:.1f} s of CPU and {again.memory_mb:.0f} MB; {first.cpu_s:.1f} s when run the first time",
    )


@dataclass(frozen=True)
class Usage:
    """CPU time of a command itself, without its child processes."""

    cpu_s: float
    memory_mb: float
    lines: int
    """Lines of its standard output."""


USAGE = """
import sys, time
from ssl_console.cli import main
try:
    main()
finally:
    peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(time.process_time(), int(peak) / 1024, file=sys.stderr)
"""


def own_usage(workspace: Workspace, verb: str) -> Usage:
    command = [sys.executable, "-P", "-c", USAGE, verb]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SSL_CONSOLE_WORKSPACE": str(workspace.root)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode in {0, 1}, done.stderr  # `doctor` returns 1 if something of this machine is bad
    cpu_s, memory_mb = map(float, done.stderr.splitlines()[-1].split())
    return Usage(cpu_s, memory_mb, len(done.stdout.splitlines()))
