"""Cases stored outside the repository: `make cases`, or `python -m tests.cases FOLDER OUT [NAME...]`.

FOLDER holds any of `datasets`, `checkpoints` and `verdicts`. Those of the first two are written by the programs of
their folder and checked through the command line; of the third, the simulations of `tests.verdicts` run in full.
Files are written to OUT. The exit code is 0 if all programs succeed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from venv import EnvBuilder

PROGRAM = str(Path(sys.executable).with_name("ssl-console"))
PROJECT = Path(__file__).parents[1]
SAME = ("torch", "torchvision", "timm")
"""Packages that references are computed with in the versions that are measured."""

Command = list[str]


def datasets(folder: Path, out: Path) -> Iterator[Command]:
    """Write all cases, then add each and run the requested tasks."""
    yield [sys.executable, str(folder / "datasets.py"), str(out), "--large"]
    yield [sys.executable, str(folder / "check.py"), str(out), "--program", PROGRAM]


def checkpoints(folder: Path, out: Path) -> Iterator[Command]:
    """Write all cases in an environment with the libraries of their layouts, then add each and compare features."""
    python = out / "venv" / "bin" / "python"
    if not python.exists():
        EnvBuilder(with_pip=True).create(out / "venv")
    versions = [f"{name}=={metadata.version(name).partition('+')[0]}" for name in SAME]
    yield [str(python), "-m", "pip", "install", "--quiet", "-r", str(folder / "requirements.txt"), *versions]
    yield [str(python), str(folder / "layouts.py"), str(out / "cases")]
    yield [sys.executable, str(folder / "check.py"), str(out / "cases"), "--program", PROGRAM]


def verdicts(folder: Path, out: Path) -> Iterator[Command]:
    """Simulate data of known truth and measure error rates of intervals and tests with this project's own simulations.

    They include those of the folder and call the current functions.
    """
    del folder, out
    yield [sys.executable, "-m", "tests.verdicts"]


KINDS: dict[str, Callable[[Path, Path], Iterator[Command]]] = {
    "datasets": datasets,
    "checkpoints": checkpoints,
    "verdicts": verdicts,
}


def check(kind: str, folder: Path, out: Path) -> int:
    """Run the programs of one kind until one fails; return its exit code."""
    out.mkdir(parents=True, exist_ok=True)
    for command in KINDS[kind](folder, out):
        print(f"{kind}: {' '.join(command[1:3])} ...", flush=True)
        code = subprocess.run(command, cwd=PROJECT, check=False).returncode
        if code:
            return code
    return 0


def main(arguments: Sequence[str]) -> int:
    """Check all available kinds, or those that are named; return 1 if any of them failed, 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="tests.cases", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="with datasets, checkpoints or verdicts in it")
    parser.add_argument("out", type=Path, help="where the cases are written")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(KINDS))
    asked = parser.parse_args(arguments)
    names = asked.names or [kind for kind in KINDS if (asked.folder / kind).is_dir()]
    lacking = [name for name in names if name not in KINDS or not (asked.folder / name).is_dir()]
    if lacking or not names:
        parser.error(f"{asked.folder} has no cases {', '.join(lacking or KINDS)}")
    codes, begun = {}, time.monotonic()
    for name in names:
        codes[name] = check(name, asked.folder / name, asked.out.absolute() / name)
    for name, code in codes.items():
        print(f"{name:<12} {'all right' if code == 0 else f'not all right (exit code {code})'}")
    print(f"in {(time.monotonic() - begun) / 60:.0f} minutes")
    return int(any(codes.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
