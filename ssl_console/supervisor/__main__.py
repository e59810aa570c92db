"""`python -P -m ssl_console.supervisor --workspace W [--devices cuda:0,cuda:1] [--slots-per-device N] ...`

Runs until nothing is queued or running. SIGTERM ends it at once; workers then finish their present run.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from pydantic import ValidationError

from ssl_console.launchers.base import Launcher
from ssl_console.launchers.registry import open_launcher, registry
from ssl_console.supervisor.client import (
    READY,
    AlreadySupervisedError,
    StartupLocked,
    SupervisorOptions,
    hold_startup_lock,
    supervising,
)
from ssl_console.supervisor.loop import Supervisor
from ssl_console.supervisor.tenure import PlaceLost, Tenure, TenureLost
from ssl_console.system.errors import ConsoleError, OperationFailed, format_os_error
from ssl_console.system.file_system import NO_ROOM, inabilities
from ssl_console.system.safe_text import PrintableFormatter, RateLimit
from ssl_console.workspace.config import load_config
from ssl_console.workspace.ownership import check_ownership, make_private, share_if_wanted
from ssl_console.workspace.paths import Workspace

LOG = logging.getLogger("ssl_console.supervisor")
IDLE_S = 0.2
"""Seconds between ticks without a busy worker."""
LEAST_S, SHARE = 0.01, 0.25
"""A recently started run may be short: the next check follows after this share of its running time."""
AFTER_TROUBLE_S = 1.0
EXIT_LOCK_S = 1.0
"""Seconds that an exiting supervisor waits for the startup lock."""


def main(arguments: Sequence[str]) -> int:
    """Supervise until there is nothing to do; return the exit code."""
    given = _parse(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(PrintableFormatter("%(asctime)s %(message)s"))
        handler.addFilter(RateLimit(by_text=True))
    os.umask(0o077)
    if given.ready_descriptor is not None and os.fork():
        os._exit(0)  # detach, so that the starting console is not the parent and never has to reap this process
    workspace = Workspace.find(given.workspace)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        check_ownership(workspace)
        share_if_wanted(workspace)
        make_private(workspace.create())
        _check_file_system(workspace)
        supervisor = _supervisor(workspace, given)
        with ExitStack() as startup_lock, supervising(workspace), ExitStack() as ours:
            tenure = Tenure(workspace)
            tenure.begin()
            ours.callback(tenure.end)
            supervisor.begin(time.time())
            _report_ready(given.ready_descriptor)
            _ticks(supervisor, tenure, stop, startup_lock)
    except TenureLost as lost:
        LOG.error("%s: exiting", lost)
        _report_ready(given.ready_descriptor)  # the workspace has a supervisor
    except OSError as error:
        LOG.error("%s", format_os_error(error))
        return 1
    except (ConsoleError, AlreadySupervisedError, ValidationError) as error:
        LOG.error("%s", error)
        return 1
    return 0


def _check_file_system(workspace: Workspace) -> None:
    """Raise OperationFailed when the workspace's file system lacks a required feature."""
    try:
        lacking = next((one for one in inabilities(workspace.supervisor) if one.required), None)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        return  # the supervisor waits for free space
    if lacking is not None:
        raise OperationFailed(f"{workspace.root}: {lacking}")


def _ticks(supervisor: Supervisor, tenure: Tenure, stop: threading.Event, startup_lock: ExitStack) -> None:
    LOG.info("supervising %s as process %d", supervisor.workspace.root, os.getpid())
    while not stop.is_set():
        begun = time.process_time()
        try:
            tenure.check()
            supervisor.tick(time.time(), thorough=False)
            # thousands of queued runs make a tick long: at least half of the time is left to other processes
            pause = max(_pause(supervisor, time.time()), time.process_time() - begun)
            if supervisor.may_leave(time.time()) and _leaves(supervisor, startup_lock):
                return
        except TenureLost as lost:
            LOG.error("%s: exiting", lost)
            if isinstance(lost, PlaceLost):
                supervisor.give_up(lost.moved_to, str(lost))
            return
        except OSError as error:  # a full disk, an unavailable file server: runs continue, and so does the supervisor
            LOG.error("%s", format_os_error(error))
            pause = AFTER_TROUBLE_S
        stop.wait(pause)
    LOG.info("stopping; workers finish their present run")


def _pause(supervisor: Supervisor, now: float) -> float:
    """Seconds until the next tick; no run waits for it longer than a share of the previous tick's duration."""
    every_s = supervisor.look_every_s
    ages = [abs(now - slot.since) for slot in supervisor.slots.on_devices if slot.run_id]
    if every_s is None or not ages:
        return IDLE_S if every_s is None else every_s
    return min(every_s, max(LEAST_S, SHARE * min(ages)))


def _leaves(supervisor: Supervisor, startup_lock: ExitStack) -> bool:
    """Check once more under the startup lock whether there is work; True if the supervisor may exit. The lock is
    then held until the workspace is released: runs submitted before are seen now, and later submissions find
    no supervisor and start one.
    """
    with ExitStack() as closed:
        try:
            closed.enter_context(hold_startup_lock(supervisor.workspace, EXIT_LOCK_S))
        except StartupLocked:
            return False  # the process that holds the startup lock may be submitting a run
        supervisor.tick(time.time())
        if not supervisor.may_leave(time.time()):
            return False
        LOG.info("nothing is queued or running")
        supervisor.dismiss_all(time.time())
        supervisor.index.keep_summaries(time.time())
        startup_lock.push(closed.pop_all())
        return True


def _supervisor(workspace: Workspace, given: argparse.Namespace) -> Supervisor:
    config = load_config(workspace)
    chosen = {name: value for name in SupervisorOptions.model_fields if (value := getattr(given, name)) is not None}
    base = SupervisorOptions.from_config(config).model_dump()
    launchers: dict[str, Launcher] = {}
    problems = [str(problem) for problem in registry().problems]
    for name in registry().launchers:
        try:
            launchers[name] = open_launcher(name, workspace, config)
        except ConsoleError as error:
            problems.append(str(error))
    for launcher in launchers.values():
        launcher.remove_old_files(time.time())
    options = SupervisorOptions.model_validate({**base, **chosen})
    return Supervisor(workspace, launchers, options, config.hooks, tuple(problems))


def _report_ready(descriptor: int | None) -> None:
    if descriptor is not None:
        with suppress(BrokenPipeError):  # the client has stopped waiting; its message states that the start continues
            os.write(descriptor, READY)
        os.close(descriptor)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -P -m ssl_console.supervisor", description=__doc__)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument(
        "--ready-descriptor",
        type=int,
        help="descriptor to write to when the supervisor is ready; it then also detaches",
    )
    for name in SupervisorOptions.model_fields:
        parser.add_argument(f"--{name.replace('_', '-')}")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
