"""Processes without the seconds in which each would import the same modules.

A server that has imported them forks a process for every program to be run, with its own arguments, environment,
folder, descriptors and session; there the program is run as Python runs it, and `/proc` shows its command line and
its environment. The server is this module: `fork_server.py SOCKET READY_DESCRIPTOR MODULE...`.
"""

from __future__ import annotations

import array
import atexit
import ctypes
import fcntl
import gc
import importlib
import io
import os
import pkgutil
import runpy
import signal
import socket
import sys
import termios
import threading
import time
import traceback
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import Any, NoReturn

import orjson
import psutil

ROOT = Path(__file__).parents[1]
LARGEST = 1 << 18
"""Bytes of a request."""
MOST_DESCRIPTORS = 32
HIGH = 512
"""Descriptors from here on belong to the server: a program's own are below."""
LOOK_S = 2.0
"""Seconds after which an idle server looks whether its socket is still there."""
ROOM_VARIABLE, ROOM_BYTES = "FORK_SERVER_ROOM", 48 * 1024
"""Room for the environments of programs, which `/proc` reads where the server's own was at its start."""
PROTOCOLS = "SSL_CONSOLE_PROTOCOLS"
UNWRITTEN = 120
"""Exit code of Python when standard output cannot be written at the end."""
ARGUMENT_ROOM = "-" * 8192
"""The same for their command lines."""


@dataclass(frozen=True)
class Program:
    """What to run: a module, as `python -P -m` does."""

    name: str
    arguments: list[str]
    environment: dict[str, str]
    folder: str
    descriptors: list[int]
    """Numbers under which the program has the descriptors that are sent with it; the first three are its streams."""
    session: bool = False
    """Whether it leads a session of its own."""
    unbuffered: bool = False
    mask: int = 0o022
    terminal: bool = False
    """Whether its standard input is the terminal of this session."""


class Forked:
    """A process that a server has forked."""

    def __init__(self, status: socket.socket) -> None:
        self._status = status
        self._lock = threading.Lock()
        self.pid = self._number()
        self.code: int | None = None

    def wait(self, patience_s: float | None = None) -> int | None:
        """Wait for its end, in any number of threads; the exit code, or None after the timeout."""
        if self.code is None and connection.wait([self._status], patience_s):
            with self._lock:
                self.code = self._number() if self.code is None else self.code
        return self.code

    def _number(self) -> int:
        answer = self._status.recv(LARGEST)
        assert answer, "the fork server has ended"
        return int(answer)


def start(server: Path, program: Program, descriptors: Sequence[int]) -> Forked:
    """Have the server at this socket run a program with these descriptors. Raises OSError where there is no server."""
    status = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    status.connect(str(server))
    sent = array.array("i", descriptors)
    status.sendmsg([orjson.dumps(program)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, sent)])
    return Forked(status)


def serve(path: Path, ready: int) -> tuple[Program, list[int]] | None:
    """Fork a process for every request; in it, the program to run and its descriptors.

    None when the socket is gone, or the process whose number the name of its folder has.
    """
    owner = int(path.parent.name.split("-")[1])
    listener = _high(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    listener.bind(str(path))
    listener.listen(128)
    listener.settimeout(LOOK_S)
    os.write(ready, b"ready")
    os.close(ready)
    while path.exists() and psutil.pid_exists(owner):
        with suppress(TimeoutError):
            status = _high(listener.accept()[0])
            if os.fork() == 0:
                listener.close()
                if (wanted := _request(status)) is not None:
                    return wanted
            status.close()
        _reap()
    return None


def _high(given: socket.socket) -> socket.socket:
    """The same socket under a number that no program uses."""
    with given:
        return socket.socket(fileno=fcntl.fcntl(given.fileno(), fcntl.F_DUPFD_CLOEXEC, HIGH))


def _request(status: socket.socket) -> tuple[Program, list[int]]:
    """Fork the program of a request and wait for it; in the program, what it is."""
    status.settimeout(None)
    message, ancillary, _, _ = status.recvmsg(LARGEST, socket.CMSG_SPACE(MOST_DESCRIPTORS * array.array("i").itemsize))
    descriptors = array.array("i")
    for _, _, data in ancillary:
        descriptors.frombytes(data)
    if not message:
        os._exit(0)
    if (pid := os.fork()) == 0:
        status.close()
        return Program(**orjson.loads(message)), list(descriptors)
    _report(pid, status, list(descriptors))
    raise AssertionError


def _reap() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _report(pid: int, status: socket.socket, descriptors: list[int]) -> None:
    """Send pid and exit code, and leave."""
    for descriptor in descriptors:
        os.close(descriptor)
    with suppress(OSError):
        status.send(b"%d" % pid)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        status.send(b"%d" % code)
    os._exit(0)


def become(program: Program, descriptors: Sequence[int], others_up_to: int = 3) -> None:
    """Give this process what a program is started with. Of its other descriptors those below a number are closed."""
    if program.session:
        os.setsid()
    if program.terminal:
        _take_terminal(descriptors[0])
    moved = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, HIGH) for descriptor in descriptors]
    for descriptor in descriptors:
        with suppress(OSError):  # the same one may be given twice
            os.close(descriptor)
    os.closerange(3, others_up_to)
    for descriptor, number in zip(moved, program.descriptors, strict=True):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(program.folder)
    os.umask(program.mask)
    os.environ.clear()
    os.environ.update(program.environment)
    time.tzset()
    _find_modules(program.environment.get("PYTHONPATH", ""))
    _add_protocols(program.environment.get(PROTOCOLS, ""))
    _show(program)
    _open_streams(unbuffered=program.unbuffered)


