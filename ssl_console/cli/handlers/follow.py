"""Following runs until all have ended, or until Ctrl-C, which does not stop the runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from backbones.io.errors import counted
from ssl_console.cli.output import stdout
from ssl_console.cli.output.progress import JsonProgress, PlainProgress, ProgressView, end_line, summary_text
from ssl_console.operations.progress import (
    Fingerprint,
    ProgressSnapshot,
    ProgressSummary,
    RunReader,
    changes,
    fingerprints,
    summarize,
)
from ssl_console.operations.session import Session
from ssl_console.planning.duration import History, format_duration
from ssl_console.system import command_hints
from ssl_console.system.errors import ExitCode
from ssl_console.workspace.requests import NotPossible
from ssl_console.workspace.results_db import StoreError
from ssl_console.workspace.run import Placement, RunState
from ssl_console.workspace.run_observer import RunView

POLL_S = 0.25
SETTLE_S = 1.5
"""Seconds without a change after which all runs have ended; the supervisor may retry a failed one before."""
RECORD_S = 10.0
"""Seconds to wait until a finished run is in the database: a full disk must not block a command forever."""
SUPERVISOR_S = 5.0
"""Seconds between two checks that a supervisor is running."""


@dataclass
class Stop:
    """Cancellation of runs as soon as their results so far are enough."""

    wanted: Callable[[], bool]
    run_ids: tuple[str, ...]
    requested: bool = False

    def check(self, session: Session) -> None:
        """Cancel the runs if that is wanted now."""
        if self.run_ids and not self.requested and self.wanted():
            self.requested = True
            with suppress(NotPossible):  # the result is complete
                session.cancel(*self.run_ids)


def follow_runs(
    session: Session, run_ids: Sequence[str], placement: Placement, *, as_json: bool, stop: Stop | None = None
) -> ExitCode:
    """Show the runs until they have ended: 0 when all are done or cancelled by `stop`, 1 when one is not, 130 after
    Ctrl-C.
    """
    started = time.monotonic()
    try:
        last = _follow(session, run_ids, placement, JsonProgress() if as_json else _progress_view(), stop)
    except KeyboardInterrupt:
        stdout.say(
            f"the runs continue without this command: `{command_hints.RUNS}` lists them, "
            f"`{command_hints.CANCEL_ALL}` ends them"
        )
        return ExitCode.INTERRUPTED
    stopped = stop is not None and stop.requested and not last.counts.get(RunState.FAILED)
    code = ExitCode.DONE if last.succeeded or stopped else ExitCode.RUN_FAILED
    if as_json:
        stdout.json_line(end_line(last.counts, code))
    else:
        stdout.say(f"{summary_text(last)}, in {format_duration(time.monotonic() - started)}")
        if code is not ExitCode.DONE:
            stdout.say(
                f"`{command_hints.RETRY_FAILED}` runs failed ones again; `ssl-console logs RUN` shows their logs"
            )
    return code


def _follow(
    session: Session, run_ids: Sequence[str], placement: Placement, view: ProgressView, stop: Stop | None
) -> ProgressSummary:
    reader, earlier, slots = RunReader(session.workspace), session.results(), session.slots(placement)
    before: dict[str, Fingerprint] = {}
    started = changed_at = ensured_at = time.monotonic()
    session.start_supervisor()
    with view:
        while True:
            clock, now = time.monotonic(), time.time()
            reader.poll()
            runs = reader.runs(run_ids)
            results = reader.results_of(runs)
            summary = summarize(runs, History.of([*earlier, *results.values()]), slots, now, len(run_ids))
            snapshot = ProgressSnapshot(now, clock - started, runs, results, changes(before, runs, results), summary)
            view.show(snapshot)
            changed_at = clock if snapshot.changed else changed_at
            quiet_s = clock - changed_at
            settled = summary.succeeded or quiet_s > SETTLE_S
            if summary.ended and settled and _recorded(session, runs, quiet_s):
                return summary
            if stop is not None:
                stop.check(session)
            if clock - ensured_at > SUPERVISOR_S:
                session.start_supervisor()
                ensured_at = clock
            before = fingerprints(runs, results)
            time.sleep(POLL_S)


def _recorded(session: Session, runs: Sequence[RunView], quiet_s: float) -> bool:
    """Whether the database contains the results, so that the next command ranks them; also True after `RECORD_S`."""
    missing = {run.run_id for run in runs if run.state is RunState.DONE}
    with suppress(StoreError):  # the supervisor is about to rebuild a database that cannot be read
        missing -= {result.run_id for result in session.results()}
    if missing and quiet_s > RECORD_S:
        stdout.say(
            f"{counted(len(missing), 'result is in its run folder', 'results are in their run folders')} "
            f"but not yet in {session.workspace.results}: "
            f"`{command_hints.RUNS}` shows the reason; none is lost"
        )
        return True
    return not missing


def _progress_view() -> ProgressView:
    if sys.stdout.isatty() and sys.stderr.isatty():
        from ssl_console.cli.output.live_progress import LiveProgress

        return LiveProgress()
    return PlainProgress()
