"""Any process killed at any moment: every finished result is there once, nothing runs twice, the rest carries on."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import psutil
import pytest

from tests.faults.conftest import MakeStage
from tests.faults.scale import Scale
from tests.faults.stage import PATIENCE_S, Stage, wait_for
from tests.faults.tally import Tally
from tests.tui.terminal import Terminal, console_command
from tests.tui.terminal import start as start_terminal

SEED = 20_261_125
RUNS_A_ROUND = 4
WINDOW_S = 4.0
"""Kills fall into the first so many seconds of a round, which takes about that long."""
VICTIMS = ("worker", "supervisor", "console", "command")
SIGNALS = (signal.SIGKILL, signal.SIGHUP)
SECONDS = 0.2
REAL = ("-b", "demo/random", "-t", "knn/digits")


@dataclass
class Campaign:
    """Rounds of a tiny workload; in each, one process is killed at a random moment."""

    stage: Stage
    chance: random.Random
    console: Terminal | None = None
    done: Counter[str] = field(default_factory=Counter)
    next_seed: int = 0
    _deck: list[tuple[str, signal.Signals]] = field(default_factory=list)

    def round(self) -> None:
        """Start a few runs, kill somebody, look, and let the same command finish the rest."""
        seeds = list(range(self.next_seed, self.next_seed + RUNS_A_ROUND))
        self.next_seed += RUNS_A_ROUND
        self._have_console()
        command = self.stage.start(*self.stage.run_arguments(seeds, seconds=SECONDS))
        victim, number = self._draw()
        self._pass_time(self.chance.uniform(0, WINDOW_S))
        if self._strike(victim, number, command.pid):
            self.done[f"{victim} {number.name}"] += 1
        self.stage.check_now()
        self.stage.run_to_the_end(seeds, seconds=SECONDS)
        self.stage.finish(command)
        self.stage.check_at_rest()

    def _draw(self) -> tuple[str, signal.Signals]:
        """The next victim, from a shuffled deck, so that few rounds meet all of them too."""
        if not self._deck:
            self._deck = [(victim, number) for victim in VICTIMS for number in SIGNALS]
            self.chance.shuffle(self._deck)
        return self._deck.pop()

    def _have_console(self) -> None:
        if self.console is None or self.console.exit_code is not None:
            command = console_command(self.stage.workspace)
            self.console = start_terminal(command, environment=self.stage.environment)
            self.console.until_shown("Plan")
            self.console.press("2")

    def _pass_time(self, seconds: float) -> None:
        """Let the console draw meanwhile: a terminal that nobody reads would stand still."""
        assert self.console is not None
        self.console.watch(seconds)

    def _strike(self, victim: str, number: signal.Signals, command: int) -> bool:
        """Kill; whether there was something to kill."""
        if victim == "console":
            return self._strike_console(number)
        found: list[int] = []

        def there() -> bool:
            found[:] = self._pids(victim, command)
            return bool(found)

        if not wait_for(there, 10):
            return False
        try:
            psutil.Process(self.chance.choice(found)).send_signal(number)
        except psutil.NoSuchProcess:
            return False
        return True

    def _pids(self, victim: str, command: int) -> list[int]:
        if victim == "worker":
            return self.stage.workers()
        if victim == "supervisor":
            pid = self.stage.supervisor_pid()
            return [pid] if pid else []
        return [command] if psutil.pid_exists(command) else []

    def _strike_console(self, number: signal.Signals) -> bool:
        assert self.console is not None
        if number is signal.SIGHUP:
            self.console.hang_up()
        else:
            self.console.signal(number)
        self.console.until_ended()
        return True

    def leave(self) -> None:
        """Close the console."""
        if self.console is not None:
            self.console.clean_up()
            self.console = None


@pytest.fixture
def campaign(stage: Stage) -> Iterator[Campaign]:
    """A campaign with a seed, so that it can be repeated; the moments on the clock cannot."""
    made = Campaign(stage, random.Random(SEED))
    yield made
    made.leave()


@pytest.mark.slow
def test_processes_killed_at_random_moments_lose_and_repeat_nothing(
    campaign: Campaign, scale: Scale, tally: Tally
) -> None:
    begun = time.monotonic()
    while campaign.done.total() < scale.kills:
        campaign.round()
    campaign.leave()
    campaign.stage.check_all_gone()
    assert set(campaign.done) == {f"{victim} {number.name}" for victim in VICTIMS for number in SIGNALS}
    counts = ", ".join(f"{count} {name}" for name, count in sorted(campaign.done.items()))
    minutes = (time.monotonic() - begun) / 60
    tally.add(
        f"a process killed at a random moment of a workload of {campaign.next_seed} tiny runs ({counts})",
        campaign.done.total(),
        "database readable after each; every result there once, none computed again, no process or slot left over "
        f"({minutes:.0f} minutes)",
    )


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
        "the worker of a real evaluation (knn/digits, encoding from nothing) killed by SIGKILL at a random moment",
        hits,
        "the next attempt carries on and comes to the same score, digit for digit",
    )


def _real_result(stage: Stage, seed: int) -> tuple[tuple[float, ...], str]:
    """Score, interval and run id of a real run that was brought to its end."""
    for _ in range(4):
        if stage("run", *REAL, "--seed", str(seed)).code == 0:
            break
    rows = stage("results", "--json").document["results"]
    (row,) = [row for row in rows if row["seed"] == seed]
    return (row["value"], row["ci_low"], row["ci_high"]), row["run_id"]
