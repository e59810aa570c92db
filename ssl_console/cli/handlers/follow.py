"""Following runs until all have ended, or until Ctrl-C, which leaves them going."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from ssl_console.cli.output import stdout
from ssl_console.cli.output.progress import JsonProgress, PlainProgress, ProgressSnapshot, ProgressView, end_line
from ssl_console.operations.progress import ProgressSummary, RunProgress, StandingReader, changes, overall
from ssl_console.operations.session import Session
from ssl_console.planning.duration import History, format_duration
from ssl_console.supervisor.client import ensure_supervisor
from ssl_console.system import command_hints
from ssl_console.system.errors import ExitCode
from ssl_console.workspace.results_db import StoreError
from ssl_console.workspace.run import RunState

POLL_S = 0.25
SETTLE_S = 1.5
"""A failed run may be queued again by the supervisor itself; only after so long without a change all has ended."""
RECORD_S = 10.0
"""How long a finished run's way into the database is waited for: a full disk must not hold a command for ever."""
SUPERVISOR_S = 5.0
"""How often it is made sure that somebody carries the runs out."""


def follow_runs(session: Session, run_ids: Sequence[str], devices: tuple[str, ...], *, as_json: bool) -> ExitCode:
    """Show the runs until they have ended: 0 when all are done, 1 when one is not, 130 after Ctrl-C."""
    started = time.monotonic()
    try:
        last = _follow(session, run_ids, devices, JsonProgress() if as_json else _face())
    except KeyboardInterrupt:
        stdout.say(
            f"the runs go on without this command: `{command_hints.RUNS}` lists them, "
            f"`{command_hints.CANCEL_ALL}` ends them"
        )
        return ExitCode.INTERRUPTED
    code = ExitCode.DONE if last.succeeded else ExitCode.RUN_FAILED
    if as_json:
        stdout.json_line(end_line(last.counts, code))
    else:
        stdout.say(f"{last.words}, in {format_duration(time.monotonic() - started)}")
        if not last.succeeded:
            stdout.say(
                f"`{command_hints.RETRY_FAILED}` runs failed ones again; `ssl-console logs RUN` shows what they said"
            )
    return code


def _follow(session: Session, run_ids: Sequence[str], devices: tuple[str, ...], face: ProgressView) -> ProgressSummary:
    reader = StandingReader(session.workspace)
    earlier, slots = session.results(), session.slots(devices)
    before: list[RunProgress] = []
    started = changed_at = ensured_at = time.monotonic()
    ensure_supervisor(session.workspace, session.supervisor_options())
    with face:
        while True:
            clock, now = time.monotonic(), time.time()
            reader.look()
            standings = reader.standings(run_ids)
            history = History.of([*earlier, *(one.result for one in standings if one.result)])
            look = ProgressSnapshot(
                now=now,
                elapsed_s=clock - started,
                changed=changes(before, standings),
                standings=standings,
                overall=overall(standings, history, slots, now, followed=len(run_ids)),
            )
            face.show(look)
            changed_at = clock if look.changed else changed_at
            if _over(look.overall, clock - changed_at) and _recorded(session, standings, clock - changed_at):
                return look.overall
            if clock - ensured_at > SUPERVISOR_S:
                ensure_supervisor(session.workspace, session.supervisor_options())
                ensured_at = clock
            before = standings
            time.sleep(POLL_S)


def _over(found: ProgressSummary, quiet_s: float) -> bool:
    return found.ended and (found.succeeded or quiet_s > SETTLE_S)


def _recorded(session: Session, standings: Sequence[RunProgress], quiet_s: float) -> bool:
    """Whether the database holds what was computed, so that the next command ranks it; or that cannot be waited for."""
    done = {one.run_id for one in standings if one.state is RunState.DONE}
    missing = done - _run_ids_in_database(session)
    if missing and quiet_s > RECORD_S:
        stdout.say(
            f"{len(missing)} results lie in their run folders and not yet in {session.workspace.results}: "
            f"`{command_hints.RUNS}` says why; none is lost"
        )
        return True
    return not missing


def _run_ids_in_database(session: Session) -> set[str]:
    """None while it cannot be read: the supervisor is about to make it again."""
    try:
        return {result.run_id for result in session.results()}
    except StoreError:
        return set()


def _face() -> ProgressView:
    if sys.stdout.isatty() and sys.stderr.isatty():
        from ssl_console.cli.output.live_progress import LiveProgress

        return LiveProgress()
    return PlainProgress()
