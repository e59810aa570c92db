"""Programs of the product that tests fork from servers instead of starting each with its imports.

`take_over` replaces `subprocess.Popen` in a process: commands come from a server that has the console, supervisors and
queries that import torch from one that has torch, and a supervisor that came from one forks its workers itself, so that
they are its children. `start_in_terminal` does it for consoles. All are processes of their own, with their pids,
sessions, terminals, signals and streams. A program is started as ever where the servers differ
from the process that starts it in what a program inherits (`_inherited`). With `SSL_CONSOLE_FAULTS=full` nothing is
forked.
"""

from __future__ import annotations

import atexit
import fcntl
import functools
import gc
import hashlib
import inspect
import logging
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tests.fork_server import (
    ARGUMENT_ROOM,
    HIGH,
    PROTOCOLS,
    ROOM_BYTES,
    ROOM_VARIABLE,
    ROOT,
    Forked,
    Program,
    become,
    run_and_leave,
    start,
)

FORKS = "SSL_CONSOLE_TESTS_FORKS"
"""Folder of the sockets of all servers of a test run; forked programs find it here."""
OWN = re.compile(
    "SSL_CONSOLE_(WORKSPACE|DATA|FAULTS_MARK|TRUSTED_CODE|TRUSTED_OWNERS|WORKER|SERVED|CANARY)|PYTEST_.*|"
    "PYTHONUNBUFFERED|PYTHONWARNINGS|PATH|TERM|COLORTERM|NO_COLOR|COLUMNS|LINES|TMUX|TZ|EDITOR|VISUAL|PAGER|"
    "HF_TOKEN|HF_ENDPOINT|NVML_HOLDERS|(SLURM|SBATCH|STANDIN|FAULT|AWS)_.*|.*_(proxy|PROXY)"
)
"""What may differ between programs of one server, because it is read when it is used. Everything else is looked at by
Python and by modules as they start, so with other differences a server of its own is started.
"""
WITHOUT_EFFECT = re.compile("OMP_WAIT_POLICY|OPENBLAS_THREAD_TIMEOUT|KMP_.*|TEXTUAL_SNAPSHOT_TEMPDIR")
"""How threads wait, of which a program with one thread has none, and what scikit-learn and pytest set by themselves."""
USUAL = re.compile(
    f"(LANG|LC_ALL|LC_CTYPE)=C.UTF-8|PYTHONPATH={re.escape(str(ROOT))}|{PROTOCOLS}=(tests[.][a-z_.]+,?)*"
)
"""The locale that Python chooses where none is set; folder and protocols of the tests, which a fork adds by itself."""
CONSOLE = tuple(
    f"ssl_console.{room}" for room in ("cli", "operations", "planning", "analysis", "launchers", "workspace", "system")
)
"""Rooms of the console; none of them loads torch."""
CONSOLE_IN_TERMINAL = (*CONSOLE, "ssl_console.tui")
WITH_TORCH = ("backbones", "tasks", "ssl_console.supervisor", "ssl_console.worker")
ALONE = {CONSOLE: 2, CONSOLE_IN_TERMINAL: 2, WITH_TORCH: 1}
"""Number of programs of an environment that start without a server, which takes as long to start as a few of them."""
WORKER, SUPERVISOR = "ssl_console.worker", "ssl_console.supervisor"
COMMAND = "ssl_console"
FORKED = re.compile(r"ssl_console(\.supervisor)?|(tasks|backbones|tests)\..+")
_START = subprocess.Popen
_SIGNATURE = inspect.signature(_START._execute_child)  # type: ignore[attr-defined]
_KEPT: list[object] = []
"""Objects of the forking process whose end would close descriptors that are others by now."""
_STATUS = ("Uid:", "Gid:", "Groups:", "SigBlk:", "SigIgn:", "CapEff:", "Cpus_allowed:", "Seccomp:", "NoNewPrivs:")


if TYPE_CHECKING:

    class _PrivatePopen(subprocess.Popen[Any]):
        """The methods of Popen that have no types."""

        def _execute_child(self, *positional: Any, **named: Any) -> None: ...
        def _close_pipe_fds(self, *descriptors: int) -> None: ...
        def _internal_poll(self, *positional: Any, **named: Any) -> int | None: ...
        def _try_wait(self, wait_flags: int) -> tuple[int, int]: ...
else:
    _PrivatePopen = _START


