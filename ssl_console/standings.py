"""Reading where runs stand, a few times a second: the edge before `ssl_console.follow`."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from pydantic import ValidationError

from ssl_console.estimate import Work
from ssl_console.follow import Standing
from ssl_console.observe import Observation, RunObserver, RunView
from ssl_console.result import Result, ResultRecord
from ssl_console.run import State
from ssl_console.workspace import RunFolder, Workspace


@dataclass
class StandingReader:
    """Standings of a workspace's runs. Specifications and results are read once, as they never change."""

    workspace: Workspace
    observer: RunObserver = field(init=False)
    _works: dict[str, Work] = field(default_factory=dict)
    _results: dict[str, Result] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.observer = RunObserver(self.workspace)

    def look(self) -> Observation:
        """Look at the workspace again."""
        return self.observer.poll(time.time())

    def know(self, results: Iterable[Result]) -> None:
        """Take results from the database, so that their records need not be opened."""
        self._results.update((result.run_id, result) for result in results)

    def standings(self, run_ids: Iterable[str]) -> list[Standing]:
        """These runs as of the last look, in this order; one that is gone is left out."""
        views = (self.observer.runs.get(run_id) for run_id in run_ids)
        return [self._standing(view) for view in views if view is not None]

    def all_standings(self) -> list[Standing]:
        """All runs as of the last look, oldest first."""
        views = sorted(self.observer.runs.values(), key=lambda view: (view.summary.created, view.run_id))
        return [self._standing(view) for view in views]

    def _standing(self, view: RunView) -> Standing:
        return Standing(
            run_id=view.run_id,
            work=self._work(view),
            seed=view.summary.seed,
            state=view.state,
            reason=view.reason,
            attempt=view.status.attempt,
            kind=view.status.kind,
            device=view.device,
            job=view.job,
            ended=view.status.ended,
            progress=view.progress,
            result=self._result(view) if view.state is State.DONE else None,
        )

    def _work(self, view: RunView) -> Work:
        """What the run is about."""
        found = self._works.get(view.run_id)
        if found is None:
            summary, result = view.summary, self._results.get(view.run_id)
            variant = result.variant if result else summary.variant
            found = Work(summary.backbone, summary.task, variant, summary.protocol)
            self._works[view.run_id] = found
        return found

    def _result(self, view: RunView) -> Result | None:
        if view.run_id not in self._results:
            found = _read_result(view.folder)
            if found is None:
                return None
            self._results[view.run_id] = found
        return self._results[view.run_id]


def _read_result(folder: RunFolder) -> Result | None:
    try:
        return ResultRecord.model_validate_json(folder.result.read_bytes()).result
    except (OSError, ValidationError):
        return None
