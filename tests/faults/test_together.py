"""Concurrent use: consoles and command lines that submit, cancel and retry the same runs; racing supervisors."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from ssl_console.supervisor.client import is_supervised
from ssl_console.workspace.run import RunState
from tests.faults.conftest import MakeStage
from tests.faults.scale import Scale
from tests.faults.stage import PATIENCE_S, Stage
from tests.faults.tally import Tally
from tests.ssl_console.tui.terminal import Terminal, a_console
from tests.ssl_console.workspace_fixture import eventually

GROUP = "several at once"
SEED = 20_261_125
SEEDS = list(range(8))
SECONDS = 0.3
CONSOLES, COMMAND_LINES = 2, 3
KEYS = ("down", "up", "down", "x", "y", "r", "x", "y", "2", "home", "end", "r")


@dataclass
class CommandLine:
    """A user at a shell who runs one command after another until stopped."""

    stage: Stage
    chance: random.Random
    over: threading.Event
    done: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    """Output that must never occur: a traceback, an undefined exit code."""

    def work(self) -> None:
        """Run further commands."""
        while not self.over.is_set():
            verb = self.chance.choice(("run", "run", "cancel", "cancel", "retry", "retry", "runs", "rank"))
            ended = self.stage(*self._words(verb))
            if ended.code not in (0, 1, 2) or "Traceback" in ended.err:
                self.wrong.append(f"{verb}: {ended.code}: {ended.err[-600:]}")
            self.done[verb] += 1

    def _words(self, verb: str) -> list[str]:
        known = [folder.run_id for folder in self.stage.workspace.run_folders()]
        match verb:
            case "run":
                picked = self.chance.sample(SEEDS, 3)
                return [*self.stage.run_arguments(picked, seconds=SECONDS), "--detach"]
            case "cancel":
                return ["cancel", *self.chance.sample(known, min(2, len(known)))] if known else ["cancel", "--all"]
            case "retry":
                return (
                    ["retry", self.chance.choice(known)]
                    if known and self.chance.random() < 0.7
                    else ["retry", "--failed"]
                )
            case _:
                return [verb, "--json"]


def press_on(consoles: list[Terminal], chance: random.Random, seconds: float) -> int:
    """Press keys on all consoles for this long; return their number."""
    pressed, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        for console in consoles:
            console.press(chance.choice(KEYS))
            console.watch(0.1)
            assert console.exit_code is None, console.tail
            pressed += 1
    return pressed


@pytest.mark.slow
def test_consoles_and_command_lines_on_the_same_runs_lose_and_repeat_nothing(
    stage: Stage, scale: Scale, tally: Tally
) -> None:
    chance, over = random.Random(SEED), threading.Event()
    stage("run", *stage.run_arguments(SEEDS[:4], seconds=SECONDS)[1:], "--detach")
    people = [CommandLine(stage, random.Random(SEED + number), over) for number in range(COMMAND_LINES)]
    threads = [threading.Thread(target=person.work) for person in people]
    with ExitStack() as stack:
        consoles = [
            stack.enter_context(a_console(stage.workspace, environment=stage.environment)) for _ in range(CONSOLES)
        ]
        for console in consoles:
            console.until_shown("1 Plan", patience_s=PATIENCE_S)
            console.press("2")
        for thread in threads:
            thread.start()
        pressed, begun = 0, time.monotonic()
        try:
            while time.monotonic() - begun < scale.together_s or not all(person.done.total() for person in people):
                pressed += press_on(consoles, chance, 1.0)
                stage.check_now()
                assert time.monotonic() - begun < scale.together_s + PATIENCE_S
        finally:
            over.set()
            for thread in threads:
                thread.join(PATIENCE_S)
        for console in consoles:
            for key in ("escape", "escape", "q"):  # separately: an escape followed at once by a letter is another key
                console.press(key)
                console.watch(0.5)
            assert console.until_ended(PATIENCE_S) == 0
    assert [words for person in people for words in person.wrong] == []
    stage.run_to_the_end(SEEDS, seconds=SECONDS)
    stage.check_at_rest()
    assert set(stage.seeds().values()) == set(SEEDS)
    asked = sum((person.done for person in people), Counter())
    counts = ", ".join(f"{count} {verb}" for verb, count in sorted(asked.items()))
    tally.add(
        f"{CONSOLES} consoles and {COMMAND_LINES} command lines on the same {len(SEEDS)} runs for "
        f"{scale.together_s:.0f} s",
        asked.total() + pressed,
        "every result there once, none computed again, no traceback, no process or slot left over "
        f"({counts}, {pressed} keys)",
    )


def race(stage: Stage, words: list[str]) -> None:
    """Start four supervisors at once; all are ended again."""
    racers = [
        subprocess.Popen(words, env=stage.environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        for _ in range(4)
    ]
    try:
        eventually(lambda: sum(one.poll() is not None for one in racers) == 3, "three have given up", PATIENCE_S)
        (winner,) = [one for one in racers if one.poll() is None]
        eventually(lambda: stage.supervisor_pid() == winner.pid, "the fourth supervises", PATIENCE_S)
        for loser in (one for one in racers if one is not winner):
            assert loser.stderr is not None
            errors = loser.stderr.read()
            assert (loser.returncode, f"{stage.workspace.root} already has a supervisor" in errors) == (1, True), errors
            assert f'"pid":{winner.pid}' in errors or "unknown" in errors, errors
    finally:
        for one in racers:
            one.kill()
            one.communicate()


@pytest.mark.slow
def test_of_supervisors_that_race_for_the_lock_one_works_and_the_others_name_it(
    make_stage: MakeStage, scale: Scale, tally: Tally
) -> None:
    stage = make_stage(slots=1)
    words = [
        sys.executable,
        "-P",
        "-m",
        "ssl_console.supervisor",
        f"--workspace={stage.workspace.root}",
        "--linger-s=600",
    ]
    for _ in range(scale.racers):
        eventually(lambda: not is_supervised(stage.workspace), "nobody holds the lock", PATIENCE_S)
        race(stage, words)
    stage.run_to_the_end([0])
    stage.check_at_rest()
    assert {status.state for status in stage.statuses().values()} == {RunState.DONE}
    tally.add("four supervisors started at once for one workspace", scale.racers, "one works, the others name it")
