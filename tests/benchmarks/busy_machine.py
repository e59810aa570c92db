"""The regularisation path on a machine whose cores are occupied by two other processes.

    python -m tests.benchmarks.busy_machine [--quick]

The path runs in a process of its own with all cores, once with the environment of a worker, whose idle OpenMP threads
sleep, and once with OpenMP's default, whose idle threads spin. Processor time above that of the undisturbed machine is
spent waiting.
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
SIZES = {"1,000 x 512, 4 classes": (1_000, 512, 4), "4,000 x 512, 10 classes": (4_000, 512, 10)}
SPIN = "while True: pass"
PATH = """
import sys
from ssl_console.system.device import Device
from tests.benchmarks._comparison import timed
from tests.benchmarks._features import made_up
from tests.benchmarks.linear_path import selected
data = made_up(*map(int, sys.argv[1:4]), 0.3)
timing, _ = timed(lambda: selected(data))
print(timing.wall_s, timing.cpu_s)
"""


def main() -> int:
    """Print and store the comparisons and the ratio of processor times."""
    given = parser(__doc__).parse_args()
    rows, figures = [], []
    for name, size in list(SIZES.items())[: 1 if given.quick else None]:
        alone = path_in_process(size, worker=True)
        ways = {
            WORKER: functools.partial(path_in_process, size, worker=True),
            DEFAULT: functools.partial(path_in_process, size, worker=False),
        }
        with spinning(2):
            timings = in_turns(ways, 1 if given.quick else 3)
        rows.append(row(f"path of {name}, two other processes spin", DEFAULT, timings[WORKER], timings[DEFAULT]))
        busy = min(one.cpu_s for one in timings[WORKER])
        figures.append(
            Figure(f"path of {name}: processor time next to two spinning processes", busy / alone.cpu_s, "x", 1.5)
        )
        keep("busy_machine", "On an occupied machine, all cores", rows, given.results, figures)
        tell(rows[-1])
        tell(figures[-1])
    return 0


def path_in_process(size: tuple[int, int, int], *, worker: bool) -> Timing:
    """Duration of a whole selection in a new process, without its start."""
    cores = os.cpu_count() or 1
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "MKL_"))}
    resources = Resources(device=Device("cpu", ""), slot="cpu/0", threads=cores)
    environment = worker_environment(resources, plain) if worker else plain
    command = [sys.executable, "-c", PATH, *map(str, size)]
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
