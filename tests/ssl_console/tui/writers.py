"""One process per run, each appending events at a given rate, like a worker. Started by path: see `filled.writers`.

python -P tests/ssl_console/tui/writers.py WORKSPACE RATE EVENTS RUN...
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from backbones.io.files import write_atomically
from ssl_console.system.processes import signal_process
from ssl_console.worker.claim import claim
from ssl_console.worker.reporter import EventLog
from ssl_console.workspace.events import Event, encode_event
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.requests import touch_runs_folder
from ssl_console.workspace.result import Result, ResultRecord

PHASE = 3000
"""Steps of a phase: a minute at 50 events a second."""
BATCH = 200
"""Events written at once without a rate."""


def main() -> None:
    """Fork a writer for every run; end them when standard input closes, or on a signal."""
    root, rate, events, *run_ids = sys.argv[1:]
    workspace = Workspace(Path(root))
    pids = [_fork(workspace, run_id, float(rate), int(events), place) for place, run_id in enumerate(run_ids)]
    _await_claims(workspace, run_ids)
    print("ready", flush=True)
    try:
        sys.stdin.read()
    finally:
        for pid in pids:
            signal_process(pid, signal.SIGKILL)


def _await_claims(workspace: Workspace, run_ids: list[str]) -> None:
    while not all(workspace.run(run_id).events(1).exists() for run_id in run_ids):
        time.sleep(0.01)


def _fork(workspace: Workspace, run_id: str, rate: float, events: int, place: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = claim(workspace, run_id, f"cuda:{place % 8}")
    if status is None:
        os._exit(1)
    folder = workspace.run(run_id)
    if rate:
        _write_paced(EventLog(folder.events(status.attempt)), rate, events, place)
    else:
        _write_fast(folder.events(status.attempt), events)
    write_atomically(folder.result, _record(run_id).model_dump_json().encode())
    touch_runs_folder(workspace)
    os._exit(0)


def _record(run_id: str) -> ResultRecord:
    left = Result(
        run_id=run_id,
        key=run_id,
        backbone="demo/random",
        task="knn/digits",
        column="none",
        seed=0,
        metric="accuracy",
        value=50.0,
        ci_low=49.0,
        ci_high=51.0,
        n=100,
        finished=time.time(),
        duration_s=1.0,
    )
    return ResultRecord(result=left, metrics={"accuracy": 50.0}, interval_method="wilson", samples={"test": 100})


def _write_paced(log: EventLog, rate: float, events: int, place: int) -> None:
    started = time.monotonic() + place / 64 / rate
    for number, event in enumerate(endless()):
        if events and number >= events:
            return
        time.sleep(max(0.0, started + number / rate - time.monotonic()))
        log.write(event)


def _write_fast(path: Path, events: int) -> None:
    with path.open("ab", buffering=0) as file:
        lines: list[bytes] = []
        for number, event in enumerate(endless()):
            if events and number >= events:
                break
            lines.append(encode_event(event))
            if len(lines) == BATCH:
                file.write(b"".join(lines))
                lines.clear()
        file.write(b"".join(lines))


def endless() -> Iterator[Event]:
    """What a worker reports: phases of `PHASE` events; of them one in five a metric, one in fifty its resources."""
    yield Event("started", time.time(), device="cuda:0")
    step = 0
    while True:
        step += 1
        place = step % PHASE
        if place == 1:
            yield Event("phase", time.time(), name=f"epoch {step // PHASE + 1}", total=PHASE, unit="images")
        elif step % 50 == 0:
            yield Event("resources", time.time(), images_per_s=200.0 + step % 7, memory_mb=900.0)
        elif step % 5 == 0:
            yield Event("metric", time.time(), name="accuracy", value=90 - 6000 / (step + 100), step=float(step))
        else:
            yield Event("advance", time.time(), done=place)


if __name__ == "__main__":
    main()
