"""A worker's computations on a machine whose cores are occupied by two other processes.

    python -m tests.benchmarks.busy_machine [--quick]

Paths, neighbours, features and training steps, each in a process of its own with all cores, once with the environment
of a worker, whose idle OpenMP threads sleep, and once with OpenMP's default, whose idle threads spin. Processor time
above that of the undisturbed machine is spent waiting.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ssl_console.launchers.base import Resources
from ssl_console.launchers.local.launcher import worker_environment
from ssl_console.system.device import Device
from tests.benchmarks._comparison import Timing, in_turns, row
from tests.benchmarks._options import ROOT, parser
from tests.benchmarks._record import Figure, keep, tell

WORKER, DEFAULT = "a worker", "OpenMP's default waiting"
SPIN = "while True: pass"
START = """
import tempfile
from pathlib import Path
import numpy as np
import timm
import torch
from tests.benchmarks._comparison import timed
"""
PATH = """
from tests.benchmarks._features import made_up
from tests.benchmarks.linear_path import selected
data = made_up({size}, 0.3)
timing, _ = timed(lambda: selected(data))
"""
NEIGHBOURS = """
from tasks.solvers.nearest_neighbours import nearest
rows = np.random.default_rng(0).standard_normal((41_000, 512)).astype(np.float16)
timing, _ = timed(lambda: nearest(rows[40_000:].astype(np.float32), rows[:40_000], 20))
"""
FEATURES = """
from tests.benchmarks._photographs import photographs
from tests.benchmarks.extraction import SIZE, Subject
with tempfile.TemporaryDirectory() as folder:
    subject = Subject.on(Path(folder), "resnet18", photographs(Path(folder), 32, SIZE))
    timing, _ = timed(subject.pipeline)
"""
TRAINING = """
model = timm.create_model("resnet18", num_classes=10)
optimiser = torch.optim.SGD(model.parameters(), 0.01)
def steps():
    for _ in range(5):
        loss = model(torch.randn(16, 3, 96, 96)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
timing, _ = timed(steps)
"""
END = "print(timing.wall_s, timing.cpu_s)"
JOBS = {
    "path of 1,000 x 512, 4 classes": PATH.format(size="1_000, 512, 4"),
    "20 neighbours of 1,000 in 40,000 x 512": NEIGHBOURS,
    "features of 32 photographs, ResNet-18": FEATURES,
    "5 training steps of ResNet-18": TRAINING,
    "path of 4,000 x 512, 10 classes": PATH.format(size="4_000, 512, 10"),
}


def main() -> int:
    """Print and store the comparisons and the ratio of processor times."""
    given = parser(__doc__).parse_args()
    rows, figures = [], []
    for name, job in list(JOBS.items())[: 4 if given.quick else None]:
        alone = in_process(job, worker=True)
        ways = {
            WORKER: functools.partial(in_process, job, worker=True),
            DEFAULT: functools.partial(in_process, job, worker=False),
        }
        with spinning(2):
            timings = in_turns(ways, 1 if given.quick else 3)
        rows.append(row(f"{name}, two other processes spin", DEFAULT, timings[WORKER], timings[DEFAULT]))
        busy = min(one.cpu_s for one in timings[WORKER])
        figures.append(Figure(f"{name}: processor time next to two spinning processes", busy / alone.cpu_s, "x", 1.5))
        keep("busy_machine", "On an occupied machine, all cores", rows, given.results, figures)
        tell(rows[-1])
        tell(figures[-1])
    return 0


def in_process(job: str, *, worker: bool) -> Timing:
    """Duration of a computation in a new process, without its start."""
    cores = os.cpu_count() or 1
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "MKL_"))}
    resources = Resources(device=Device("cpu", ""), slot="cpu/0", threads=cores)
    environment = worker_environment(resources, plain) if worker else plain
    command = [sys.executable, "-c", f"{START}{job}{END}"]
    environment = {**environment, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    wall, cpu = map(float, done.stdout.split())
    return Timing(wall, cpu)


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
