"""Execution of stages one after another, within a time limit."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from backbones.io.errors import counted
from ssl_console.cli.handlers.follow import Stop, follow_runs
from ssl_console.cli.handlers.run import RunOptions
from ssl_console.cli.output import stdout
from ssl_console.operations.session import Session
from ssl_console.operations.stages import PlannedStage
from ssl_console.planning.duration import format_duration
from ssl_console.planning.submit import submit_runs
from ssl_console.system.errors import ConsoleError, ExitCode


class StagesEnded(Exception):  # noqa: N818 - an outcome, not a fault
    """The stages end with this exit code before there is an answer."""

    def __init__(self, code: ExitCode) -> None:
        super().__init__(code)
        self.code = code


@dataclass
class TimeLimit:
    """A number of seconds from now on; None for no limit."""

    seconds: float | None
    started: float = field(default_factory=time.monotonic)

    def refusal(self, stage: PlannedStage) -> str:
        """Reason why a stage is not begun, in words; empty if it fits, or its duration is unknown and time is left."""
        if self.seconds is None:
            return ""
        left = self.seconds - (time.monotonic() - self.started)
        need = stage.seconds or 0.0
        if left > 0 and need <= left:
            return ""
        wanted = f"takes about {format_duration(need)}" if need else "has an unknown duration"
        return f"{stage.name} {wanted}, and {format_duration(max(left, 0.0))} of the budget are left"


def run_stage(
    session: Session, stage: PlannedStage, options: RunOptions, certain: Callable[[], bool] = lambda: False
) -> None:
    """Execute the missing runs of a stage, and follow them. Raises StagesEnded unless all are done, or cancelled
    because `certain` returns True.
    """
    if stage.blockers:
        for item in stage.blockers:
            stdout.say(f"ssl-console: {item.advice}")
        refused = all(item.kind == "doctor" for item in stage.blockers)
        raise StagesEnded(ExitCode.REFUSED if refused else ExitCode.MISSING)
    expected = f", about {format_duration(stage.seconds)}" if stage.seconds else ""
    stdout.say(f"{stage.name}: {counted(len(stage.to_run) + len(stage.active), 'run')}{expected}")
    submitted = submit_runs(session.workspace, stage.to_run, options.placement)
    followed = tuple(dict.fromkeys([*stage.active, *submitted.run_ids]))
    if not followed:
        session.start_supervisor()
        raise ConsoleError(f"results of {stage.name} are not in the database yet: repeat the command")
    stop = Stop(certain, tuple(run.run_id for run in stage.runs if run.in_parts and run.run_id in submitted.run_ids))
    code = follow_runs(session, followed, options.placement, as_json=options.as_json, stop=stop)
    if code is not ExitCode.DONE:
        raise StagesEnded(code)