def provide() -> None:
    """Make the folder of the sockets, for this process and those that it starts; with its end, the servers leave."""
    if FORKS not in os.environ and sys.platform == "linux" and os.environ.get("SSL_CONSOLE_FAULTS") != "full":
        os.environ[FORKS] = tempfile.mkdtemp(prefix=f"forks-{os.getpid()}-")
        atexit.register(_remove, os.getpid(), os.environ[FORKS])


def _remove(owner: int, folder: str) -> None:
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def take_over(*, parent_of_workers: bool = False) -> None:
    """Fork in this process what can be forked, where there is a folder of sockets."""
    if FORKS in os.environ:
        ForkingPopen.parent_of_workers = parent_of_workers
        subprocess.Popen = ForkingPopen  # type: ignore[misc]


def server_for(environment: Mapping[str, str], modules: tuple[str, ...], name: str = "") -> Path | None:
    """Socket of a server with these modules for such an environment; None before it pays to start one.

    For a supervisor it does at once: the worker that it starts next takes as long as a server.
    """
    if FORKS not in os.environ or FORKS not in environment or resource.getrlimit(resource.RLIMIT_NOFILE)[0] <= HIGH:
        return None
    kept = _kept(environment)
    key = hashlib.sha256(repr((modules, sorted(kept.items()), _inherited())).encode()).hexdigest()[:16]
    path = Path(os.environ[FORKS]) / key
    if path.exists():
        return path
    with suppress(OSError), path.with_suffix(".asked").open("ab") as asked:
        fcntl.flock(asked, fcntl.LOCK_EX)
        if (name == SUPERVISOR or asked.tell() >= ALONE.get(modules, 0)) and not path.exists():
            _start_server(path, kept, modules)
        asked.write(b".")
    return path if path.exists() else None


def start_in_terminal(command: Sequence[str], environment: Mapping[str, str], terminal: int) -> Forked | None:
    """Fork a command of the console whose terminal this descriptor is; None if it is to be started in the usual way."""
    program = [sys.executable, "-P", "-m", COMMAND]
    server = server_for(environment, CONSOLE_IN_TERMINAL) if list(command[:4]) == program else None
    if server is None:
        return None
    words, folder = list(command[4:]), str(Path.cwd())
    forked = Program(COMMAND, words, dict(environment), folder, [0, 1, 2], session=True, terminal=True)
    return start(server, forked, [terminal] * 3)


def _kept(environment: Mapping[str, str]) -> dict[str, str]:
    """What the environments of all programs of a server have in common."""
    return {
        name: value
        for name, value in environment.items()
        if not (OWN.fullmatch(name) or WITHOUT_EFFECT.fullmatch(name) or USUAL.fullmatch(f"{name}={value}"))
    }


