"""Workspaces after long use: results in the database, ended runs, active runs.

Everything is in the engine's formats, written by its own code where possible.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from itertools import takewhile
from pathlib import Path
from subprocess import PIPE, Popen

from pydantic import JsonValue

from backbones.catalog.card import BackboneCard
from backbones.catalog.catalog import BackboneCatalog
from backbones.io.files import make_private_folder
from ssl_console.operations.checkpoints.record import (
    WatchedCheckpoint,
    WatchedTraining,
    training_folder,
    write_training,
)
from ssl_console.system.device import Device, DeviceProcess, Reading
from ssl_console.system.processes import own_start, this_host
from ssl_console.tui.data.devices import DeviceUser, DeviceView
from ssl_console.workspace.events import Event, encode_event
from ssl_console.workspace.paths import RunFolder, Workspace
from ssl_console.workspace.requests import submit, touch_runs_folder
from ssl_console.workspace.result import Result, ResultRecord
from ssl_console.workspace.results_db import ResultStore
from ssl_console.workspace.run import Attempt, End, RunSpec
from ssl_console.workspace.supervisor_state import DeviceState, SlotState, SupervisorState
from tasks.catalog.catalog import TaskCatalog
from tasks.metrics.outcome import OVER_POOLS

NOW = 1_750_000_000.0
"""Time of the events, in seconds since the epoch."""
RELIABILITY: dict[str, JsonValue] = {
    "confidence": [None, 0.15, 0.35, 0.55, 0.75, 0.95],
    "accuracy": [None, 0.22, 0.31, 0.48, 0.71, 0.93],
}
"""A calibration diagram; the first bin is empty."""
HOST = DeviceView(
    "cpu",
    "Test CPU, 16 cores",
    12.0,
    21_400.0,
    128_000.0,
    users=(DeviceUser(4242, "worker", 5300.0, ours=True, role="demo/simclr on linear/digits"),),
)
"""The host in tests."""
WRITERS = Path(__file__).with_name("writers.py")
OWN_CARD = """
title = "Own network {number}"
architecture = "test_resnet"
weights = {{ kind = "random", seed = {number} }}
facts = {{ method = "{method}", parameters_millions = {millions} }}
"""


@cache
def task_catalog() -> TaskCatalog:
    """The built-in tasks."""
    return TaskCatalog.load([])


@cache
def backbone_catalog() -> BackboneCatalog:
    """The built-in backbones."""
    return BackboneCatalog.load([], Path("/nonexistent"))


def backbone_names(count: int) -> list[str]:
    """The first `count` built-in backbones."""
    return list(backbone_catalog().cards)[:count]


def task_names(count: int) -> list[str]:
    """The first `count` built-in tasks."""
    return list(task_catalog().task_names)[:count]


def own_backbones(workspace: Workspace, count: int) -> list[str]:
    """Create user cards; return their names."""
    folder = workspace.backbones / "own"
    folder.mkdir()
    for number in range(count):
        text = OWN_CARD.format(number=number, method=("DINO", "MoCo", "MAE")[number % 3], millions=5 + number % 90)
        (folder / f"net-{number:03d}.toml").write_text(text)
    return [f"own/net-{number:03d}" for number in range(count)]


def result(backbone: str, task: str, *, run_id: str = "", seed: int = 0) -> Result:
    """A plausible result, the same one for the same arguments."""
    chance = random.Random(f"{backbone} {task} {seed}")
    value = 40 + 55 * chance.random()
    return Result(
        run_id=run_id or f"{chance.getrandbits(48):012x}",
        key=f"{chance.getrandbits(64):016x}",
        backbone=backbone,
        task=task,
        column=f"{random.Random(task).getrandbits(64):016x}",
        seed=seed,
        metric="accuracy",
        value=value,
        ci_low=value - 0.7,
        ci_high=value + 0.7,
        n=8000,
        interval_method=OVER_POOLS if task.startswith("few-shot") else "wilson",
        finished=NOW + 3600 * chance.random(),
        duration_s=60 + 600 * chance.random(),
        images_per_s=500 * chance.random(),
        memory_mb=2000.0,
        device="cuda:0",
    )


def fill_results(workspace: Workspace, backbones: Sequence[str], tasks: Sequence[str], limit: int | None = None) -> int:
    """A result for every pair, or for the first so many; how many the database then holds."""
    results = [result(backbone, task) for backbone in backbones for task in tasks]
    return ResultStore(workspace).add(results[:limit])


def spec(run_id: str, backbone: str, task: str, seed: int = 0) -> RunSpec:
    """What `run.json` says of a built-in backbone, or one of the user's own, on a built-in task."""
    known = backbone_catalog().cards
    card: BackboneCard = known.get(backbone) or known["demo/random"].model_copy(update={"name": backbone})
    of_task = task_catalog().resolve(task)
    dataset = task_catalog().dataset(of_task.dataset)
    return RunSpec(run_id=run_id, key=None, backbone=card, task=of_task, dataset=dataset, seed=seed, created=NOW)


