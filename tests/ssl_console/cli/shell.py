"""The command line as a user has it: a process of its own, its exit code and what it wrote."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from ssl_console.workspace.paths import Workspace

SECONDS = 120
BACKBONE = """
title = "Random {seed}"
architecture = "test_resnet"
weights = {{ kind = "random", seed = {seed} }}
facts = {{ method = "none" }}
"""


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
        done = subprocess.run(
            self.command(*arguments),
            capture_output=True,
            text=True,
            env={**self.environment, **variables},
            stdin=subprocess.DEVNULL,
            timeout=SECONDS,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """The same, without waiting."""
        return subprocess.Popen(
            self.command(*arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
            stdin=subprocess.DEVNULL,
        )

    def command(self, *arguments: str) -> list[str]:
        """The command line."""
        return [sys.executable, "-P", "-m", "ssl_console", *arguments]
