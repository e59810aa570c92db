"""From the observer's runs to what screens show: run views, devices, curves, events."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from ssl_console import observe
from ssl_console.config import Config
from ssl_console.device import Device, Reading
from ssl_console.devices import all_devices, choose_devices, read_device
from ssl_console.errors import ConsoleError
from ssl_console.events import Curve, Event, Progress, fold
from ssl_console.process import lives, this_host
from ssl_console.result import Result
from ssl_console.run import State
from ssl_console.slurm.batch import job_output
from ssl_console.store import ResultStore, StoreError
from ssl_console.tail import EventTail
from ssl_console.tui.core import DeviceUser, DeviceView, EventLine, News, RunFiles, SupervisorView
from ssl_console.tui.runview import RunView
from ssl_console.workspace import Workspace

DEVICE_SECONDS = 2.0
"""How often devices are asked when no supervisor does."""
EVENTS_SHOWN = 500
EVENT_REACH = 1 << 18
"""Bytes from the end of an events file that are read for showing."""


@dataclass
class Watch:
    """Looks at the workspace again and again; one thread calls `news`."""

    workspace: Workspace
    config: Config
    results: tuple[Result, ...] = ()
    _devices: tuple[DeviceView, ...] = ()
    _asked: float = 0.0
    _supervisor: SupervisorView = field(default_factory=SupervisorView)

    @cached_property
    def observer(self) -> observe.RunObserver:
        """All runs."""
        return observe.RunObserver(self.workspace)

    @cached_property
    def _store(self) -> ResultStore:
        return ResultStore(self.workspace)

    @cached_property
    def _own_devices(self) -> list[Device]:
        return choose_devices(self.config.devices, all_devices())

    def news(self) -> News:
        """What changed since the last call. A results file that cannot be used is told, and the last one stays."""
        seen = self.observer.poll()
        problem = ""
        try:
            results = tuple(self._store.results())
        except StoreError as error:
            results, problem = self.results, str(error)
        problem = problem or next(iter(self.observer.unreadable), "")
        told = SupervisorView(self.observer.supervisor is not None, self.observer.paused)
        news = News(
            runs=tuple(view_of(run) for run in seen.changed),
            gone=seen.removed,
            results=results if results != self.results else None,
            devices=self._changed_devices(),
            supervisor=told if told != self._supervisor else None,
            problem=problem or None,
        )
        self.results, self._supervisor = results, told
        return news

    def _changed_devices(self) -> tuple[DeviceView, ...] | None:
        found = self._look_at_devices()
        if found is None or found == self._devices:
            return None
        self._devices = found
        return found

    def _look_at_devices(self) -> tuple[DeviceView, ...] | None:
        """As the supervisor sees them; without one they are asked here, less often."""
        supervisor = self.observer.supervisor
        if supervisor is not None:
            return tuple(device_view(one.device, one.reading, one.problem) for one in supervisor.devices)
        if time.monotonic() - self._asked < DEVICE_SECONDS:
            return None
        self._asked = time.monotonic()
        return tuple(device_view(device, read_device(device)) for device in self._own_devices)

    # -- one run ------------------------------------------------------------------------------------------------

    def files(self, run_id: str) -> RunFiles:
        """The log of its newest attempt, and its last events."""
        run = self._run(run_id)
        attempt = max(1, run.status.attempt)
        tail = EventTail.of(run.folder.events(attempt))
        tail.lines.skip_to_last(EVENT_REACH)
        events = tail.poll(EVENT_REACH)[-EVENTS_SHOWN:]
        log = run.folder.log(attempt)
        if not log.exists():
            log = job_output(self.workspace, run.folder) or log
        return RunFiles(log if log.exists() else None, tuple(map(event_line, events)))

    def curves(self, run_id: str) -> Mapping[str, Curve]:
        """Every metric that its newest attempt reported; none for a result whose run folder is gone."""
        run = self.observer.runs.get(run_id)
        if run is None:
            return {}
        tail = EventTail.of(run.folder.events(max(1, run.status.attempt)))
        progress = Progress()
        while events := tail.poll():
            progress = fold(events, progress)
        return progress.metrics

    def dump_stack(self, run_id: str) -> None:
        """Ask the worker, on this machine, to write where its threads are."""
        owner = self._run(run_id).status.owner
        if owner is None or owner.host != this_host() or not lives(owner.pid, owner.pid_started):
            where = f"it runs on {owner.host}" if owner and owner.host != this_host() else "it has no living worker"
            raise ConsoleError(f"run {run_id} cannot say where it is: {where}")
        os.kill(owner.pid, signal.SIGUSR1)

    def _run(self, run_id: str) -> observe.RunView:
        run = self.observer.runs.get(run_id)
        if run is None:
            raise ConsoleError(f"there is no run {run_id} in {self.workspace.runs}")
        return run


def view_of(run: observe.RunView) -> RunView:
    """A run as screens know it."""
    end = run.status.end
    owner = run.status.owner
    return RunView(
        run_id=run.run_id,
        backbone=run.summary.backbone,
        task=run.summary.task,
        seed=run.summary.seed,
        created=run.summary.created,
        state=run.state,
        variant=run.summary.variant,
        priority=run.summary.priority if run.status.priority is None else run.status.priority,
        attempt=run.status.attempt,
        kind=run.status.kind or "",
        reason=run.reason,
        progress=run.progress,
        finished=run.status.ended,
        log_tail=end.log_tail if end and run.state is State.FAILED else (),
        pid=owner.pid if owner else None,
        device=run.device,
        job=run.job.place if run.job else "",
    )


def device_view(device: Device, reading: Reading | None, problem: str = "") -> DeviceView:
    """A device as screens know it. Figures are rounded, so that what looks the same is not drawn again."""
    if reading is None:
        return DeviceView(device.name, device.title, memory_total_mb=device.memory_total_mb, problem=problem)
    users = (DeviceUser(p.pid, p.user or "somebody", p.memory_mb or 0.0, p.ours) for p in reading.processes)
    return DeviceView(
        name=device.name,
        title=device.title,
        utilisation=None if reading.utilisation is None else float(round(reading.utilisation)),
        memory_used_mb=round(reading.memory_used_mb, -2),
        memory_total_mb=reading.memory_total_mb,
        temperature_c=reading.temperature,
        power_w=None if reading.power_w is None else round(reading.power_w, -1),
        users=tuple(users),
    )


def event_line(event: Event) -> EventLine:
    """One event for reading."""
    return EventLine(event.time, event.kind, _in_words(event))


def _in_words(event: Event) -> str:
    words = {
        "started": f"on {event.device}",
        "phase": event.name + (f", {event.total:,} {event.unit}" if event.total else ""),
        "advance": f"{event.done:,}",
        "metric": f"{event.name} {_number(event.value)}" + ("" if event.step is None else f" at {event.step:g}"),
        "resources": _resources(event),
        "ended": event.name,
    }
    return words.get(event.kind, event.message)


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:.6g}"


def _resources(event: Event) -> str:
    parts = ((event.images_per_s, "images/s"), (event.memory_mb, "MB"), (event.device_memory_mb, "MB on the device"))
    return ", ".join(f"{value:,.0f} {unit}" for value, unit in parts if value is not None)
