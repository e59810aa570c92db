"""`watch`: evaluate checkpoints as a training writes them, and show how transfer develops."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from backbones.catalog.card import BackboneCard, FileWeights
from ssl_console.cli.output import stdout
from ssl_console.cli.output.live_progress import point_line
from ssl_console.operations.add_backbone import BackboneOptions, check_options, inspect_checkpoint, make_card
from ssl_console.operations.checkpoints.record import TransferCurve, WatchedTraining, curve_of, training_folder
from ssl_console.operations.checkpoints.watcher import Watcher, only_watcher
from ssl_console.operations.judge import improvement_of
from ssl_console.operations.session import Session
from ssl_console.system.devices import parse_devices
from ssl_console.system.errors import ConsoleError, ExitCode
from tasks.catalog.spec import TaskSpec

DEFAULT_TASKS = ("knn/digits", "knn/shapes")
"""Built-in tasks that take seconds."""
SUPERVISOR_S = 5.0
BARE = frozenset({"trained"})
"""Checks that do not apply to a checkpoint from the beginning of a training."""


class UnsuitableCheckpoint(ConsoleError):  # noqa: N818 - a domain word, raised as such
    """The first checkpoint fails its checks."""

    exit_code = ExitCode.REFUSED


@dataclass(frozen=True)
class WatchRequest:
    """Arguments of `watch`."""

    folder: Path
    options: BackboneOptions
    tasks: tuple[str, ...] = ()
    suite: str | None = None
    like: str | None = None
    every: int = 1
    poll_s: float = 1.0
    idle_stop_s: float | None = None
    devices: str | None = None
    force: bool = False
    as_json: bool = False


class WatchView(Protocol):
    """Display of changes."""

    def show(self, training: WatchedTraining, curve: TransferCurve) -> None:
        """Update after a poll with changes."""


def watch(session: Session, request: WatchRequest) -> ExitCode:
    """Watch until Ctrl-C, or until nothing changed for `idle_stop_s`; 130 after Ctrl-C, 1 when a checkpoint failed."""
    if not request.folder.is_dir():
        raise ConsoleError(f"{request.folder} is not a folder: name the one to which the training writes checkpoints")
    check_options(request.options)
    patterns = request.tasks or (() if request.suite else DEFAULT_TASKS)
    tasks = session.tasks.select(patterns, request.suite)
    training = WatchedTraining(
        folder=str(request.folder),
        name=request.options.name or request.folder.name,
        tasks=tuple(dict.fromkeys(task.name for task in tasks)),
        every=request.every,
    )
    with only_watcher(training_folder(session.workspace, request.folder)), _watch_view(request) as view:
        watcher = _watcher(session, request, training, tasks)
        try:
            _watch(session, request, watcher, view)
        except KeyboardInterrupt:
            stdout.say("stopped watching: runs continue, and the same command resumes from here")
            return ExitCode.INTERRUPTED
    failed = any(one.status == "failed" for one in watcher.training.checkpoints)
    return ExitCode.RUN_FAILED if failed else ExitCode.DONE


def _watch(session: Session, request: WatchRequest, watcher: Watcher, view: WatchView) -> None:
    changed_at = time.monotonic()
    ensured_at = float("-inf")
    view.show(watcher.training, _curve(session, watcher))
    while True:
        changed = watcher.poll()
        now = time.monotonic()
        if watcher.busy and now - ensured_at > SUPERVISOR_S:
            session.start_supervisor()
            ensured_at = now
        if changed:
            view.show(watcher.training, _curve(session, watcher))
        changed_at = now if changed or watcher.busy else changed_at
        if request.idle_stop_s is not None and now - changed_at >= request.idle_stop_s:
            return
        time.sleep(request.poll_s)


def _curve(session: Session, watcher: Watcher) -> TransferCurve:
    results = [*session.results(), *watcher.fresh.values()]
    curve = curve_of(watcher.training, results)
    found = improvement_of(session, watcher.training, curve, results)
    return curve if found is None else replace(curve, improvement=found.sentence, stopped=found.stopped)


def _watcher(session: Session, request: WatchRequest, training: WatchedTraining, tasks: list[TaskSpec]) -> Watcher:
    return Watcher.open(
        training,
        tasks,
        session.lookup,
        describe=lambda copy, name: _describe(session, request, copy, name),
        results=session.results,
        placement=session.placement(devices=parse_devices(request.devices)),
    )


def _describe(session: Session, request: WatchRequest, copy: Path, name: str) -> BackboneCard:
    """Card of the first checkpoint: as another backbone's, or detected as by `add backbone`."""
    card = _card(session, request, copy, name)
    findings = [one for one in session.checker().examine(card, thorough=False) if one.name not in BARE]
    bad = [f"{one.name}: {one.words}" for one in findings if one.verdict == "bad"]
    if bad and not request.force:
        raise UnsuitableCheckpoint(
            f"the first checkpoint fails its checks ({'; '.join(bad)}): describe how it was trained (--norm, "
            "--size, --arch, --like BACKBONE), or measure it anyway with --force"
        )
    for sentence in bad:
        stdout.say(f"ssl-console: {sentence}")
    return card


def _card(session: Session, request: WatchRequest, copy: Path, name: str) -> BackboneCard:
    if request.like is not None:
        like = session.backbones.get(request.like)
        return like.model_copy(update={"name": f"training/{name}", "weights": FileWeights(path=str(copy))})
    options = replace(request.options, path=copy, name=f"training/{name}")
    return make_card(options, inspect_checkpoint(options))


@contextmanager
def _watch_view(request: WatchRequest) -> Iterator[WatchView]:
    if request.as_json:
        yield JsonWatch()
    elif sys.stdout.isatty():
        from ssl_console.cli.output.live_progress import live_curve

        with live_curve() as view:
            yield view
    else:
        yield PlainWatch()


@dataclass
class PlainWatch:
    """One line per measured checkpoint, and the verdict when it changes."""

    _shown: set[str] = field(default_factory=set)
    _verdict: str = ""

    def show(self, training: WatchedTraining, curve: TransferCurve) -> None:
        for point in curve.points:
            if point.backbone not in self._shown:
                self._shown.add(point.backbone)
                stdout.lines([point_line(point, curve)])
        for one in training.checkpoints:
            if one.status == "failed" and one.backbone not in self._shown:
                self._shown.add(one.backbone)
                stdout.lines([f"{one.file}: failed (ssl-console logs {next(iter(one.run_ids), 'RUN')})"])
        verdict = "; ".join(filter(None, [curve.verdict, curve.improvement]))
        if curve.points and verdict != self._verdict:
            self._verdict = verdict
            stdout.lines([verdict])


@dataclass
class JsonWatch:
    """JSON lines: `checkpoint` for each changed checkpoint, `curve` for every change of the curve."""

    _shown: dict[str, str] = field(default_factory=dict)

    def show(self, training: WatchedTraining, curve: TransferCurve) -> None:
        for one in training.checkpoints:
            key = f"{one.file} {one.size} {one.mtime_ns}"
            if self._shown.get(key) != one.status:
                self._shown[key] = one.status
                stdout.json_line({"event": "checkpoint", **one.model_dump(mode="json", exclude={"stored"})})
        points = [
            {"step": point.step, "backbone": point.backbone, "mean": point.mean, "scores": dict(point.scores)}
            for point in curve.points
        ]
        stdout.json_line(
            {
                "event": "curve",
                "unit": curve.unit,
                "points": points,
                "references": dict(curve.references),
                "peaked": curve.peaked,
                "verdict": curve.verdict,
                "improvement": curve.improvement,
                "stopped_improving": curve.stopped,
            }
        )
