"""Execution of one run inside the worker, from claim to end."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from enum import Enum
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from pydantic import ValidationError

from backbones.io.files import create_exclusively, make_private_folder, write_atomically
from ssl_console.worker.claim import Assistance, AssistanceOver, claim
from ssl_console.worker.error_messages import classify_failure, memory_shortage
from ssl_console.worker.process import Terminated, Termination, end_children, log_error, redirected_to
from ssl_console.worker.provenance import EnergyMeter, code, device_peak_mb, host_peak_mb, machine, reset_peaks
from ssl_console.worker.reporter import EventLog, WorkerReporter, heartbeat, resources
from ssl_console.worker.result_record import RunMeasurements, build_record, write_predictions
from ssl_console.workspace.config import Config, data_root
from ssl_console.workspace.events import Event, keep_bounded
from ssl_console.workspace.paths import RunFolder, Workspace
from ssl_console.workspace.run import End, RunSpec, RunState
from ssl_console.workspace.run_status import RunStatus
from tasks.catalog.protocols import PROTOCOLS
from tasks.evaluation.result import EncoderCache, Evaluation, EvaluationPaths
from tasks.reporter import Reporter

BATCH_SIZE = 64
GIGABYTE = 1e9


class RunOutcome(Enum):
    """Outcome of a run that was assigned to this worker."""

    NOT_OURS = "not ours"
    """The run was no longer queued, or was claimed by another worker."""
    DONE = "done"
    ENDED = "ended"
    """Failed or cancelled: this process must not execute another run."""
    STOPPED = "stopped"
    """The worker was terminated, or the attempt was declared ended: no further run is started."""
    UNWRITTEN = "unwritten"
    """The run folder could not be written (a full disk), so the outcome is not recorded."""


class SupersededError(Exception):
    """The attempt was declared ended while it ran, so its result must not be published."""


class SpecificationError(Exception):
    """The specification requires something that this worker does not support."""


@dataclass
class RunExecutor:
    """Execution of runs in one worker process, which caches the last encoder between them."""

    workspace: Workspace
    config: Config
    device: str
    termination: Termination
    job: str = ""
    """The console's name for the cluster job of this process; empty if there is none."""
    _encoder_cache: EncoderCache = field(default_factory=EncoderCache)

    def execute(self, run_id: str) -> RunOutcome:
        """Claim the run, evaluate it, and record a result or an end."""
        folder = self.workspace.run(run_id)
        try:
            status = claim(self.workspace, run_id, self.device, self.job)
        except OSError as error:
            log_error(f"run {run_id} cannot be claimed: {error}")
            return RunOutcome.UNWRITTEN
        if status is None:
            log_error(f"run {run_id} is no longer queued")
            return RunOutcome.NOT_OURS
        with ExitStack() as stack:
            stack.enter_context(redirected_to(folder.log(status.attempt)))
            log = EventLog(folder.events(status.attempt))
            stack.callback(log.close)
            return self._attempt(folder, status, log)

    def assist(self, run_id: str, left: Callable[[], bool]) -> RunOutcome:
        """Compute features for a run that another worker executes; end when `left` returns True."""
        try:
            with self.termination.interruptible():
                reporter = Assistance(self.workspace.run(run_id), left)
                self._assist(reporter)
        except AssistanceOver as over:
            log_error(f"run {run_id} needs no more help: {over}")
        except Terminated:
            return RunOutcome.STOPPED
        except Exception:  # noqa: BLE001 - the run itself is not affected
            log_error(f"run {run_id} gets no further help from this worker:\n{traceback.format_exc()}")
            return RunOutcome.STOPPED
        finally:
            end_children()
        return RunOutcome.DONE

    def _assist(self, reporter: Assistance) -> None:
        spec = read_spec(reporter.folder)
        assist_task = getattr(_evaluation_module(spec), "assist_task", None)
        if assist_task is None or spec.fresh:
            return
        assist_task(
            spec.backbone,
            spec.task,
            spec.dataset,
            while_waiting=reporter.wait,
            **self._settings(spec, reporter.folder, reporter.batch_scale, reporter),
        )

    def _attempt(self, folder: RunFolder, status: RunStatus, log: EventLog) -> RunOutcome:
        reporter = WorkerReporter(log)
        try:
            with self.termination.interruptible():
                self._evaluate_and_publish(folder, status, log, reporter)
        except Terminated:
            end = self._terminated(folder, status)
        except Exception as error:  # noqa: BLE001 - the edge of the process: whatever it was becomes the run's end
            log_error(traceback.format_exc())
            kind, message = classify_failure(error, folder.log(status.attempt))
            shortage = memory_shortage(error, self.device, torch_device(self.device)) if kind == "oom" else None
            end = End(attempt=status.attempt, state="failed", kind=kind, message=message, shortage=shortage)
        else:
            return RunOutcome.DONE
        finally:
            end_children()
            with suppress(OSError):
                keep_bounded(folder, status.attempt)
        _last_events(log, reporter, end.state, end.message)
        recorded = _record_end(folder, end)
        if recorded is None:
            return RunOutcome.UNWRITTEN
        terminated = self.termination.asked and end.state != "cancelled"
        return RunOutcome.ENDED if recorded and not terminated else RunOutcome.STOPPED

    def _evaluate_and_publish(
        self, folder: RunFolder, status: RunStatus, log: EventLog, reporter: WorkerReporter
    ) -> None:
        if folder.cancel.exists():
            raise Terminated
        spec = read_spec(folder)
        module = _evaluation_module(spec)
        code()  # before files change that this worker has already read
        reset_peaks()
        meter = EnergyMeter(torch_device(self.device))
        started = time.time()  # after the imports, so that the first run of a worker is not charged for them
        log.write(Event("started", started, device=self.device))
        for concern in spec.concerns:
            reporter.warn(f"measured although the doctor refused: {concern}")
        with heartbeat(folder, status.attempt, log, reporter):
            evaluation = self._evaluate(module, spec, folder, status.batch_scale, reporter)
        with self.termination.uninterrupted():
            seen = self._seen(status, reporter, started, meter)
            record = build_record(spec, evaluation, seen, reporter)
            write_predictions(folder, evaluation.outcome.predictions)
            if folder.end(status.attempt).exists():
                raise SupersededError(f"attempt {status.attempt} of run {spec.run_id} was declared ended while it ran")
            _last_events(log, reporter, RunState.DONE)
            write_atomically(folder.result, record.model_dump_json().encode())
            folder.tidy()

    def _evaluate(
        self, module: ModuleType, spec: RunSpec, folder: RunFolder, batch_scale: float, reporter: WorkerReporter
    ) -> Evaluation:
        settings = self._settings(spec, folder, batch_scale, reporter)
        evaluation = cast(
            "Evaluation",
            module.evaluate_task(spec.backbone, spec.task, spec.dataset, seed=spec.seed, **settings),
        )
        if evaluation.provenance.forward_pass:
            log_error(f"forward passes: {evaluation.provenance.forward_pass}")
        return evaluation

    def _settings(self, spec: RunSpec, folder: RunFolder, batch_scale: float, reporter: Reporter) -> dict[str, Any]:
        """Keyword arguments of `evaluate_task` and `assist_task`."""
        paths = EvaluationPaths(
            weights=self.workspace.weights,
            data=data_root(self.workspace, self.config),
            features=self._features(spec),
            cache=None if spec.fresh else self.workspace.cache,
            decoded=None if spec.fresh else self.workspace.decoded,
            decoder=self.config.decoder,
            cuda_graphs=self.config.cuda_graphs == "auto",
            decoded_bytes=round(GIGABYTE * self.config.decoded_gb),
            checkpoint=folder.checkpoint,
            checkpoint_s=self.config.checkpoint_s,
            store_layers=spec.store_layers,
            pictures=folder.path,
            part=folder.part if spec.in_parts else None,
        )
        return {
            "paths": paths,
            "device": torch_device(self.device),
            "precision": spec.precision,
            "batch_size": max(1, round((self.config.batch_size or BATCH_SIZE) * batch_scale)),
            "reporter": reporter,
            "encoder_cache": self._encoder_cache,
        }

    def _features(self, spec: RunSpec) -> Path:
        """Folder of the run's features; features of a `fresh` run are stored only until it ends."""
        if not spec.fresh:
            return self.workspace.features
        return make_private_folder(self.workspace.run(spec.run_id).fresh_features)

    def _seen(self, status: RunStatus, reporter: WorkerReporter, started: float, meter: EnergyMeter) -> RunMeasurements:
        return RunMeasurements(
            attempt=status.attempt,
            device=self.device,
            started=started,
            memory_mb=device_peak_mb() or host_peak_mb(),
            images_per_s=reporter.images_per_s,
            energy_j=meter.used_j(),
            machine=machine(torch_device(self.device)),
        )

    def _terminated(self, folder: RunFolder, status: RunStatus) -> End:
        """End of a terminated run: cancelled if requested; interrupted for a cluster job, which continues later; else
        lost, and can be retried.
        """
        if folder.cancel.exists():
            return End(attempt=status.attempt, state="cancelled", message="cancelled while it ran")
        if self.job:
            why = "SIGUSR2: time limit near" if self.termination.warned else "SIGTERM: preempted, or ended manually"
            message = f"its job received {why}; `ssl-console retry` runs it again"
            return End(attempt=status.attempt, state="failed", kind="interrupted", message=message)
        message = "its worker was terminated from outside (SIGTERM); `ssl-console retry` runs it again"
        return End(attempt=status.attempt, state="failed", kind="lost", message=message)


