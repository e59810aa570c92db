"""What a run costs besides its work: many runs that do nothing, as local processes and as jobs of a real Slurm cluster.

python -m tests.benchmarks.launchers

Both over six slots. The cluster is the local machine and is started for the purpose (`tests/slurm/cluster.py`), so its
nodes share the processors; it is polled every half second. Jobs are measured with four runs of a backbone each, which
is the default, and with one.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ssl_console.supervisor.client import SupervisorOptions
from ssl_console.workspace.paths import Workspace
from tasks.catalog.protocol import ENVIRONMENT_VARIABLE
from tests.benchmarks._options import ROOT, parser
from tests.benchmarks._record import Figure, keep, tell
from tests.slurm.cluster import GPUS, NODES, SYSTEM_PATH, TestCluster, a_cluster, missing_daemons
from tests.slurm.workspace_fixture import bench_of
from tests.ssl_console.rehearsal_evaluation import journal
from tests.ssl_console.workspace_fixture import Bench, eventually

SLOTS = NODES * GPUS
RUNS, FEW_RUNS = 200, 24
TOGETHER = 4
"""Runs of one backbone."""
PATIENCE_S = 900.0


@dataclass(frozen=True)
class Measured:
    """All runs of one launcher."""

    name: str
    runs: int
    wall_s: float

    @property
    def each_s(self) -> float:
        """Slot seconds per run."""
        return self.wall_s * SLOTS / self.runs


def main() -> int:
    """Measure the available launchers; return 1 if a run was lost or done twice."""
    given = parser(__doc__).parse_args()
    runs = FEW_RUNS if given.quick else RUNS
    os.environ |= {"PYTHONPATH": str(ROOT), ENVIRONMENT_VARIABLE: "tests.ssl_console.rehearsal", "PATH": SYSTEM_PATH}
    with tempfile.TemporaryDirectory(prefix="sslc", dir="/tmp") as folder:
        found = [local(Path(folder), runs), *on_cluster(Path(folder), runs)]
    figures = [figure for one in found for figure in told(one, found[0])]
    for figure in figures:
        tell(figure)
    keep("launchers", f"{runs} runs that do nothing, over {SLOTS} slots", [], given.results, figures)
    return 0


def told(one: Measured, base: Measured) -> Iterator[Figure]:
    """Seconds per run, and the ratio to local processes."""
    yield Figure(f"overhead per run, {one.name}", one.each_s, "s", note=f"{one.runs} runs in {one.wall_s:.1f} s")
    if one is not base:
        yield Figure(f"{one.name} / {base.name}", one.each_s / base.each_s, "x", note="by the clock, in the same run")


def local(folder: Path, runs: int) -> Measured:
    """As local processes."""
    options = SupervisorOptions(devices=("cpu",), slots_per_device=SLOTS, linger_s=0.1)
    bench = Bench(Workspace(folder / "local").create(), options)
    with cleaned(bench):
        return Measured("local processes", runs, seconds(bench, runs))


def on_cluster(folder: Path, runs: int) -> Iterator[Measured]:
    """As jobs; empty without Slurm."""
    if lacking := missing_daemons():
        tell(f"no cluster: needs {', '.join(lacking)} (Debian: slurmctld slurmd slurm-client munge)")
        return
    with a_cluster(folder / "c") as cluster:
        os.environ["SLURM_CONF"] = str(cluster.config)
        for together in (TOGETHER, 1):
            yield as_jobs(folder / str(together), cluster, runs, together)


def as_jobs(folder: Path, cluster: TestCluster, runs: int, together: int) -> Measured:
    """As jobs of a number of runs each."""
    bench = bench_of(folder, cluster)
    bench.configure(runs_per_job=str(together), jobs=str(runs))
    with cleaned(bench):
        taken = seconds(bench, runs, launcher="slurm")
    cluster.end_all_jobs()
    return Measured(f"Slurm, {together} run{'s' if together > 1 else ''} a job", runs, taken)


def seconds(bench: Bench, runs: int, launcher: str = "local") -> float:
    """From the supervisor's start until the last result is in the database."""
    for number in range(runs):
        backbone = f"demo/{number // TOGETHER}"
        bench.submit(f"r{number}", seed=number, backbone=backbone, created=float(number), launcher=launcher)
    begun = time.perf_counter()
    bench.supervise()
    eventually(lambda: len(bench.results()) == runs, f"{runs} results are in the database", PATIENCE_S)
    taken = time.perf_counter() - begun
    counted = Counter(note[3] for note in journal(bench.workspace.features) if note[0] == "finish")
    if set(counted.values()) != {1} or len(counted) != runs:
        raise SystemExit(f"not every run was done once: {counted.most_common(3)}")
    return taken


@contextmanager
def cleaned(bench: Bench) -> Iterator[None]:
    """End its remaining processes."""
    try:
        yield
    finally:
        bench.clean_up()


if __name__ == "__main__":
    sys.exit(main())
