"""Processes that encode images into one feature store, and the facts that they record."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

ROOT = Path(__file__).parents[3]
PROGRAM = "tests.tasks.features.encode_in_a_process"
BOUND_S = 60.0


class Process:
    """`encode_in_a_process.py` on one store."""

    def __init__(self, folder: Path, name: str, *options: str) -> None:
        self.events, self.errors = folder / f"{name}.jsonl", folder / f"{name}.txt"
        command = [sys.executable, "-P", "-m", PROGRAM, str(folder / "features"), str(self.events), *options]
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                command, stdin=DEVNULL, stdout=DEVNULL, stderr=errors, env={**os.environ, "PYTHONPATH": str(ROOT)}
            )

    def told(self, field: str) -> list[Any]:
        lines = self.events.read_text().splitlines(keepends=True) if self.events.exists() else []
        told = [json.loads(line) for line in lines if line.endswith("\n")]
        return [event[field] for event in told if field in event]

    def wait(self) -> str:
        """Standard error, after the process has ended."""
        self.process.wait(BOUND_S)
        return self.errors.read_text()

    @property
    def encoded(self) -> list[int]:
        """Images that it has encoded."""
        return [number for batch in self.told("encoded") for number in batch]

    def kill(self) -> None:
        """Kill it, wherever it is."""
        self.process.kill()
        self.wait()


def until(condition: Callable[[], bool]) -> None:
    """Poll with a bound."""
    end = time.monotonic() + BOUND_S
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        time.sleep(0.02)
