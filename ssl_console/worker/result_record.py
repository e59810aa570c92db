"""Conversion of an evaluation to `result.json` and `predictions.npz`."""

from __future__ import annotations

import hashlib
import io
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from backbones.io.file_digests import canonical
from backbones.io.files import write_atomically
from ssl_console.system.processes import this_host
from ssl_console.worker.provenance import code, versions
from ssl_console.worker.reporter import WorkerReporter
from ssl_console.workspace.badges import Badge, BadgeInputs, badges_of, chance_level
from ssl_console.workspace.paths import RunFolder
from ssl_console.workspace.result import Result, ResultRecord
from ssl_console.workspace.run import RunSpec
from tasks.catalog.spec import comparability_key, result_identity, result_key
from tasks.evaluation.result import Evaluation
from tasks.features.manifest import NotFiniteError
from tasks.metrics.outcome import Outcome

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class RunMeasurements:
    """Measurements of a run in addition to its result."""

    attempt: int
    device: str
    started: float
    """Seconds since the epoch."""
    memory_mb: float | None
    images_per_s: float | None
    energy_j: float | None = None
    machine: Mapping[str, str] = field(default_factory=dict)


def build_record(
    spec: RunSpec, evaluation: Evaluation, seen: RunMeasurements, reporter: WorkerReporter
) -> ResultRecord:
    """The complete record. Raises NotFiniteError when the headline or its interval is not a number."""
    if spec.concerns:  # failed checks of a backbone that was measured with --force
        diagnostics = evaluation.outcome.diagnostics
        outcome = replace(evaluation.outcome, diagnostics={**diagnostics, "doctor": list(spec.concerns)})
        evaluation = replace(evaluation, outcome=outcome)
    outcome, provenance, metric = evaluation.outcome, evaluation.provenance, spec.dataset.metric
    made_of = (provenance.backbone_identity, provenance.manifest_digest, spec.task, spec.seed)
    identity = result_identity(*made_of, precision=spec.precision, metric=metric)
    key = result_key(*made_of, precision=spec.precision, metric=metric)
    if spec.key not in (None, key):
        reporter.warn("the weights or the data changed between submission and run: the result has another key")
    metrics = _finite_metrics(spec, outcome, reporter)
    badges = _badges(spec, outcome)
    return ResultRecord(
        result=_row(spec, evaluation, seen, key, badges, len(reporter.warnings)),
        metrics=metrics,
        interval_method=outcome.interval.method,
        samples=dict(outcome.samples),
        hyperparameters=dict(outcome.hyperparameters),
        diagnostics={
            **outcome.diagnostics,
            "images_encoded": provenance.encoded,
            **({"images_encoded_by_helpers": provenance.assisted} if provenance.assisted else {}),
            **({"forward_pass": provenance.forward_pass} if provenance.forward_pass else {}),
            "features_stored": dict(provenance.hits),
        },
        parameters={name: _plain(value) for name, value in spec.task.parameters.items()},
        identity=identity,
        versions=versions(),
        code=code(),
        machine=dict(seen.machine),
        energy_j=None if provenance.assisted else seen.energy_j,  # it is of one device
        badges=badges,
        warnings=tuple(reporter.warnings),
        attempt=seen.attempt,
        host=this_host(),
    )


def _row(
    spec: RunSpec, evaluation: Evaluation, seen: RunMeasurements, key: str, badges: Sequence[Badge], warnings: int
) -> Result:
    """Row of the database."""
    outcome, provenance = evaluation.outcome, evaluation.provenance
    made_of = canonical([dict(provenance.backbone_identity), spec.precision])
    notes = outcome.diagnostics.get("data_notes")
    return Result(
        run_id=spec.run_id,
        key=key,
        backbone=spec.backbone.name,
        task=spec.task.name,
        variant=spec.task.variant,
        column=comparability_key(provenance.manifest_digest, spec.task, metric=spec.dataset.metric),
        made_of=hashlib.sha256(made_of).hexdigest()[:8],
        seed=spec.seed,
        metric=outcome.headline,
        value=outcome.value,
        ci_low=outcome.interval.low,
        ci_high=outcome.interval.high,
        interval_method=outcome.interval.method,
        n=_tested(outcome),
        higher_is_better=outcome.higher_is_better,
        finished=time.time(),
        duration_s=max(0.0, time.time() - seen.started),  # the clock may have been set back
        images_per_s=provenance.images_per_s or seen.images_per_s,
        memory_mb=seen.memory_mb,
        device=seen.device,
        warnings=warnings,
        badges=tuple(badge.name for badge in badges),
        data_notes=tuple(map(str, notes)) if isinstance(notes, list) else (),
        protocol=spec.task.protocol,
        dataset=spec.dataset.name,
        identified_by="content",
    )


def _tested(outcome: Outcome) -> int:
    """Number of samples that the confidence interval refers to."""
    return next((outcome.samples[name] for name in ("episodes", "test") if name in outcome.samples), 0)


def write_predictions(folder: RunFolder, predictions: Mapping[str, npt.NDArray[np.generic]]) -> None:
    """Write `predictions.npz`, if the protocol produced predictions."""
    if not predictions:
        return
    import numpy as np  # noqa: PLC0415 - a worker whose protocol leaves no arrays starts without it

    buffer = io.BytesIO()
    np.savez(buffer, **predictions)  # type: ignore[arg-type]
    write_atomically(folder.predictions, buffer.getvalue())


def _finite_metrics(spec: RunSpec, outcome: Outcome, reporter: WorkerReporter) -> dict[str, float]:
    headline = {outcome.headline: outcome.value, "low": outcome.interval.low, "high": outcome.interval.high}
    for name, value in headline.items():
        if not math.isfinite(value):
            raise NotFiniteError(
                f"{spec.backbone.name} on {spec.task.name}: the score is not a number ({name} is {value}); "
                "look at the features with `ssl-console cache list`, and at the run's log"
            )
    lost = [name for name, value in outcome.metrics.items() if not math.isfinite(value)]
    for name in lost:
        reporter.warn(f"{name} is not a number and is left out")
    return {name: float(value) for name, value in outcome.metrics.items() if name not in lost}


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _chance(spec: RunSpec, outcome: Outcome) -> float | None:
    """Chance level: the protocol's own, else computed from the classes."""
    stated = outcome.diagnostics.get("chance")
    if isinstance(stated, float):
        return stated
    labels, ways = outcome.predictions.get("label"), spec.task.parameters.get("ways")
    return chance_level(
        outcome.headline,
        spec.dataset.classes,
        labels.tolist() if labels is not None and labels.ndim == 1 else (),
        ways if isinstance(ways, int) else None,
    )


def _badges(spec: RunSpec, outcome: Outcome) -> tuple[Badge, ...]:
    return badges_of(
        BadgeInputs(
            value=outcome.value,
            ci_low=outcome.interval.low,
            ci_high=outcome.interval.high,
            higher_is_better=outcome.higher_is_better,
            tested=_tested(outcome),
            chance=_chance(spec, outcome),
            diagnostics=outcome.diagnostics,
        )
    )
