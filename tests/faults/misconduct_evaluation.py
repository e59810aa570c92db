"""Evaluation of the protocol `misconduct`, with the provenance of a real evaluation, so that plan and result agree."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from backbones.catalog.card import BackboneCard
from tasks.catalog.spec import TaskSpec
from tasks.datasets.card import DatasetCard
from tasks.evaluation.result import Evaluation, EvaluationPaths
from tasks.metrics.outcome import Interval, Outcome
from tasks.reporter import Reporter
from tests.faults.misconduct import MisconductParameters
from tests.ssl_console.cli.echo_evaluation import facts_of

STEP_S = 0.02
CHUNK = 1 << 20
FLOOD_BYTES_S = 200e6
HOSTILE = (
    b"\x00\xff\xfe\x80binary\n"
    b"\x1b[2J\x1b[31mred\x1b]0;title\x07\x1b]52;c;aGVsbG8=\x07\x1bP+q544e\x1b\\\n"
    b"\xc2\x9b31m\xc2\x9d0;eight-bit title\xc2\x9c\n"
    b"progress 1\rprogress 2\rdone\x08\x08\n"
    b"[bold red]markup[/] [@click=app.quit]click[/]\n"
)
"""Binary data, escape sequences that clear, colour, set the title and the clipboard, and textual's markup."""


def evaluate_task(
    card: BackboneCard,
    task: TaskSpec,
    dataset_card: DatasetCard,
    *,
    seed: int,
    paths: EvaluationPaths,
    reporter: Reporter,
    **_machine: Any,
) -> Evaluation:
    """Record the start, work, misbehave as configured, record the end."""
    parameters = task.typed_parameters()
    assert isinstance(parameters, MisconductParameters)
    note(paths.features, "begin", seed)
    with _alone(paths.features, f"seed {seed}", seed), _alone(paths.features, _gpu(), seed):
        _work(parameters, reporter)
        if parameters.wait:
            _wait_for(paths.features / "go")
        predictions = _misbehave(parameters, paths, reporter)
    note(paths.features, "finish", seed)
    value = 50.0 + seed % 40
    outcome = Outcome("accuracy", {"accuracy": value}, Interval(value - 1, value + 1), {"test": 100})
    if predictions is not None:
        outcome = Outcome("accuracy", {"accuracy": value}, outcome.interval, {"test": 100}, predictions=predictions)
    return Evaluation(outcome, facts_of(card, dataset_card, paths))


def notes(features: Path) -> list[tuple[str, int, int]]:
    """Records of every evaluation so far: begin, finish or clash, seed, pid."""
    path = features / "journal"
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [(what, int(seed), int(pid)) for what, seed, pid in lines]


def note(features: Path, what: str, seed: int) -> None:
    """Append one line with one write."""
    with (features / "journal").open("a") as file:
        file.write(f"{what} {seed} {os.getpid()}\n")


@contextmanager
def _alone(features: Path, what: str, seed: int) -> Iterator[None]:
    """Hold `what` exclusively in the context; if another process holds it already, record a clash."""
    if not what:
        yield
        return
    with (features / f"alone {what}").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note(features, "clash", seed)
        yield


def _gpu() -> str:
    """GPU assigned to this worker; empty on the CPU, which workers share."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "")


def _work(parameters: MisconductParameters, reporter: Reporter) -> None:
    steps = max(1, round(parameters.seconds / STEP_S))
    reporter.phase("working", steps, "images")
    for step in range(steps):
        time.sleep(parameters.seconds / steps)
        reporter.advance()
        reporter.metric("accuracy", 100 * (step + 1) / steps, step=step)


def _misbehave(parameters: MisconductParameters, paths: EvaluationPaths, reporter: Reporter) -> dict[str, Any] | None:
    match parameters.fate:
        case "predict":
            return {"predicted": np.zeros(parameters.size, np.uint8)}
        case "wait":
            _wait_for(paths.features / "go")
        case "hang":
            threading.Event().wait()
        case "ignore":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            threading.Event().wait()
        case "raise":
            raise RuntimeError(HOSTILE.decode(errors="replace").replace("\n", " "))
        case "leave":
            os._exit(0)
        case "clock":
            time.time = lambda: 1_000_000_000.0
            _work(parameters, reporter)
        case "flood" | "binary" | "warn":
            _talk(parameters, reporter)
        case _:
            _take(parameters, paths)
    return None


def _talk(parameters: MisconductParameters, reporter: Reporter) -> None:
    match parameters.fate:
        case "flood":
            _flood(parameters.size)
        case "binary":
            os.write(1, HOSTILE)
            reporter.warn(HOSTILE.decode(errors="replace"))
        case "warn":
            for number in range(parameters.size):
                reporter.warn(f"warning {number}")
                reporter.metric(f"metric {number}", 1.0)


def _take(parameters: MisconductParameters, paths: EvaluationPaths) -> None:
    match parameters.fate:
        case "allocate":
            _allocate_without_end()
        case "allocate-in-child":
            subprocess.run([sys.executable, "-c", _ALLOCATE], check=False)
            _wait_for(paths.features / "go")
        case "daemons":
            (paths.features / "daemons").write_text(" ".join(map(str, _daemons())))
            _wait_for(paths.features / "go")


_ALLOCATE = "import time\nkept = []\nwhile True:\n    kept.append(bytearray(b'x') * (1 << 24)); time.sleep(0.01)"


def _allocate_without_end() -> None:
    exec(_ALLOCATE)


def _daemons() -> list[int]:
    """A child in a separate session, and a grandchild orphaned by its parent."""
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
    own_session = subprocess.Popen(sleeper, start_new_session=True).pid
    options = "stdout=subprocess.DEVNULL, start_new_session=True"
    script = f"import subprocess; print(subprocess.Popen({sleeper!r}, {options}).pid)"
    orphan = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True).stdout
    return [own_session, int(orphan)]


def _flood(size: int) -> None:
    """Print this many bytes, at the speed of a fast disk."""
    line = b"x" * 199 + b"\n"
    chunk = line * (CHUNK // len(line))
    begun = time.monotonic()
    for number in range(max(1, size // len(chunk))):
        os.write(1, chunk)
        time.sleep(max(0.0, begun + number * len(chunk) / FLOOD_BYTES_S - time.monotonic()))
    print("the flood is over")


def _wait_for(path: Path) -> None:
    while not path.exists():
        sum(range(100_000))
        time.sleep(0.01)
