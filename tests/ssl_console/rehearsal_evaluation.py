"""Evaluation of the protocol `rehearsal`."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from backbones.catalog.card import BackboneCard
from tasks.catalog.spec import TaskSpec
from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import DataError
from tasks.evaluation.result import Evaluation, EvaluationPaths, Provenance
from tasks.metrics.outcome import Interval, Outcome
from tasks.reporter import Reporter
from tests.ssl_console.rehearsal import RehearsalParameters

CARD_FULL = (
    "CUDA out of memory. Tried to allocate 512.00 MiB. GPU 0 has a total capacity of 8.00 GiB of which 64.00 MiB is "
    "free. Including non-PyTorch memory, this process has 4.00 GiB memory in use."
)
"""As torch words it."""


def evaluate_task(
    card: BackboneCard,
    task: TaskSpec,
    dataset_card: DatasetCard,
    *,
    seed: int,
    paths: EvaluationPaths,
    reporter: Reporter,
    batch_size: int,
    **_machine: Any,
) -> Evaluation:
    """Record the start, work, produce the outcome, record the end."""
    parameters = task.typed_parameters()
    assert isinstance(parameters, RehearsalParameters)
    _note(paths, f"begin {card.name} {task.name} {seed} {os.getpid()}")
    _work(parameters, reporter)
    _resume(parameters, paths, reporter)
    _meet(parameters, batch_size, paths, reporter)
    _note(paths, f"finish {card.name} {task.name} {seed} {os.getpid()}")
    outcome = Outcome(
        headline="accuracy",
        metrics={"accuracy": float("nan") if parameters.fate == "nan" else parameters.value},
        interval=Interval(parameters.value - 1, parameters.value + 1),
        samples={"test": 100},
        predictions={"classes": np.arange(3)} if parameters.fate == "predict" else {},
    )
    facts = Provenance(
        backbone_identity={"name": card.name},
        weights_digest="0" * 64,
        manifest_digest=dataset_card.name,
        dimension=1,
        encoded=0,
        hits={},
        images_per_s=None,
    )
    return Evaluation(outcome, facts)


def assist_task(
    card: BackboneCard,
    task: TaskSpec,
    _dataset: DatasetCard,
    *,
    paths: EvaluationPaths,
    while_waiting: Callable[[], None],
    **_machine: Any,
) -> int:
    """Record the start, and help until the run is over."""
    _note(paths, f"assist {card.name} {task.name} - {os.getpid()}")
    parameters = task.typed_parameters()
    assert isinstance(parameters, RehearsalParameters)
    if parameters.fate == "encode-alone":
        raise ValueError("told to fail")
    while True:
        while_waiting()
        time.sleep(0.02)


def journal(features: Path) -> list[list[str]]:
    """Records of every evaluation so far: begin or finish, backbone, task, seed, pid, node and GPU of a cluster."""
    path = features / "journal"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def _note(paths: EvaluationPaths, line: str) -> None:
    where = f"{os.environ.get('SLURMD_NODENAME', '-')} {os.environ.get('CUDA_VISIBLE_DEVICES') or '-'}"
    with (paths.features / "journal").open("a") as file:
        file.write(f"{line} {where}\n")


def _work(parameters: RehearsalParameters, reporter: Reporter) -> None:
    steps = max(1, round(parameters.seconds / 0.02))
    reporter.phase("rehearsing", steps, "images")
    for step in range(steps):
        time.sleep(parameters.seconds / steps)
        reporter.advance()
        reporter.metric("accuracy", 100 * (step + 1) / steps, step=step)
    print(f"{steps} steps done")


def _resume(parameters: RehearsalParameters, paths: EvaluationPaths, reporter: Reporter) -> None:
    """Count steps until it may finish, starting where an earlier attempt stopped."""
    if parameters.fate != "resume" or paths.checkpoint is None:
        return
    kept = paths.checkpoint / "step"
    step = int(kept.read_text()) if kept.exists() else 0
    if step:
        print(f"carries on from step {step}", flush=True)
    while not (paths.features / "go").exists():
        step += 1
        paths.checkpoint.mkdir(exist_ok=True)
        (paths.checkpoint / "new").write_text(str(step))
        (paths.checkpoint / "new").replace(kept)
        reporter.advance()
        sum(range(100_000))
        time.sleep(0.02)


def _meet(parameters: RehearsalParameters, batch_size: int, paths: EvaluationPaths, reporter: Reporter) -> None:
    go = paths.features / "go"
    match parameters.fate:
        case "wait":
            _wait_for(go)
        case "encode" | "encode-alone":
            _encode_until(go, reporter)
        case "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            _wait_for(go)
        case "children":
            (paths.features / "children").write_text(" ".join(map(str, _have_children())))
            _wait_for(go)
        case "shout":
            subprocess.run(["echo", "shouted by another program"], check=True)
        case "hang":
            time.sleep(600)
        case _:
            _fail(parameters, batch_size)


def _encode_until(path: Path, reporter: Reporter) -> None:
    """Report an extraction that needs hours."""
    reporter.phase("encoding train", 10**6, "images")
    while not path.exists():
        reporter.advance()
        sum(range(100_000))
        time.sleep(0.01)


def _fail(parameters: RehearsalParameters, batch_size: int) -> None:
    match parameters.fate:
        case "raise":
            raise ValueError("told to fail")
        case "exit":
            os._exit(parameters.code)
        case "full-disk":
            raise OSError(errno.ENOSPC, "No space left on device", "/data/features.npy")
        case "data":
            raise DataError("/data/missing is not there: fetch it")
        case "oom":
            raise MemoryError("told to run out")
        case "oom-at-full-batch" if batch_size >= 64:
            raise MemoryError("told to run out")
        case "card-oom":
            raise RuntimeError(CARD_FULL)


def _have_children() -> tuple[int | None, int]:
    """One forked child, and one that is another program."""
    forked = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    forked.start()
    return forked.pid, subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid


def _wait_for(path: Path) -> None:
    while not path.exists():
        sum(range(100_000))
        time.sleep(0.01)
