"""Any process killed at any moment: every finished result exists once, nothing runs twice, the rest resumes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import psutil
import pytest

from ssl_console.workspace.run import RunState
from tests.faults.conftest import MakeStage
from tests.faults.scale import Scale, full
from tests.faults.stage import GPUS, PATIENCE_S, Stage, runs_module, wait_for
from tests.faults.tally import Tally
from tests.ssl_console.tui.terminal import Terminal, console_command
from tests.ssl_console.tui.terminal import start as start_terminal

GROUP = "killed processes"

SEED = 20_261_125
CAMPAIGNS = 6 if full() else 1
KILLS_A_ROUND = 2
RUNS_A_ROUND = 4
FIRST_ROUND_S = 3.0
"""Kills occur within the duration of a round's runs, estimated from the previous rounds."""
NAMES = {"worker": "a worker", "supervisor": "the supervisor", "console": "the console", "command": "`run`"}
KILLS = [(victim, number) for victim in NAMES for number in (signal.SIGKILL, signal.SIGHUP)]
SECONDS = 0.6
SHARE_AT_WORK = 0.6
OUTCOME = "every result there once, the rest resumed or with its reason, no process and no GPU held"
REAL = ("-b", "demo/random", "-t", "knn/digits")


@dataclass
class Campaign:
    """Rounds of a tiny workload on two simulated GPUs; in each, processes are killed at random moments."""

    stage: Stage
    chance: random.Random
    console: Terminal | None = None
    done: Counter[tuple[str, signal.Signals]] = field(default_factory=Counter)
    runs: int = 0
    took: deque[float] = field(default_factory=lambda: deque([FIRST_ROUND_S], maxlen=3))
    """Seconds from the start of each of the last rounds to its last result."""

    def round(self) -> None:
        """Start a few runs, kill at some moments, check after each, and let the same command finish the rest."""
        begun = time.time()
        seeds = list(range(self.runs, self.runs + RUNS_A_ROUND))
        self.runs += RUNS_A_ROUND
        self._have_console()
        command = self.stage.start(*self.stage.run_arguments(seeds, seconds=SECONDS))
        for _ in range(KILLS_A_ROUND):
            self._await_moment()
            self._strike()
            self.stage.check_soon()
        self.stage.finish(command)
        if not self._all_done():
            self.stage.run_to_the_end(seeds, seconds=SECONDS)
        self.stage.check_at_rest()
        self.took.append(max(status.finished or begun for status in self.stage.statuses().values()) - begun)

    def _all_done(self) -> bool:
        statuses = self.stage.statuses()
        done = {run_id for run_id, status in statuses.items() if status.state is RunState.DONE}
        return len(done) == self.runs and self.stage.stored() == done

    def _have_console(self) -> None:
        if self.console is None or self.console.exit_code is not None:
            command = console_command(self.stage.workspace)
            self.console = start_terminal(command, environment=self.stage.environment)
            self.console.until_shown("Plan", patience_s=PATIENCE_S)
            self.console.press("2")

    def _await_moment(self) -> None:
        """Any moment of the round; or one during a run, so that not most of them fall between runs."""
        if self.chance.random() < SHARE_AT_WORK and wait_for(self._at_work, min(self.took)):
            self._pass_time(self.chance.uniform(0, SECONDS))
        else:
            self._pass_time(self.chance.uniform(0, min(self.took) / KILLS_A_ROUND))

    def _at_work(self) -> bool:
        states = {status.state for status in self.stage.statuses().values()}
        return bool(states & {RunState.STARTING, RunState.RUNNING})

    def _pass_time(self, seconds: float) -> None:
        """Read the console's output meanwhile: a terminal that is not read would block."""
        if self.console is not None and self.console.exit_code is None:
            self.console.watch(seconds)
        else:
            wait_for(lambda: False, seconds)

    def _strike(self) -> None:
        """Kill the kind of process that has been killed least often so far."""
        by_chance = self.chance.sample(KILLS, len(KILLS))
        for victim, number in sorted(by_chance, key=lambda kill: self.done[kill]):
            if self._hit(victim, number):
                self.done[victim, number] += 1
                return

    def _hit(self, victim: str, number: signal.Signals) -> bool:
        """Send the signal; return whether the process existed."""
        if victim == "console":
            return self._hit_console(number)
        pids = sorted(self._pids(victim))
        if not pids:
            return False
        try:
            psutil.Process(self.chance.choice(pids)).send_signal(number)
        except psutil.NoSuchProcess:
            return False
        return True

    def _hit_console(self, number: signal.Signals) -> bool:
        if self.console is None or self.console.exit_code is not None:
            return False
        if number is signal.SIGHUP:
            self.console.hang_up()
        else:
            self.console.signal(number)
        self.console.until_ended(PATIENCE_S)
        return True

    def _pids(self, victim: str) -> set[int]:
        """All processes of that kind, including those about to start or exit."""
        if victim == "command":
            return {pid for pid, (process, _) in self.stage.started.items() if process.poll() is None}
        return {pid for pid in self.stage.processes() if runs_module(pid, f"ssl_console.{victim}")}

    def leave(self) -> None:
        """Close the console."""
        if self.console is not None:
            self.console.clean_up()
            self.console = None