def _inherited() -> list[object]:
    """What a program inherits from the process that starts it, besides what is sent with it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    limits = [resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")]
    spaces = [str(Path(f"/proc/self/ns/{name}").readlink()) for name in ("mnt", "net", "pid", "user", "uts")]
    score, groups = (Path(f"/proc/self/{name}").read_text() for name in ("oom_score_adj", "cgroup"))
    stated = [line for line in lines if line.startswith(_STATUS)]
    return [stated, limits, spaces, score, groups, os.nice(0), str(Path("/proc/self/root").readlink())]


def _start_server(path: Path, environment: Mapping[str, str], modules: Sequence[str]) -> None:
    reader, writer = os.pipe()
    command = [sys.executable, "-P", str(Path(__file__).with_name("fork_server.py")), str(path), str(writer)]
    with path.with_suffix(".log").open("wb") as log:
        _START(
            [*command, *modules, ARGUMENT_ROOM],
            env={**environment, ROOM_VARIABLE: "-" * ROOM_BYTES},
            pass_fds=[writer],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )
    os.close(writer)
    with os.fdopen(reader, "rb") as ready:
        ready.read()


class ForkingPopen(_PrivatePopen):
    """`subprocess.Popen` that forks programs of the product."""

    parent_of_workers: ClassVar[bool] = False
    """Whether this process came from a server with torch, so that its own forks have it."""
    _forked: Forked | None = None

    def _execute_child(self, *positional: Any, **named: Any) -> None:
        given = _SIGNATURE.bind(self, *positional, **named).arguments
        program = _program(given)
        if program is None or not self._fork(program, given):
            super()._execute_child(*positional, **named)
            return
        self._child_created = True
        self._close_pipe_fds(*(given[name] for name in _PIPES))

    def _fork(self, program: Program, given: Mapping[str, Any]) -> bool:
        """Whether the program has been forked."""
        ends = {0: given["p2cread"], 1: given["c2pwrite"], 2: given["errwrite"]}
        descriptors = [number if (end := ends.get(number, -1)) == -1 else end for number in program.descriptors]
        if program.name == WORKER:
            return self._fork_here(program, descriptors)
        modules = CONSOLE if program.name == COMMAND else WITH_TORCH
        if (server := server_for(program.environment, modules, program.name)) is None:
            return False
        with suppress(ConnectionError, FileNotFoundError):  # a server leaves with the process that made its folder
            self._forked = start(server, program, descriptors)
            self.pid = self._forked.pid
        return self._forked is not None

    def _fork_here(self, program: Program, descriptors: Sequence[int]) -> bool:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        if (pid := os.fork()) == 0:
            _run_and_leave(program, descriptors)
        self.pid = pid
        return True

    def _internal_poll(self, *positional: Any, **named: Any) -> int | None:
        if self._forked is None:
            return super()._internal_poll(*positional, **named)
        if self.returncode is None:
            self.returncode = self._forked.wait(0.0)
        return self.returncode

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if self._forked is None:
            return super()._try_wait(wait_flags)
        code = self._forked.wait(0.0 if wait_flags & os.WNOHANG else None)
        return (0, 0) if code is None else (self.pid, code << 8 if code >= 0 else -code)


_PIPES = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")


def _program(given: Mapping[str, Any]) -> Program | None:
    """The program of a call of Popen; None if it cannot be forked."""
    words = [os.fspath(word) for word in given["args"]] if isinstance(given["args"], list | tuple) else []
    flags = words[1 : words.index("-m")] if "-m" in words else ["none"]
    if words[:1] != [sys.executable] or not set(flags) <= {"-P", "-u"} or not given["close_fds"]:
        return None
    name, arguments = words[len(flags) + 2], words[len(flags) + 3 :]
    unusual = [given[name] for name in ("preexec_fn", "shell", "gid", "gids", "uid")]
    unusual += [given["executable"] not in {None, sys.executable}, given["umask"] >= 0, given["process_group"] >= 0]
    environment = dict(os.environ if given["env"] is None else given["env"])
    folder = os.fspath(given["cwd"] or Path.cwd())
    if any(unusual) or not Path(folder).is_dir() or not _forks(name, environment):
        return None
    mask = int(next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("Umask:"))[6:], 8)
    numbers = [0, 1, 2, *sorted(given["pass_fds"])]
    return Program(name, arguments, environment, folder, numbers, given["start_new_session"], "-u" in flags, mask)


def _forks(name: str, environment: Mapping[str, str]) -> bool:
    """Whether such a program is forked: a worker by a supervisor with torch, from its only running thread."""
    if name == WORKER:
        threads = "OMP_NUM_THREADS"
        main = threading.current_thread() is threading.main_thread()
        return ForkingPopen.parent_of_workers and main and environment.get(threads) == os.environ.get(threads)
    return bool(FORKED.fullmatch(name))


def _run_and_leave(program: Program, descriptors: Sequence[int]) -> None:
    """Run a program in this forked process, without what the forking one has left in it."""
    try:
        _forget()
        become(program, descriptors, others_up_to=HIGH)
        run_and_leave(program)
    finally:
        os._exit(1)


def _forget() -> None:
    """Signals, exit functions, log handlers and caches as in a process that has just started."""
    gc.freeze()
    _KEPT.extend((sys.stdin, sys.stdout, sys.stderr, *logging.root.handlers))
    atexit._clear()
    weakref.finalize._registry.clear()  # type: ignore[attr-defined]
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)) and number != signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
    if callable(signal.getsignal(signal.SIGINT)):
        signal.signal(signal.SIGINT, signal.default_int_handler)
    logging.root.handlers.clear()
    logging.root.setLevel(logging.WARNING)
    for module in list(sys.modules.values()):
        if module.__name__.partition(".")[0] in {"backbones", "tasks", "ssl_console"}:
            for value in list(vars(module).values()):
                if isinstance(value, functools._lru_cache_wrapper):
                    _KEPT.append(value)
                    value.cache_clear()