def read_spec(folder: RunFolder) -> RunSpec:
    """The run's specification. Raises SpecificationError naming the file."""
    try:
        return RunSpec.model_validate_json(folder.spec.read_bytes())
    except ValidationError as error:
        raise SpecificationError(f"{folder.spec} is not a run that this version supports: {error}") from error


def torch_device(device: str) -> str:
    """Torch's name of the device: with one visible CUDA device, that is `cuda:0`."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return "cuda:0" if device.startswith("cuda") and shown and "," not in shown else device


def _evaluation_module(spec: RunSpec) -> ModuleType:
    protocol = PROTOCOLS.get(spec.task.protocol)
    if protocol is None:
        raise SpecificationError(f"unknown protocol {spec.task.protocol!r}; available: {', '.join(PROTOCOLS)}")
    return import_module(protocol.evaluation_module)


def _last_events(log: EventLog, reporter: WorkerReporter, state: str, message: str = "") -> None:
    """Write the last events before the run's own files record its end, so that readers of those files have complete
    events.
    """
    reporter.flush()
    log.write(resources(reporter))
    log.write(Event("ended", time.time(), name=state, message=message))


def _record_end(folder: RunFolder, end: End) -> bool | None:
    """Record the end; True if this process recorded it, False if it was recorded before, None when it could not be
    written.
    """
    try:
        return create_exclusively(folder.end(end.attempt), end.model_dump_json().encode())
    except OSError as error:
        log_error(f"the end of attempt {end.attempt} could not be recorded: {error}")
        return None