def _open_streams(*, unbuffered: bool) -> None:
    """Open the three streams as Python does; those of the server are for its own files."""
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - standard input
    opened = [_opened(number, stream, unbuffered) for number, stream in ((1, sys.__stdout__), (2, sys.__stderr__))]
    sys.stdout, sys.stderr = opened
    sys.__stdout__, sys.__stderr__ = opened  # type: ignore[misc]


def _opened(number: int, before: Any, unbuffered: bool) -> io.TextIOWrapper:
    """Standard output or error, with the encoding of the stream `before`."""
    raw = io.FileIO(number, "w", closefd=False)
    return io.TextIOWrapper(
        raw if unbuffered else io.BufferedWriter(raw),
        encoding=before.encoding,
        errors=before.errors,
        line_buffering=number == 2 or raw.isatty(),
        write_through=unbuffered,
    )


def _take_terminal(descriptor: int) -> None:
    """Make it the terminal of this process's session, whose end ends the process."""
    fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(os.nice(0)))


def _find_modules(paths: str) -> None:
    """Put these folders first on the path of modules, unless the server was started with them."""
    sys.path[:0] = [path for path in paths.split(os.pathsep) if path and path not in sys.path]


def _add_protocols(names: str) -> None:
    """Add the protocols of these modules of tests, as at the import of the table of protocols."""
    if (known := sys.modules.get("tasks.catalog.protocols")) is not None:
        for name in filter(None, names.split(",")):
            known.PROTOCOLS.update({spec.name: spec for spec in importlib.import_module(name).PROTOCOLS})


def _show(program: Program) -> None:
    """Write command line and environment to where `/proc` reads them."""
    words = ["-P", *(["-u"] if program.unbuffered else []), "-m", program.name, *program.arguments]
    places = [int(one) for one in Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()[45:49]]
    variables = [f"{name}={value}" for name, value in program.environment.items()]
    for (begin, end), strings in zip((places[:2], places[2:]), ([sys.executable, *words], variables), strict=True):
        content = b"".join(os.fsencode(string) + b"\0" for string in strings)[: end - begin - 1]
        ctypes.memset(begin, 0, end - begin)
        ctypes.memmove(begin, content, len(content))


def run(program: Program) -> None:
    """Run a program in this process, as Python runs it."""
    sys.argv = [program.name, *program.arguments]
    if program.environment.get("PYTHONWARNINGS") == "ignore":
        warnings.simplefilter("ignore")
    package = hasattr(sys.modules.get(program.name), "__path__")
    sys.modules.pop(f"{program.name}.__main__" if package else program.name, None)
    runpy.run_module(program.name, run_name="__main__", alter_sys=True)


def run_and_leave(program: Program) -> NoReturn:
    """Run a program and end this process as at its end, without taking apart what the server had imported."""
    code = 1
    try:
        run(program)
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        if isinstance(leaving.code, str):
            sys.stderr.write(f"{leaving.code}\n")
    except KeyboardInterrupt:
        code = -signal.SIGINT
    except BaseException:  # noqa: BLE001 - as Python does at the end of a program
        traceback.print_exc()
    finally:
        _leave(code)


def _leave(code: int) -> NoReturn:
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream, failure in ((sys.stdout, UNWRITTEN), (sys.stderr, 0)):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = code or failure
    if code == -signal.SIGINT:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(code & 0xFF)


def _import(name: str) -> None:
    module = importlib.import_module(name)
    for found in pkgutil.walk_packages(getattr(module, "__path__", []), f"{name}."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)


def _forked_processes() -> Any:
    """The module that forks the programs which programs start; a program itself does not find the tests by it."""
    sys.path.insert(0, str(ROOT))
    module = importlib.import_module("tests.forked_processes")
    sys.path.remove(str(ROOT))
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]
    return module


def main(path: Path, ready: int, modules: Sequence[str]) -> None:
    """Serve; in a forked process, run its program."""
    forked_processes = _forked_processes()
    importlib.import_module("backbones.io.light_import").install(any_program=True)
    for name in modules:
        _import(name)
    gc.collect()
    gc.freeze()
    if (wanted := serve(path, ready)) is not None:
        become(*wanted)
        forked_processes.take_over(parent_of_workers="torch" in sys.modules)
        run_and_leave(wanted[0])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:-1])
