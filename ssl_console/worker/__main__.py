"""`python -P -m ssl_console.worker --workspace W --device cpu [RUN_ID...]`: further run ids come on standard input.

Ends at the end of its input, after a run that was not done (exit code 1; 74 when that could not be written down), or at
SIGTERM or SIGUSR2 (143); and begins nothing more when its supervisor is gone (`--parent`), for the next one may give
the device to somebody else. SIGUSR1 writes the stacks of all threads to the log. As a cluster's job (`--job`), which
may have waited long, it starts afresh for the rest of its runs instead of ending after one that was not done.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from backbones.cpu.malloc import keep_freed_memory
from ssl_console.system.processes import UNWRITTEN
from ssl_console.worker.claim import assigned, take_standard_input
from ssl_console.worker.process import Terminated, Termination, bind_children, end_children, log_error
from ssl_console.worker.runner import RunExecutor, RunOutcome
from ssl_console.workspace.config import load_config
from ssl_console.workspace.ownership import share_if_wanted
from ssl_console.workspace.paths import Workspace

DONE, NOT_DONE, TERMINATED = 0, 1, 128 + signal.SIGTERM
KILLED_FIRST = "500"
_LEAVES = {RunOutcome.ENDED: NOT_DONE, RunOutcome.STOPPED: NOT_DONE, RunOutcome.UNWRITTEN: UNWRITTEN}


def main(arguments: Sequence[str]) -> int:
    """Carry runs out until there are no more; the exit code."""
    parser = argparse.ArgumentParser(prog="python -P -m ssl_console.worker", description=__doc__)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--device", default="cpu", help="cpu, mps or cuda:N")
    parser.add_argument("--slot", default="0", help="shown in process listings only")
    parser.add_argument("--job", default="", help="our name for the cluster's job that this is")
    parser.add_argument(
        "--parent", type=int, help="no further run is begun once this process is not our parent any more"
    )
    parser.add_argument("runs", nargs="*", metavar="RUN_ID")
    options = parser.parse_args(arguments)
    termination = _prepare()
    workspace = Workspace.find(options.workspace)
    share_if_wanted(workspace)
    session = RunExecutor(workspace, load_config(workspace), options.device, termination, options.job)
    try:
        for run_id in assigned(options.runs, take_standard_input(), termination):
            if options.parent not in {None, os.getppid()}:
                log_error(f"run {run_id} is left to the next supervisor: the one that gave it is gone")
                return DONE
            fate = session.execute(run_id)
            if fate is RunOutcome.ENDED and options.job:
                _start_afresh(arguments)
            if fate in _LEAVES:
                return _LEAVES[fate]
    except Terminated:
        return TERMINATED
    return DONE


def _prepare() -> Termination:
    os.umask(0o077)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    bind_children()
    keep_freed_memory()
    with suppress(OSError):  # if the machine runs out of memory, the kernel had better end this than the supervisor
        Path("/proc/self/oom_score_adj").write_text(KILLED_FIRST)
    return Termination().install()


def _start_afresh(arguments: Sequence[str]) -> None:
    """Become a new worker with the same runs, of which the ended ones are passed over, in the same process: it is the
    one that the cluster signals.
    """
    end_children()
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-u", "-m", "ssl_console.worker", *arguments])  # noqa: S606


def _leave(code: int) -> None:
    """End now: no thread or library of an evaluation may hold a finished worker back."""
    end_children()
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _leave(main(sys.argv[1:]))
