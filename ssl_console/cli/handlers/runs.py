"""`runs`, `logs`, `events`, `cancel`, `retry`, `pause` and `resume`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from backbones.io.card_files import UnknownName, suggest
from ssl_console.cli.output import stdout
from ssl_console.cli.output.progress import activity_text, outcome_text
from ssl_console.launchers.registry import worker_output
from ssl_console.operations.progress import RunReader
from ssl_console.operations.session import Session, resolve_run, resolve_runs
from ssl_console.system.errors import ConsoleError
from ssl_console.system.safe_text import last_state, shorten
from ssl_console.workspace.events import LONGEST_LINE, LineTail, last_lines
from ssl_console.workspace.paths import RunFolder
from ssl_console.workspace.result import RunScore
from ssl_console.workspace.results_db import ResultStore
from ssl_console.workspace.run import RunState
from ssl_console.workspace.run_observer import RunView
from ssl_console.workspace.run_status import RunStatus, read_status

POLL_S = 0.25
REASON_COLUMNS = 90
JOB_LINES = 200


def runs(session: Session, state: str | None, *, as_json: bool) -> None:
    """List the runs, oldest first. Raises UnknownName for a state that does not exist."""
    wanted = None if state is None else _state(state)
    now = time.time()
    scores = _scores(session)
    reader = RunReader(session.workspace)
    reader.poll()
    shown = [run for run in reader.runs() if wanted in {None, run.state}]
    for run_id, result in reader.results_of(run for run in shown if run.run_id not in scores).items():
        scores[run_id] = RunScore.of(result)
    for sentence in reader.observer.unreadable:
        stdout.say(sentence)
    if as_json:
        stdout.document_of("runs", (_as_json(run, scores.get(run.run_id)) for run in shown))
        return
    head = ("run", "backbone", "task", "seed", "state", "")
    stdout.table(head, [_line(run, scores.get(run.run_id), now) for run in shown], right=frozenset({3}))


def _scores(session: Session) -> dict[str, RunScore]:
    """Scores by run, without the results themselves, which take ten times the memory."""
    results = session.badge_sources.badged(ResultStore(session.workspace).results())
    return {result.run_id: RunScore.of(result) for result in results}


def logs(session: Session, name: str, *, follow: bool) -> None:
    """Print the newest attempt's log as safe text, followed by the output of its job: setup lines, messages of the
    cluster, the reason why the worker did not start.
    """
    folder = _folder(session, name)
    for line in _lines(folder, RunFolder.log, follow=follow):
        stdout.lines([last_state(line)])
    path = worker_output(session.workspace, session.config, folder)
    if path is not None and (words := last_lines(path, JOB_LINES)):
        stdout.say(f"output of its job, in {path}:")
        stdout.lines(words)


def events(session: Session, name: str, *, follow: bool) -> None:
    """Print the newest attempt's events as JSON lines; other lines are left out."""
    for line in _lines(_folder(session, name), RunFolder.events, follow=follow):
        try:
            event = json.loads(line)
        except ValueError:
            continue
        stdout.data(json.dumps(event) + "\n")


def cancel(session: Session, names: Sequence[str], *, every: bool) -> None:
    """Request the end of runs. Raises NotPossible for one that has ended, after requesting the others."""
    run_ids = _select_runs(
        session, names, "--all" if every else "", {RunState.QUEUED, RunState.STARTING, RunState.RUNNING}
    )
    session.cancel(*run_ids)
    stdout.say(f"{run_count_text(len(run_ids))} to be cancelled" if run_ids else "nothing to cancel")
    if run_ids:
        session.start_supervisor()


def retry(session: Session, names: Sequence[str], *, failed: bool) -> None:
    """Queue runs again. Raises NotPossible for one that did not fail, after requesting the others."""
    run_ids = _select_runs(session, names, "--failed" if failed else "", {RunState.FAILED})
    if not run_ids:
        stdout.say("nothing to retry")
        return
    session.retry(*run_ids)
    stdout.say(f"{run_count_text(len(run_ids))} queued again")


def pause(session: Session) -> None:
    """Start no more runs."""
    session.pause()
    stdout.say("paused: active runs continue, no new run starts until `ssl-console resume`")


def resume(session: Session) -> None:
    """Start runs again."""
    session.resume()
    stdout.say("resumed")


