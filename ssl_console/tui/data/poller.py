"""Polls of the workspace for the app: run views, devices, curves, events."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from ssl_console.launchers.registry import worker_output
from ssl_console.operations.session import Session
from ssl_console.system.errors import ConsoleError
from ssl_console.system.processes import is_here, lives
from ssl_console.tui.data.backend import Backend, EventLine, RunFiles
from ssl_console.tui.data.devices import DevicePoller
from ssl_console.tui.data.state import StateUpdate, SupervisorStatus
from ssl_console.workspace.events import Curve, Event, EventTail
from ssl_console.workspace.result import Result
from ssl_console.workspace.results_db import StoreError
from ssl_console.workspace.run_observer import RunObserver, RunView

EVENTS_SHOWN = 500
EVENT_REACH = 1 << 18
"""Number of bytes at the end of an events file that are read for display."""


@dataclass
class WorkspacePoller:
    """Repeated polls of the workspace; only one thread may call `poll`."""

    session: Session
    results: tuple[Result, ...] = ()
    _supervisor: SupervisorStatus = field(default_factory=SupervisorStatus)

    @cached_property
    def observer(self) -> RunObserver:
        """All runs."""
        return RunObserver(self.session.workspace)

    @cached_property
    def _devices(self) -> DevicePoller:
        return DevicePoller(self.session.config.devices)

    def poll(self) -> StateUpdate:
        """Changes since the last call. An unusable results file is reported, and the last results are kept."""
        polled = self.observer.poll()
        problem = ""
        try:
            results = tuple(self.session.results())
        except StoreError as error:
            results, problem = self.results, str(error)
        problem = problem or next(iter(self.observer.unreadable), "")
        supervisor = SupervisorStatus(self.observer.supervisor is not None, self.observer.paused)
        update = StateUpdate(
            runs=polled.changed,
            gone=polled.removed,
            results=results if results != self.results else None,
            devices=self._devices.poll(self.observer.supervisor, self.observer.runs),
            supervisor=supervisor if supervisor != self._supervisor else None,
            problem=problem or None,
        )
        self.results, self._supervisor = results, supervisor
        return update

    # -- one run ------------------------------------------------------------------------------------------------

    def files(self, run_id: str) -> RunFiles:
        """The log of a run's newest attempt, and its last events."""
        run = self._run(run_id)
        attempt = max(1, run.status.attempt)
        tail = EventTail.of(run.folder.events(attempt))
        tail.lines.skip_to_last(EVENT_REACH)
        events = tail.poll(EVENT_REACH)[-EVENTS_SHOWN:]
        log = run.folder.log(attempt)
        if not log.exists():
            log = worker_output(self.session.workspace, self.session.config, run.folder) or log
        return RunFiles(log, tuple(EventLine(event.time, event.kind, _event_text(event)) for event in events))

    def curves(self, run_id: str) -> Mapping[str, Curve]:
        """All metrics reported by its newest attempt; empty for a result whose run folder is missing."""
        return self.observer.history(run_id).metrics if run_id in self.observer.runs else {}

    def dump_stack(self, run_id: str) -> None:
        """Request a stack dump from the worker, if it runs on this machine."""
        owner = self._run(run_id).status.owner
        if owner is None or not is_here(owner.host, owner.machine) or not lives(owner.pid, owner.pid_started):
            where = (
                f"it runs on {owner.host}"
                if owner and not is_here(owner.host, owner.machine)
                else "it has no living worker"
            )
            raise ConsoleError(f"run {run_id} cannot write its stacks: {where}")
        os.kill(owner.pid, signal.SIGUSR1)

    def _run(self, run_id: str) -> RunView:
        run = self.observer.runs.get(run_id)
        if run is None:
            raise ConsoleError(f"there is no run {run_id} in {self.session.workspace.runs}")
        return run


def _event_text(event: Event) -> str:
    value = "—" if event.value is None else f"{event.value:.6g}"
    figures = ((event.images_per_s, "images/s"), (event.memory_mb, "MB"), (event.device_memory_mb, "MB on the device"))
    texts = {
        "started": f"on {event.device}",
        "phase": event.name + (f", {event.total:,} {event.unit}" if event.total else ""),
        "advance": f"{event.done:,}",
        "metric": f"{event.name} {value}" + ("" if event.step is None else f" at {event.step:g}"),
        "resources": ", ".join(f"{figure:,.0f} {unit}" for figure, unit in figures if figure is not None),
        "ended": event.name,
    }
    return texts.get(event.kind, event.message)


POLLS_PER_SECOND = 4.0
SLOW_POLLS_PER_SECOND = 2.0


class PollThread:
    """A thread that polls a few times a second and delivers changes; after the first poll, only if there are any."""

    def __init__(self, backend: Backend, deliver: Callable[[StateUpdate], object], *, slow: bool = False) -> None:
        self._backend, self._deliver = backend, deliver
        self._seconds = 1 / (SLOW_POLLS_PER_SECOND if slow else POLLS_PER_SECOND)
        self._stop = threading.Event()
        self._now = threading.Event()
        self._acknowledged = threading.Event()
        self._acknowledged.set()
        self._thread = threading.Thread(target=self._run, name="poll", daemon=True)
        self._problem = ""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop; returns when the thread has ended or is blocked by the file system."""
        self._stop.set()
        self._now.set()
        self._thread.join(timeout=2)

    def slow_down(self, slow: bool) -> None:
        """Switch to the lower or the usual polling rate."""
        self._seconds = 1 / (SLOW_POLLS_PER_SECOND if slow else POLLS_PER_SECOND)

    def poll_now(self) -> None:
        """Poll now, after a change by the user."""
        self._now.set()

    def acknowledge(self) -> None:
        """Acknowledge the last update. No further one is delivered before, so they cannot pile up."""
        self._acknowledged.set()

    def _run(self) -> None:
        first = True
        while not self._stop.is_set():
            self._acknowledged.wait(timeout=self._seconds)
            if not self._acknowledged.is_set():
                continue
            update = self._poll_once()
            if (first or not update.empty) and not self._stop.is_set():
                first = False
                self._acknowledged.clear()
                self._deliver(update)
            self._now.wait(self._seconds)
            self._now.clear()

    def _poll_once(self) -> StateUpdate:
        """Poll once; a read error is reported once, and the next poll tries again."""
        try:
            update = self._backend.poll()
        except (ConsoleError, OSError, ValueError) as error:
            update = StateUpdate(problem=str(error) or type(error).__name__)
        problem = update.problem or ""
        changed, self._problem = problem != self._problem, problem
        return replace(update, problem=problem if changed else None)
