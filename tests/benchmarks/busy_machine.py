"""A worker's computations on a machine whose cores are occupied by two other processes.

    python -m tests.benchmarks.busy_machine [--quick]

Paths, neighbours, features and training steps, each in a process of its own with all cores: alone, and next to two
processes that spin, with the environment of a worker, whose idle threads sleep, and with the libraries' defaults, whose
idle threads spin. Processor time above that of the undisturbed machine is spent waiting. Less than four minutes.
"""

from __future__ import annotations

import functools
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ssl_console.launchers.base import Resources
from ssl_console.launchers.local.launcher import worker_environment
from ssl_console.system.device import Device
from tests.benchmarks._comparison import Timing, in_turns, row
from tests.benchmarks._options import ROOT, parser
from tests.benchmarks._record import Figure, keep, tell

WORKER, DEFAULT = "a worker", "the libraries' default waiting"
LIMIT = 1.2
"""Processor time next to other processes, relative to that of the machine alone."""
STOPPED_S = 20.0
"""Seconds after which a computation that spins is stopped; its ratio is then a lower bound."""
SPIN = "while True: pass"
START = """
import tempfile
from pathlib import Path
import numpy as np
import torch
from tests.benchmarks._comparison import timed
def ready():
    print("ready", flush=True)
    input()
"""
PATH = """
from tests.benchmarks._features import made_up
from tests.benchmarks.linear_path import selected
data = made_up({size}, 0.3)
selected(made_up(60, 16, 3, 0.3))
ready()
timing, _ = timed(lambda: selected(data))
"""
NEIGHBOURS = """
from tasks.solvers.nearest_neighbours import nearest
rows = np.random.default_rng(0).standard_normal((41_000, 512)).astype(np.float16)
ready()
timing, _ = timed(lambda: nearest(rows[40_000:].astype(np.float32), rows[:40_000], 20))
"""
FEATURES = """
from tests.benchmarks._photographs import photographs
from tests.benchmarks.extraction import SIZE, Subject
with tempfile.TemporaryDirectory() as folder:
    subject = Subject.on(Path(folder), "resnet18", photographs(Path(folder), 32, SIZE))
    ready()
    timing, _ = timed(subject.pipeline)
"""
TRAINING = """
import timm
model = timm.create_model("resnet18", num_classes=10)
optimiser = torch.optim.SGD(model.parameters(), 0.01)
def steps():
    for _ in range(5):
        loss = model(torch.randn(16, 3, 96, 96)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
ready()
timing, _ = timed(steps)
"""
END = "print(timing.wall_s, timing.cpu_s)"
JOBS = {
    "path of 1,000 x 512, 4 classes": PATH.format(size="1_000, 512, 4"),
    "path of 4,000 x 512, 10 classes": PATH.format(size="4_000, 512, 10"),
    "20 neighbours of 1,000 in 40,000 x 512": NEIGHBOURS,
    "features of 32 photographs, ResNet-18": FEATURES,
    "5 training steps of ResNet-18": TRAINING,
}


class StoppedTiming(Timing):
    """Times until a computation was stopped."""


def main() -> int:
    """Print and store the comparisons and the ratio of processor times."""
    given = parser(__doc__).parse_args()
    turns = 1 if given.quick else 2
    rows, figures = [], []
    for name, job in JOBS.items():
        alone = [in_process(job, worker=True, others=0) for _ in range(turns)]
        ways = {
            WORKER: functools.partial(in_process, job, worker=True, others=2),
            DEFAULT: functools.partial(in_process, job, worker=False, others=2),
        }
        timings = in_turns(ways, turns)
        stopped = any(isinstance(one, StoppedTiming) for one in timings[DEFAULT])
        title = f"{name}, two other processes spin"
        rows.append(row(title, DEFAULT, timings[WORKER], timings[DEFAULT], at_least=stopped))
        ratio = min(one.cpu_s for one in timings[WORKER]) / min(one.cpu_s for one in alone)
        figures.append(Figure(f"{name}: processor time next to two spinning processes", ratio, "x", LIMIT))
        keep("busy_machine", "On an occupied machine, all cores", rows, given.results, figures)
        tell(rows[-1])
        tell(figures[-1])
    return 0


def in_process(job: str, *, worker: bool, others: int) -> Timing:
    """Duration of a computation in a new process, without its start, while `others` processes spin."""
    cores = os.cpu_count() or 1
    plain = {
        name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "MKL_", "OPENB"))
    }
    resources = Resources(device=Device("cpu", ""), slot="cpu/0", threads=cores)
    environment = {**(worker_environment(resources, plain) if worker else plain), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", f"{START}{job}{END}"],
        cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise subprocess.CalledProcessError(process.wait(), job)
        with spinning(others):
            return _finished(process, None if worker else STOPPED_S)


def _finished(process: subprocess.Popen[str], limit_s: float | None) -> Timing:
    """Let the computation begin, and wait for its duration, or stop it after `limit_s` seconds."""
    began = time.perf_counter()
    try:
        output, _ = process.communicate("\n", timeout=limit_s)
    except subprocess.TimeoutExpired:
        wall_s, before = time.perf_counter() - began, _children_cpu_s()
        process.kill()
        process.wait()
        return StoppedTiming(wall_s, _children_cpu_s() - before)
    wall, cpu = map(float, output.split())
    return Timing(wall, cpu)


def _children_cpu_s() -> float:
    """Processor time of the processes that have been waited for; that of imports is part of it."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def spinning(count: int) -> Iterator[None]:
    """Processes that occupy a core each."""
    others = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


if __name__ == "__main__":
    sys.exit(main())
