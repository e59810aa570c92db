"""The working tree compared with an earlier commit on a CPU: the same work in turns, and whether the numbers are equal.

    python -m tests.benchmarks.versions [--quick] [--base COMMIT] [--turns N]

The commit's files are taken from git into a temporary folder. Every turn is a new process in each tree. `numbers the
same` compares features and weights bit for bit.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.benchmarks._comparison import Timing, row
from tests.benchmarks._options import ROOT, parser
from tests.benchmarks._record import Row, keep, tell

JOB = Path(__file__).with_name("_versions_job.py")
Found = Mapping[str, tuple[float, float, str]]
"""Clock time, processor time, digest of the numbers, by work."""


def unpacked(commit: str, folder: Path) -> str:
    """Unpack the files of `commit` into `folder`; return its abbreviated name. Raises CalledProcessError."""
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as file:
        file.extractall(folder, filter="data")
    named = subprocess.run(["git", "rev-parse", "--short", commit], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    return named.stdout.decode().strip()


def done_in(tree: Path) -> Found:
    """All work, in a new process."""
    command = [sys.executable, "-P", str(JOB), str(tree)]
    made = subprocess.run(command, cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)}, stdout=-1, check=True)
    found: Found = json.loads(made.stdout)
    return found


def rows(ours: Sequence[Found], theirs: Sequence[Found], name: str) -> list[Row]:
    """A comparison for each piece of work."""
    return [
        row(
            work,
            f"commit {name}",
            [Timing(*found[work][:2]) for found in ours],
            [Timing(*found[work][:2]) for found in theirs],
            goal=1.0,
            **{"numbers the same": len({found[work][2] for found in [*ours, *theirs]}) == 1},
        )
        for work in ours[0]
    ]


def main() -> int:
    """Print and keep."""
    options = parser(__doc__)
    options.add_argument("--turns", type=int, default=5, help="times that each version does the work")
    options.add_argument("--base", default="HEAD", metavar="COMMIT", help="the earlier commit; the last one by default")
    given = options.parse_args()
    ours: list[Found] = []
    theirs: list[Found] = []
    with tempfile.TemporaryDirectory() as folder:
        name = unpacked(given.base, Path(folder))
        for turn in range(1 if given.quick else given.turns):
            pairs = [(ours, ROOT), (theirs, Path(folder))]
            for found, tree in pairs[:: 1 if turn % 2 else -1]:
                found.append(done_in(tree))
    found_rows = rows(ours, theirs, name)
    for line in found_rows:
        tell(line)
    keep("versions", "This version compared with an earlier commit, on a CPU", found_rows, given.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
