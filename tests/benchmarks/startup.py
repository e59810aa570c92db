"""CPU seconds that commands take to start, beside an empty interpreter: `python -P tests/benchmarks/startup.py`."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

CASES: tuple[tuple[str, ...], ...] = (("--help",), ("backbones", "--json"))
MORE: tuple[tuple[str, ...], ...] = (("tasks", "--json"), ("runs", "--json"), ("rank", "--json"))
REPEATS = 5
LIMIT_S = 0.4


def cpu_seconds(*arguments: str) -> float:
    """User and system time of `python -P ARGUMENTS`, the best of several: what the program costs, not the machine."""
    return min(_once(arguments) for _ in range(REPEATS))


def _once(arguments: tuple[str, ...]) -> float:
    before = _spent()
    subprocess.run([sys.executable, "-P", *arguments], check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    return _spent() - before


def _spent() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Print one line a command."""
    bare, typer = cpu_seconds("-c", "pass"), cpu_seconds("-c", "import typer, pydantic")
    print(
        f"best of {REPEATS}, CPU seconds; load {os.getloadavg()[0]:.1f}; at most {LIMIT_S} s allowed for the first two"
    )
    print(f"{bare:.3f}        python -c pass")
    print(f"{typer:.3f}  {typer / bare:4.1f}x python -c 'import typer, pydantic'")
    for arguments in (*CASES, *MORE):
        seconds = cpu_seconds("-m", "ssl_console", *arguments)
        print(f"{seconds:.3f}  {seconds / bare:4.1f}x ssl-console {' '.join(arguments)}")


if __name__ == "__main__":
    main()
