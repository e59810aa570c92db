"""Run benchmarks, one process each, and generate the README's table from their results.

    python -m tests.benchmarks [--quick | --full] [--results DIR] [NAME ...]
    python -m tests.benchmarks --table

A benchmark that fails is reported at the end, and the others still run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

from tests.benchmarks._options import ROOT, parser
from tests.benchmarks._record import read, tell
from tests.benchmarks._table import table, write

NAMES = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))


def main() -> int:
    """Return 0 if every benchmark ran."""
    options = parser(__doc__)
    options.add_argument("names", nargs="*", metavar="NAME", help=f"which ones: {', '.join(NAMES)}; without one: all")
    options.add_argument("--table", action="store_true", help="run nothing, write the README's table")
    given = options.parse_args()
    unknown = sorted(set(given.names) - set(NAMES))
    if unknown:
        options.error(f"no benchmark is called {unknown[0]}; there are {', '.join(NAMES)}")
    if given.table:
        write(ROOT / "tests" / "benchmarks" / "README.md", read(given.results))
        return 0
    failed = [name for name in given.names or NAMES if not ran(name, given)]
    tell(f"\n{table(read(given.results))}\nkept in {given.results}")
    if failed:
        tell(f"FAILED: {', '.join(failed)}")
    return int(bool(failed))


def ran(name: str, given: Namespace) -> bool:
    """Run one benchmark; return whether it completed."""
    sizes = [option for option in ("quick", "full") if getattr(given, option)]
    arguments = [*(f"--{size}" for size in sizes), "--results", str(given.results)]
    tell(f"== {name}")
    begun = time.perf_counter()
    command = [sys.executable, "-P", "-m", f"tests.benchmarks.{name}", *arguments]
    code = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False).returncode
    tell(f"== {name}: {time.perf_counter() - begun:.0f} s{f', exit code {code}' if code else ''}\n")
    return code == 0


if __name__ == "__main__":
    sys.exit(main())
