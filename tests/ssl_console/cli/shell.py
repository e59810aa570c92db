"""The command line as a user has it: a process of its own, its exit code and what it wrote."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil

from ssl_console.workspace.paths import Workspace

SECONDS, LOOK_S, LEAST_S = 120, 2.0, 0.02
"""A command is hung once it and its children have used no CPU for so long: a busy machine makes it slow, not hung."""
BACKBONE = """
title = "Random {seed}"
architecture = "test_resnet"
weights = {{ kind = "random", seed = {seed} }}
facts = {{ method = "none" }}
"""


def cpu_s_of_all(pid: int) -> float:
    """CPU seconds of a process, of its living children, and of those that it has waited for."""
    total = 0.0
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                total += sum(one.cpu_times()[:4])
    return total


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output as one JSON document; fails when anything else is there."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True)
class Shell:
    """Runs `ssl-console` in one workspace."""

    workspace: Workspace
    environment: dict[str, str]

    def __call__(self, *arguments: str, **variables: str) -> Finished:
        process = self.start(*arguments, **variables)
        idle_since, used = time.monotonic(), 0.0
        while True:
            try:
                out, err = process.communicate(timeout=LOOK_S)
                return Finished(process.returncode, out, err)
            except subprocess.TimeoutExpired:
                if (now := cpu_s_of_all(process.pid)) > used + LEAST_S:
                    idle_since, used = time.monotonic(), now
                if time.monotonic() - idle_since > SECONDS:
                    process.kill()
                    out, err = process.communicate()
                    raise AssertionError(f"{arguments} has done nothing for {SECONDS} s: {out}{err}") from None

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """The same, without waiting."""
        return subprocess.Popen(
            self.command(*arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**self.environment, **variables},
            stdin=subprocess.DEVNULL,
        )

    def command(self, *arguments: str) -> list[str]:
        """The command line."""
        return [sys.executable, "-P", "-m", "ssl_console", *arguments]