@pytest.fixture
def campaign(make_stage: MakeStage) -> Iterator[Campaign]:
    """A campaign with a random seed, which makes it repeatable except for the moments on the clock."""
    made = Campaign(make_stage(slots=1, devices=GPUS), random.Random(SEED))
    yield made
    made.leave()


@pytest.mark.slow
@pytest.mark.parametrize("campaign_number", range(CAMPAIGNS))
def test_processes_killed_at_random_moments_lose_and_repeat_nothing(
    campaign: Campaign, campaign_number: int, scale: Scale, tally: Tally
) -> None:
    campaign.chance.seed(SEED + campaign_number)
    while campaign.done.total() < scale.kills // CAMPAIGNS or len(campaign.done) < len(KILLS):
        campaign.round()
    campaign.leave()
    campaign.stage.check_all_gone()
    for victim, number in KILLS:
        tally.add(f"{NAMES[victim]} killed by {number.name} at a random moment", campaign.done[victim, number], OUTCOME)


@pytest.mark.slow
def test_result_that_a_killed_supervisor_left_in_its_run_folder_is_collected_by_the_same_command(stage: Stage) -> None:
    stage.run_to_the_end([0])
    stage.check_all_gone()
    stage.workspace.results.unlink()
    assert stage(*stage.run_arguments([0])).code == 0
    assert stage.stored() == set(stage.seeds())


@pytest.mark.slow
def test_real_evaluation_killed_at_random_moments_comes_to_the_same_number(
    make_stage: MakeStage, scale: Scale, tally: Tally
) -> None:
    chance = random.Random(SEED)
    stage = make_stage(slots=1, SSL_CONSOLE_PROTOCOLS="")
    begun = time.monotonic()
    undisturbed, _ = _real_result(stage, 0)
    whole_s = time.monotonic() - begun
    hits = 0
    for seed in range(1, scale.real_kills + 1):
        shutil.rmtree(stage.workspace.features)
        stage.workspace.features.mkdir()
        command = stage.start("run", *REAL, "--seed", str(seed))
        assert wait_for(stage.workers, PATIENCE_S)
        wait_for(lambda: False, chance.uniform(0, whole_s))
        workers = stage.workers()
        if workers:
            os.kill(workers[0], signal.SIGKILL)
            hits += 1
        stage.finish(command)
        assert _real_result(stage, seed)[0] == undisturbed
        stage.check_now()
    tally.add(
        "the worker of a real evaluation (`knn/digits`, encoding from nothing) killed by SIGKILL at a random moment",
        hits,
        "the next attempt carries on and comes to the same score, digit for digit",
    )


def _real_result(stage: Stage, seed: int) -> tuple[tuple[float, ...], str]:
    """Score, interval and run id of a real run that was completed."""
    for _ in range(4):
        if stage("run", *REAL, "--seed", str(seed)).code == 0:
            break
    rows = stage("results", "--json").document["results"]
    (row,) = [row for row in rows if row["seed"] == seed]
    return (row["value"], row["ci_low"], row["ci_high"]), row["run_id"]
