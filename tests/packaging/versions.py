"""The suite's fixed part in environments of the oldest and the newest packages that `pyproject.toml` allows.

`make versions`; `make versions ARGS="python3.11 python3.14"` names interpreters, by default all from 3.11 on that are
on the path. Needs uv, which `make install` fetches. Prints a table for `tests/README.md`; ends with 1 when a test
fails.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
OLDEST_PYTHON = 11
NEWEST_PYTHON = 20
"""Minor versions between which interpreters are looked for."""
FIXED_PART = (
    "tests/backbones/model",
    "tests/backbones/checkpoints",
    "tests/backbones/inspection/test_inspect.py",
    "tests/tasks/datasets/test_importing.py",
    "tests/tasks/features",
    "tests/tasks/protocols/test_families.py",
    "tests/tasks/protocols/test_finetune.py",
    "tests/tasks/solvers",
    "tests/ssl_console/analysis",
    "tests/ssl_console/cli/test_real_run.py",
    "tests/ssl_console/supervisor",
    "tests/ssl_console/tui/test_keys.py",
    "tests/ssl_console/workspace",
)
"""Networks, checkpoints, data, solvers, protocols, statistics, files, a real run and the terminal app."""
NAMED = ("torch", "torchvision", "timm", "numpy", "scikit-learn", "pydantic", "pillow", "typer")
"""Packages whose versions are listed in the table."""
TIMES_S = {"install": 1800, "tests": 3600}


@dataclass(frozen=True)
class Outcome:
    """One environment: interpreter, "oldest" or "newest", versions by package, and pytest's last line."""

    python: str
    packages: str
    versions: dict[str, str]
    summary: str
    seconds: float
    passed: bool

    def row(self) -> str:
        """Row of the Markdown table."""
        named = ", ".join(f"{name} {self.versions[name]}" for name in NAMED if name in self.versions)
        return f"| {self.python} | {self.packages} | {named} | {self.summary} | {self.seconds / 60:.0f} min |"


def interpreters(named: Sequence[str]) -> list[str]:
    """Interpreters to use: those named, else every Python on the path that the package supports."""
    if named:
        return list(named)
    candidates = (f"python3.{minor}" for minor in range(OLDEST_PYTHON, NEWEST_PYTHON))
    return [name for name in candidates if shutil.which(name)]


def measure(python: str, packages: str, folder: Path, uv: str) -> Outcome:
    """Make the environment, and run the fixed part in it."""
    began = time.monotonic()
    environment = folder / f"{Path(python).name}-{packages}"
    subprocess.run([uv, "venv", "--quiet", "--python", python, environment], check=True)
    own = environment / "bin" / "python"
    for arguments in _installations(packages, environment):
        subprocess.run(
            [uv, "pip", "install", "--quiet", "--python", own, *arguments],
            cwd=REPOSITORY, check=True, timeout=TIMES_S["install"],
        )  # fmt: skip
    ran = subprocess.run(
        [own, "-m", "pytest", "-n", "2", "--dist", "loadfile", "-p", "no:cacheprovider", "-m", "not slow", *FIXED_PART],
        cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=TIMES_S["tests"],
    )  # fmt: skip
    if ran.returncode:
        print(ran.stdout[-20_000:], ran.stderr[-5_000:], file=sys.stderr)
    version = subprocess.run([own, "-V"], capture_output=True, text=True, check=True).stdout.split()[-1]
    return Outcome(
        version, packages, _frozen(uv, own), _counts(ran.stdout), time.monotonic() - began, ran.returncode == 0
    )


def _installations(packages: str, environment: Path) -> Iterator[list[str]]:
    """Arguments of the installations. What tests alone need is the newest that suits the oldest packages."""
    product = "-e.[parquet,serve]"
    if packages == "newest":
        yield [f"{product[:-1]},dev]"]
        return
    yield ["--resolution", "lowest-direct", product]
    uv = shutil.which("uv") or "uv"
    frozen = environment / "oldest.txt"
    listed = subprocess.run(
        [uv, "pip", "freeze", "--exclude-editable", "--python", environment / "bin" / "python"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    frozen.write_text(listed.stdout)
    yield ["--constraint", str(frozen), f"{product[:-1]},dev]"]


def _frozen(uv: str, python: Path) -> dict[str, str]:
    listed = subprocess.run([uv, "pip", "freeze", "--python", python], capture_output=True, text=True, check=True)
    return dict(line.split("==", 1) for line in listed.stdout.splitlines() if "==" in line)


def _counts(output: str) -> str:
    found: list[str] = re.findall(r"\d+ (?:passed|failed|skipped|errors?)", output.rsplit("\n\n", 1)[-1])
    return ", ".join(found) or "no test ran"


def main(arguments: Sequence[str]) -> int:
    """Print the table; 1 when a test failed, 2 without uv."""
    uv = shutil.which("uv")
    if uv is None:
        print("uv is missing: make install fetches it into .venv/bin", file=sys.stderr)
        return 2
    outcomes = []
    print("| Python | packages | versions | tests | time |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="ssl-console-versions-") as folder:
        for python in interpreters(arguments):
            for packages in ("oldest", "newest"):
                outcomes.append(measure(python, packages, Path(folder), uv))
                print(outcomes[-1].row(), flush=True)
    return 0 if outcomes and all(outcome.passed for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
