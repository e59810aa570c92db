"""The command line as a separate process, with its exit code and output."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil

from ssl_console.workspace.paths import Workspace
from tests.fork_server import Program, start
from tests.forked_processes import CONSOLE, server_for

SECONDS, LOOK_S, LEAST_S = 120, 2.0, 0.02
"""A command hangs once it and its children have used no CPU for this long: on a busy machine it is merely slow."""
BACKBONE = """
title = "Random {seed}"
architecture = "test_resnet"
weights = {{ kind = "random", seed = {seed} }}
facts = {{ method = "none" }}
"""


def cpu_s_of_all(pid: int) -> float:
    """CPU seconds of a process, its living children, and those that it has waited for."""
    total = 0.0
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                total += sum(one.cpu_times()[:4])
    return total


@dataclass
class Watch:
    """Whether a process does anything."""

    pid: int
    _used: float = 0.0
    _idle_since: float = field(default_factory=time.monotonic)

    def hangs(self) -> bool:
        """Whether it has done nothing for too long."""
        if (used := cpu_s_of_all(self.pid)) > self._used + LEAST_S:
            self._idle_since, self._used = time.monotonic(), used
        return time.monotonic() - self._idle_since > SECONDS


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output as one JSON document; fails if there is anything else."""
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
        """Run to the end, by a fork server where that is faster."""
        environment = {**self.environment, **variables}
        if (server := server_for(environment, CONSOLE)) is None:
            return _finished(self.start(*arguments, **variables), arguments)
        return _forked(server, arguments, environment)

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


def _finished(process: subprocess.Popen[str], arguments: Sequence[str]) -> Finished:
    watch = Watch(process.pid)
    while True:
        try:
            out, err = process.communicate(timeout=LOOK_S)
            return Finished(process.returncode, out, err)
        except subprocess.TimeoutExpired:
            if watch.hangs():
                process.kill()
                out, err = process.communicate()
                raise AssertionError(f"{arguments} has done nothing for {SECONDS} s: {out}{err}") from None


def _forked(server: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> Finished:
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err, Path(os.devnull).open() as nothing:
        streams = [nothing.fileno(), out.fileno(), err.fileno()]
        program = Program("ssl_console", list(arguments), dict(environment), str(Path.cwd()), [0, 1, 2])
        process = start(server, program, streams)
        watch = Watch(process.pid)
        while (code := process.wait(LOOK_S)) is None:
            if watch.hangs():
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                raise AssertionError(f"{arguments} has done nothing for {SECONDS} s: {_text(out)}{_text(err)}")
        return Finished(code, _text(out), _text(err))


def _text(file: IO[str]) -> str:
    file.seek(0)
    return file.read()