def queue(workspace: Workspace, run_id: str, backbone: str, task: str, seed: int = 0) -> RunFolder:
    """A waiting run."""
    return submit(workspace, run_id, spec(run_id, backbone, task, seed).model_dump_json(indent=2).encode())


def go_on(workspace: Workspace, run_id: str, backbone: str, task: str, *, done: int, seed: int = 0) -> None:
    """An active run at a step of 100; this process is its worker."""
    folder = workspace.runs / run_id
    folder.mkdir(mode=0o700)
    files = RunFolder.at(folder)
    owner = Attempt(
        attempt=1, host=this_host(), pid=os.getpid(), pid_started=own_start(), device="cuda:0", started=NOW + 1700
    )
    files.spec.write_text(spec(run_id, backbone, task, seed).model_dump_json(indent=2))
    files.attempt(1).write_text(owner.model_dump_json())
    told = takewhile(lambda event: event.done <= done, story(steps=100, began=NOW + 1790))
    files.events(1).write_bytes(b"".join(encode_event(event) for event in told))
    touch_runs_folder(workspace)


def supervise(workspace: Workspace) -> None:
    """A supervisor that lives (this process) and says something about a GPU and what waits."""
    make_private_folder(workspace.supervisor)
    gpu = Device("cuda:0", "NVIDIA H100 80GB", "GPU-0", 81559.0)
    users = (DeviceProcess(4242, "worker", 5300.0, ours=True), DeviceProcess(812, "alice", 68000.0, command="train"))
    state = SupervisorState(
        host=this_host(),
        pid=os.getpid(),
        pid_started=own_start(),
        started=NOW,
        slots=(SlotState(name="cuda:0/1", device="cuda:0", worker=4242, run_id="c" * 12, backbone="demo/simclr"),),
        devices=(DeviceState(device=gpu, reading=Reading(81559.0, 73300.0, 97.0, 61.0, 640.0, users, 700.0)),),
        waiting=dict.fromkeys(("a" * 12, "b" * 12), "needs 18 GB, cuda:0 has 8 free: pid 812 of alice holds 66"),
    )
    workspace.supervisor_state.write_text(state.model_dump_json())


def help_with(workspace: Workspace, run_id: str) -> None:
    """The supervisor of `supervise` with a second GPU, whose worker computes features for a run of the first."""
    state = SupervisorState.model_validate_json(workspace.supervisor_state.read_bytes())
    first = state.devices[0]
    gpu = replace(first.device, name="cuda:1", uuid="GPU-1")
    users = (DeviceProcess(4243, "worker", 5100.0, ours=True),)
    slots = (
        SlotState(name="cuda:0/1", device="cuda:0", worker=4242, run_id=run_id, backbone="demo/simclr"),
        SlotState(name="cuda:1/0", device="cuda:1", worker=4243, assists=run_id, backbone="demo/simclr"),
    )
    second = DeviceState(device=gpu, reading=Reading(81559.0, 74100.0, 92.0, 58.0, 610.0, users, 700.0))
    told = state.model_copy(update={"slots": slots, "devices": (first, second)})
    workspace.supervisor_state.write_text(told.model_dump_json())


