"""Processes without the seconds in which each would import the same modules.

A server that has imported them forks a process for every program to be run, with its own arguments, environment,
folder and streams; there the program is run as Python runs it. The server is this module; its arguments are the file
descriptor of a socket, and packages and modules to import.
"""

from __future__ import annotations

import array
import importlib
import os
import pkgutil
import runpy
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

LARGEST = 1 << 20
STREAMS = 4
"""Standard input, output and error, and a socket for pid and exit code."""


@dataclass(frozen=True)
class Program:
    """What to run: a module, or the path of a file."""

    name: str
    arguments: list[str]
    environment: dict[str, str]
    folder: str


class Forked:
    """A process that a server has forked."""

    def __init__(self, status: socket.socket) -> None:
        self._status = status
        self.pid = self._number()
        self.code: int | None = None

    def wait(self, patience_s: float | None = None) -> int | None:
        """Wait for its end; the exit code, None while it goes on."""
        if self.code is None:
            self._status.settimeout(patience_s)
            with suppress(TimeoutError):
                self.code = self._number()
        return self.code

    def _number(self) -> int:
        answer = self._status.recv(LARGEST)
        assert answer, "the fork server has ended"
        return int(answer)


class ForkServer:
    """A server that has imported packages, with the modules in them, and modules."""

    def __init__(self, environment: Mapping[str, str], imported: Sequence[str]) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-P", __file__, str(theirs.fileno()), *imported]
            self.process = subprocess.Popen(
                command, env=environment, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
            )

    def start(self, name: str, arguments: Sequence[str], environment: Mapping[str, str], streams: list[int]) -> Forked:
        """Run a program in this process's folder with these as its standard streams."""
        program = Program(name, list(arguments), dict(environment), str(Path.cwd()))
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            sent = array.array("i", [*streams, theirs.fileno()])
            self._socket.sendmsg([orjson.dumps(program)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, sent)])
        return Forked(ours)

    def close(self) -> None:
        """End the server; what it has forked goes on."""
        self._socket.close()
        self.process.wait()


def serve(requests: socket.socket) -> Program | None:
    """Fork a process for every request; in it, the program to run; None when there are no more."""
    while True:
        message, ancillary, _, _ = requests.recvmsg(LARGEST, socket.CMSG_SPACE(STREAMS * array.array("i").itemsize))
        _reap()
        if not message:
            return None
        descriptors = array.array("i")
        for _, _, data in ancillary:
            descriptors.frombytes(data)
        if os.fork() == 0:
            requests.close()
            status = socket.socket(fileno=descriptors.pop())
            if (pid := os.fork()) == 0:
                status.close()
                return _become(Program(**orjson.loads(message)), list(descriptors))
            _report(pid, status, list(descriptors))
        for descriptor in descriptors:
            os.close(descriptor)


def _reap() -> None:
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return


def _report(pid: int, status: socket.socket, descriptors: list[int]) -> None:
    """Send pid and exit code, and leave."""
    for descriptor in descriptors:
        os.close(descriptor)
    status.send(b"%d" % pid)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        status.send(b"%d" % code)
    finally:
        os._exit(0)


def _become(program: Program, descriptors: list[int]) -> Program:
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(program.folder)
    os.environ.clear()
    os.environ.update(program.environment)
    return program


def _import(name: str) -> None:
    module = importlib.import_module(name)
    for found in pkgutil.walk_packages(getattr(module, "__path__", []), f"{name}."):
        importlib.import_module(found.name)


if __name__ == "__main__":
    for given in sys.argv[2:]:
        _import(given)
    if (wanted := serve(socket.socket(fileno=int(sys.argv[1])))) is not None:
        sys.argv = [wanted.name, *wanted.arguments]
        if wanted.name.endswith(".py"):
            runpy.run_path(wanted.name, run_name="__main__")
        else:
            runpy.run_module(wanted.name, run_name="__main__", alter_sys=True)
