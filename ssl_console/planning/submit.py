"""Submission of a plan: each run gets one folder, even when consoles submit the same work concurrently."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from backbones.catalog.layer_info import LayerRequest
from ssl_console.planning.candidates import preprocessing_name
from ssl_console.planning.plan import PlannedRun
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.requests import NotPossible, request_retry, set_priority, submit
from ssl_console.workspace.run import Placement, RunSpec
from tasks.catalog.protocols import PROTOCOLS

ANYWHERE = Placement()

How = Literal["queued", "queued again", "queued already"]


@dataclass(frozen=True)
class Submitted:
    """Result of a submission."""

    hows: dict[str, How]
    """By run id, in the order of submission."""

    @property
    def run_ids(self) -> tuple[str, ...]:
        return tuple(self.hows)

    @property
    def counts(self) -> Counter[How]:
        return Counter(self.hows.values())


def submit_runs(
    workspace: Workspace, runs: Iterable[PlannedRun], placement: Placement = ANYWHERE, *, in_order: bool = False
) -> Submitted:
    """Queue every planned run; a run that is already queued, also by another console, is not duplicated.

    With `in_order` they start in this order, by their priorities. Raises OSError when the workspace cannot be written;
    runs queued before that stay queued.
    """
    workspace.create()
    known = [run for run in runs if run.run_id is not None]
    priorities = range(len(known) - 1, -1, -1) if in_order else [0] * len(known)
    # the first run that encodes the images stores the layer-wise features that any of the runs reads
    layers: dict[Pass, dict[LayerRequest, None]] = {}
    for run in known:
        if run.candidate.layers is not None:
            layers.setdefault(_pass_of(run), {})[run.candidate.layers] = None
    hows = {
        run.run_id: _submit(workspace, spec_of(run, placement, priority, tuple(layers.get(_pass_of(run), ()))))
        for run, priority in zip(known, priorities, strict=True)
        if run.run_id is not None
    }
    return Submitted(hows)


Pass = tuple[str, str, str, str, str]
"""Backbone, dataset with orientation, preprocessing and precision: runs with equal values encode the same images."""


def _pass_of(run: PlannedRun) -> Pass:
    candidate = run.candidate
    preprocessing = preprocessing_name(candidate.task)
    dataset = candidate.dataset
    return candidate.backbone.name, dataset.name, dataset.orientation, preprocessing, candidate.precision


def spec_of(
    run: PlannedRun,
    placement: Placement = ANYWHERE,
    priority: int = 0,
    store_layers: tuple[LayerRequest, ...] = (),
) -> RunSpec:
    """Specification that is passed to the worker."""
    assert run.run_id is not None
    candidate = run.candidate
    return RunSpec(
        run_id=run.run_id,
        key=candidate.key,
        backbone=candidate.backbone,
        task=candidate.task,
        dataset=candidate.dataset,
        seed=candidate.seed,
        precision=candidate.precision,
        priority=priority,
        launcher=placement.launcher,
        devices=placement.devices,
        share=placement.share,
        devices_per_run=placement.devices_per_run,
        concerns=candidate.concerns,
        in_parts=run.in_parts,
        store_layers=store_layers if PROTOCOLS[candidate.task.protocol].reads_features else (),
    )


def _submit(workspace: Workspace, spec: RunSpec) -> How:
    if not workspace.run(spec.run_id).path.exists():
        try:
            submit(workspace, spec.run_id, spec.model_dump_json(indent=2).encode())
        except OSError as error:
            if error.errno not in {None, errno.EEXIST, errno.ENOTEMPTY}:
                raise
        else:
            return "queued"
    try:
        request_retry(workspace, spec.run_id, placement=spec.placement)
        if spec.priority:
            set_priority(workspace, spec.run_id, spec.priority)
    except NotPossible:
        return "queued already"
    return "queued again"