def finish(
    workspace: Workspace, run_id: str, backbone: str, task: str, seed: int = 0, *, failed: bool = False
) -> Result:
    """An ended run with its events, log, end and, unless it failed, its result; the database is unchanged."""
    folder = workspace.runs / run_id
    folder.mkdir(mode=0o700)
    files = RunFolder.at(folder)
    left = result(backbone, task, run_id=run_id, seed=seed)
    owner = Attempt(attempt=1, host=this_host(), pid=2**22 + 1, pid_started=NOW, device="cuda:0", started=NOW)
    files.spec.write_text(spec(run_id, backbone, task, seed).model_dump_json(indent=2))
    files.attempt(1).write_text(owner.model_dump_json())
    files.events(1).write_bytes(b"".join(encode_event(event) for event in story(steps=100, best=left.value)))
    files.log(1).write_text("".join(f"step {step}\n" for step in range(100)))
    if failed:
        end = End(attempt=1, state="failed", kind="oom", ended=left.finished)
        files.end(1).write_text(end.model_dump_json())
    else:
        record = ResultRecord(
            result=left,
            metrics={"accuracy": left.value, "ece": 3.2},
            interval_method="wilson",
            samples={"train": 40_000, "val": 10_000, "test": left.n},
            hyperparameters={"C": 5.62341},
            diagnostics={"reliability": RELIABILITY, "converged": True},
            parameters={"strengths": 45, "solver": "exact"},
            versions={"torch": "2.15.0", "python": "3.11.7"},
        )
        files.result.write_text(record.model_dump_json(indent=2))
        os.utime(files.result, (left.finished, left.finished))
    return left


def fill_runs(workspace: Workspace, backbones: Sequence[str], tasks: Sequence[str], limit: int) -> list[Result]:
    """A number of ended runs, every tenth of them failed; returns the results of the others."""
    pairs = [(backbone, task) for backbone in backbones for task in tasks][:limit]
    found = [
        (number % 10 == 9, finish(workspace, f"{number:012x}", *pair, failed=number % 10 == 9))
        for number, pair in enumerate(pairs)
    ]
    touch_runs_folder(workspace)
    return [one for failed, one in found if not failed]


def used_workspace(root: Path, *, results: int, runs: int) -> Workspace:
    """A workspace with a number of results, some of which have run folders."""
    workspace = Workspace(root).create()
    tasks = task_names(40)
    backbones = backbone_names(results // len(tasks) + 1)
    left = fill_runs(workspace, backbones, tasks, runs)
    pairs = [(backbone, task) for backbone in backbones for task in tasks][runs:results]
    ResultStore(workspace).add([*left, *(result(*pair) for pair in pairs)])
    return workspace


def watch_training(workspace: Workspace, means: Sequence[float]) -> None:
    """A watched training with the given scores of its checkpoints."""
    tasks = ("knn/digits", "knn/shapes")
    checkpoints = tuple(
        WatchedCheckpoint(
            file=f"step-{step}.pth",
            size=1,
            mtime_ns=step,
            step=step,
            unit="step",
            status="done",
            backbone=f"training/run/step-{step}",
        )
        for step in range(100, 100 * len(means) + 1, 100)
    )
    folder = "/runs/run"
    training = WatchedTraining(folder=folder, name="run", tasks=tasks, checkpoints=checkpoints)
    write_training(training_folder(workspace, Path(folder)), training)
    measured = [
        result(one.backbone, task).model_copy(
            update={"value": mean, "ci_low": mean - 1, "ci_high": mean + 1, "finished": float(one.step)}
        )
        for one, mean in zip(checkpoints, means, strict=True)
        for task in tasks
    ]
    ResultStore(workspace).add(measured)


def story(steps: int, began: float = NOW, best: float = 90.0) -> Iterator[Event]:
    """Events of one attempt in the order written by a worker, at most three per step."""
    yield Event("started", began, device="cuda:0")
    yield Event("phase", began, name="encoding", total=steps, unit="images")
    for step in range(1, steps + 1):
        moment = began + step * 0.02
        yield Event("advance", moment, done=step)
        if step % 5 == 0:
            yield Event("metric", moment, name="accuracy", value=best - 60 / step, step=float(step))
        if step % 25 == 0:
            yield Event("resources", moment, images_per_s=200.0 + step % 7, memory_mb=900.0, device_memory_mb=2100.0)


@contextmanager
def writers(workspace: Workspace, run_ids: Sequence[str], *, rate: float, events: int = 0) -> Iterator[Popen[bytes]]:
    """A process for each of these queued runs that claims it and appends `rate` events a second.

    With `events` each ends after so many and the run is done; otherwise they go on until the block is left. They have
    claimed their runs when this returns. Rate 0 means as fast as they can.
    """
    command = [sys.executable, "-P", str(WRITERS), str(workspace.root), str(rate), str(events), *run_ids]
    process = Popen(command, stdin=PIPE, stdout=PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n", "the writers did not start"
        yield process
    finally:
        process.communicate()