def run_count_text(count: int) -> str:
    """`1 run is`, `2 runs are`."""
    return "1 run is" if count == 1 else f"{count} runs are"


def _select_runs(session: Session, names: Sequence[str], flag: str, states: set[RunState]) -> tuple[str, ...]:
    """Runs selected by names or by the flag."""
    known = [folder.run_id for folder in session.workspace.run_folders()]
    if names and flag:
        raise ConsoleError(f"{flag} and {' '.join(names)}: give run ids or {flag}, not both")
    if names:
        return resolve_runs(names, known)
    if not flag:
        raise ConsoleError("no run is named: give run ids (ssl-console runs lists them), or the option for all")
    now = time.time()
    found = []
    for run_id in known:
        status = _status(session.workspace.run(run_id), now)
        if status is not None and status.state in states:
            found.append(run_id)
    return tuple(found)


def _folder(session: Session, name: str) -> RunFolder:
    known = (folder.run_id for folder in session.workspace.run_folders())
    return session.workspace.run(resolve_run(name, known))


def _lines(folder: RunFolder, place: Callable[[RunFolder, int], Path], *, follow: bool) -> Iterator[str]:
    """Lines of the newest attempt's file; when following, also of later attempts."""
    status = _status_or_fail(folder)
    tail, attempt = LineTail(place(folder, status.attempt)), status.attempt
    if status.state is RunState.QUEUED:
        stdout.say(f"run {folder.run_id} is queued{f': {status.reason}' if status.reason else ''}")
    while follow and not status.state.final:
        yield from _whole_lines(tail)
        time.sleep(POLL_S)
        status = _status_or_fail(folder)
        if status.attempt != attempt:
            yield from _to_the_end(tail)
            tail, attempt = LineTail(place(folder, status.attempt)), status.attempt
    yield from _to_the_end(tail)


def _whole_lines(tail: LineTail) -> Iterator[str]:
    while lines := tail.poll():
        yield from (line.decode(errors="replace") for line in lines)


def _to_the_end(tail: LineTail) -> Iterator[str]:
    """All remaining lines, including an unterminated last one."""
    yield from _whole_lines(tail)
    if tail.path.exists():
        with tail.path.open("rb") as file:
            file.seek(tail.offset)
            rest = file.read(LONGEST_LINE)
        if rest:
            yield rest.decode(errors="replace")


def _status(folder: RunFolder, now: float) -> RunStatus | None:
    try:
        return read_status(folder, now)
    except FileNotFoundError:  # removed in the meantime
        return None


def _status_or_fail(folder: RunFolder) -> RunStatus:
    status = _status(folder, time.time())
    if status is None:
        raise ConsoleError(f"run {folder.run_id} was removed: {folder.path}")
    return status


def _state(name: str) -> RunState:
    try:
        return RunState(name)
    except ValueError:
        known = [state.value for state in RunState]
        raise UnknownName("state", name, suggest(name, known) or known) from None


def _line(run: RunView, score: RunScore | None, now: float) -> tuple[str, ...]:
    words = outcome_text(run, score) if run.state.final else activity_text(run, now)
    state = run.state.value
    note = words.removeprefix(state).lstrip(" :")
    return run.run_id, run.backbone, run.task, str(run.seed), state, shorten(note, REASON_COLUMNS)


def _as_json(run: RunView, score: RunScore | None) -> dict[str, object]:
    progress, job = run.progress, run.job
    return {
        "run_id": run.run_id,
        "backbone": run.backbone,
        "task": run.task,
        "variant": score.variant if score else run.variant,
        "seed": run.seed,
        "state": run.state.value,
        "kind": run.status.kind,
        "reason": run.reason,
        "attempt": run.status.attempt,
        "phase": progress.phase or None,
        "done": progress.done,
        "total": progress.total,
        "device": run.device or None,
        "helpers": list(run.helpers),
        "job_id": job.job_id or None if job else None,
        "node": job.node or None if job else None,
        "partition": job.partition or None if job else None,
        "started": progress.started,
        "ended": run.status.ended,
        "origin": score.origin or None if score else None,
        "value": score.value if score else None,
        "ci_low": score.ci_low if score else None,
        "ci_high": score.ci_high if score else None,
        "badges": list(score.badges) if score else [],
    }
