"""`python -P -m ssl_console.worker --workspace W --device cpu [RUN_ID...]`: further run ids are read from standard
input.

`assist:RUN_ID` makes it a helper of a run that another worker executes, after which it exits. Otherwise it exits at the
end of its input, after a run that did not finish (exit code 1; 74 if the outcome could not be recorded), or at SIGTERM
or SIGUSR2 (143). It starts no further run if its supervisor is gone (`--parent`), because the next supervisor may
assign the device to another worker. SIGUSR1 writes the stacks of all threads to the log. In a cluster job (`--job`),
which may have waited long, it restarts itself for the remaining runs instead of exiting after a run that did not
finish.
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
from ssl_console.workspace.run import ASSIST

DONE, NOT_DONE, TERMINATED = 0, 1, 128 + signal.SIGTERM
KILLED_FIRST = "500"
_LEAVES = {RunOutcome.ENDED: NOT_DONE, RunOutcome.STOPPED: NOT_DONE, RunOutcome.UNWRITTEN: UNWRITTEN}


def main(arguments: Sequence[str]) -> int:
    """Execute runs until there are none left; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -P -m ssl_console.worker", description=__doc__)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--device", default="cpu", help="cpu, mps or cuda:N")
    parser.add_argument("--slot", default="0", help="shown in process listings only")
    parser.add_argument("--job", default="", help="name of this cluster job in the console")
    parser.add_argument(
        "--parent", type=int, help="no further run is started once this process is no longer the parent"
    )
    parser.add_argument("runs", nargs="*", metavar="RUN_ID")
    options = parser.parse_args(arguments)
    termination = _prepare()
    workspace = Workspace.find(options.workspace)
    share_if_wanted(workspace)
    session = RunExecutor(workspace, load_config(workspace), options.device, termination, options.job)

    def orphaned() -> bool:
        return options.parent not in {None, os.getppid()}

    try:
        for run_id in assigned(options.runs, take_standard_input(), termination):
            if orphaned():
                log_error(f"run {run_id} is left to the next supervisor: the one that assigned it is gone")
                return DONE
            if run_id.startswith(ASSIST):
                return _LEAVES.get(session.assist(run_id.removeprefix(ASSIST), orphaned), DONE)
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
    with suppress(OSError):  # when memory runs out, the kernel should kill a worker rather than the supervisor
        Path("/proc/self/oom_score_adj").write_text(KILLED_FIRST)
    return Termination().install()


def _start_afresh(arguments: Sequence[str]) -> None:
    """Restart as a new worker for the remaining runs, in the same process, which receives the cluster's signals."""
    end_children()
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-u", "-m", "ssl_console.worker", *arguments])  # noqa: S606


def _leave(code: int) -> None:
    """Exit immediately, without waiting for threads or libraries of an evaluation."""
    end_children()
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _leave(main(sys.argv[1:]))
