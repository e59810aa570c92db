"""`clean`: removal of runs that ended long ago."""

from __future__ import annotations

import time
from collections import Counter

from backbones.io.errors import counted
from ssl_console.cli.output import stdout
from ssl_console.operations.clean import Kept, outdated_runs, parse_age, remove_runs, size_of
from ssl_console.operations.session import Session
from ssl_console.planning.duration import megabytes
from ssl_console.workspace.run_index import RunIndex

SHOWN = 20


def clean(session: Session, older: str, keep: Kept, *, dry_run: bool) -> None:
    """Remove failed and cancelled runs that ended before the given age, and results that are not to be kept.

    Raises ConsoleError for an invalid age, StoreError, OSError.
    """
    now = time.time()
    index = RunIndex(session.workspace)
    index.refresh(now)
    found = outdated_runs(index.entries.values(), session.results(), now - parse_age(older), keep)
    counts = Counter(str(run.status.state) for run in found)
    words = ", ".join(f"{count:,} {state}" for state, count in sorted(counts.items())) or "none"
    if dry_run:
        rows = [(run.run_id, run.backbone, run.task, str(run.status.state)) for run in found[:SHOWN]]
        stdout.table(("run", "backbone", "task", "state"), rows)
        size = megabytes(sum(size_of(run.folder.path) for run in found))
        stdout.lines(
            [f"{counted(len(found), 'run')} would be removed ({words}), {size}; nothing was removed (--dry-run)"]
        )
        return
    removed = remove_runs(session.workspace, found)
    stdout.lines([f"{counted(removed.runs, 'run is', 'runs are')} removed ({words}), {megabytes(removed.bytes)}"])
