"""Ladder of a workspace: its rungs, from the cheapest to the most expensive, and their results so far.

A rung is a task, planned and run as by `run`; results stay in the workspace, so a repeated ladder starts from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from backbones.catalog.card import BackboneCard
from backbones.io.card_files import UnknownName, suggest
from ssl_console.analysis.comparison import TaskComparison
from ssl_console.analysis.ladder import LadderRung, LadderStep, climb, largest_score, sample_scores
from ssl_console.analysis.ranking_cell import average_seeds
from ssl_console.operations.launch import LaunchOptions, plan_launch, plan_unchecked
from ssl_console.operations.session import Session
from ssl_console.operations.stages import PlannedStage, images_digest, predictions_of, seconds_left
from ssl_console.planning.duration import History
from ssl_console.planning.plan import PlannedRun
from ssl_console.system.errors import ConsoleError
from ssl_console.workspace.result import Result
from tasks.catalog.catalog import SCHEME
from tasks.catalog.protocols import PROTOCOLS, misfit
from tasks.catalog.spec import TaskSpec
from tasks.datasets.card import DatasetCard

Alternative = tuple[str, str | None]
"""Protocol, and its preset; None for the one of the request."""
RUNGS: tuple[tuple[Alternative, ...], ...] = (
    (("knn", None),),
    (("linear", None),),
    (("layers", None),),
    (("attentive", None),),
    (("finetune-vit", "lora"), ("finetune-vit", None), ("finetune", None)),
)
"""Protocols from cheap to expensive; of alternatives, the first that suits the dataset and all backbones is used."""


@dataclass(frozen=True)
class LadderRequest:
    """Backbones and the dataset on which they are compared."""

    backbones: tuple[BackboneCard, ...]
    dataset: DatasetCard
    preset: str | None = None
    """Preset of the protocols that have it, e.g. `small`; the others keep `default`."""
    options: LaunchOptions = field(default_factory=LaunchOptions)
    rungs: tuple[tuple[Alternative, ...], ...] = RUNGS


@dataclass(frozen=True)
class PlannedRung(PlannedStage):
    """A task with the runs of all backbones."""

    task: TaskSpec


def rungs_named(names: Sequence[str]) -> tuple[tuple[Alternative, ...], ...]:
    """Rungs from `PROTOCOL` or `PROTOCOL:PRESET` texts; all of them for none. Raises UnknownName, ConsoleError."""
    found: list[tuple[Alternative, ...]] = []
    for name in names:
        protocol, _, preset = name.partition(":")
        if protocol not in PROTOCOLS:
            raise UnknownName("protocol", protocol, suggest(protocol, PROTOCOLS))
        if preset and preset not in PROTOCOLS[protocol].presets:
            raise ConsoleError(f"--rung {name}: presets of {protocol} are {', '.join(PROTOCOLS[protocol].presets)}")
        found.append(((protocol, preset or None),))
    return tuple(dict.fromkeys(found)) or RUNGS


def dataset_named(session: Session, data: str) -> DatasetCard:
    """The dataset of a name, or of a folder of images. Raises UnknownName."""
    known = data in session.tasks.datasets or data.startswith(SCHEME)
    return session.tasks.dataset(data if known or not Path(data).expanduser().is_dir() else f"{SCHEME}{data}")


def plan_rungs(session: Session, request: LadderRequest, *, check: bool = True) -> list[PlannedRung]:
    """The rungs that suit the dataset and every backbone, in the order of the request.

    With `check`, backbones that have never been checked are checked now, which takes seconds each.
    Raises ConsoleError for fewer than two backbones, and where no rung suits.
    """
    if len(request.backbones) < 2:
        names = ", ".join(card.name for card in request.backbones) or "none"
        raise ConsoleError(f"at least two backbones are needed, not {names}: add -b NAME")
    tasks = [suitable_tasks(session, request, alternatives) for alternatives in request.rungs]
    every = [task for alternatives in tasks for task in alternatives]
    if not every:
        name = request.dataset.name
        raise ConsoleError(f"no protocol of a ladder runs on {name}: it needs one label for each image (see `tasks`)")
    results = session.results()
    make = plan_launch if check else plan_unchecked
    plan = make(session, [(request.backbones, every)], request.options, results)
    by_task: dict[tuple[str, str], list[PlannedRun]] = {}
    for run in plan.runs:
        by_task.setdefault((run.candidate.task.name, run.candidate.task.variant), []).append(run)
    history = History.of(results)
    rungs = [[_rung(one, by_task[one.name, one.variant], history, plan.slots) for one in some] for some in tasks]
    return [next(filter(_fits, some)) for some in rungs if any(map(_fits, some))]


def ladder_steps(session: Session, rungs: Sequence[PlannedRung], looks: int | None = None) -> list[LadderStep]:
    """Results of the finished rungs, one step each; `looks` is the planned number of rungs."""
    stored = {result.run_id: result for result in session.badged_results()}
    done = [measured_rung(session, rung, stored) for rung in rungs if rung.done and rung.is_stored(stored)]
    if not done:
        return []
    return climb(done, looks or len(rungs), next(iter(done[0].pairs.values())).tolerance.size)


def suitable_tasks(session: Session, request: LadderRequest, alternatives: Iterable[Alternative]) -> list[TaskSpec]:
    """The alternatives that the dataset suits."""
    tasks = []
    for protocol, own in alternatives:
        spec, wanted = PROTOCOLS[protocol], own or request.preset or "default"
        preset = wanted if wanted in spec.presets else "default"
        if misfit(spec, request.dataset, spec.presets[preset]) is None:
            tasks.append(session.tasks.resolve(f"{protocol}/{request.dataset.name}", preset))
    return tasks


def _rung(task: TaskSpec, runs: Sequence[PlannedRun], history: History, slots: int) -> PlannedRung:
    name = task.name if task.variant == "default" else f"{task.name} ({task.variant})"
    return PlannedRung(name, tuple(runs), seconds_left(runs, history, slots), task)


def _fits(rung: PlannedRung) -> bool:
    """Whether all backbones can be measured by this task."""
    return all(item.kind != "backbone" for item in rung.blockers)


def measured_rung(session: Session, rung: PlannedRung, stored: Mapping[str, Result]) -> LadderRung:
    """Results of the rung, with scores by image."""
    by_backbone: dict[str, list[Result]] = {}
    for result in rung.results(stored):
        by_backbone.setdefault(result.backbone, []).append(result)
    metric = next(iter(by_backbone.values()))[0].metric
    arrays = {name: predictions_of(session, results) for name, results in by_backbone.items()}
    scores = {name: sample_scores(metric, found) for name, found in arrays.items() if found}
    digests = {name: images_digest(found[0]) for name, found in arrays.items() if found}
    reference = next((found[0] for found in arrays.values() if found), {})
    images = images_digest(reference)
    return LadderRung(
        task=rung.task.name,
        variant=rung.task.variant,
        protocol=rung.task.protocol,
        cells={name: average_seeds(results) for name, results in by_backbone.items()},
        samples={name: values for name, values in scores.items() if values is not None and digests[name] == images},
        pairs=_pairs(session, by_backbone),
        images=images,
        reach=largest_score(metric, reference["label"]) if "label" in reference else 100.0,
    )


def _pairs(session: Session, by_backbone: Mapping[str, list[Result]]) -> dict[tuple[str, str], TaskComparison]:
    pairs = {}
    for first, second in combinations(by_backbone, 2):
        found = session.compare(first, second, [*by_backbone[first], *by_backbone[second]])
        if not found.tasks:
            reasons = "; ".join(item.reason for item in found.not_comparable)
            raise ConsoleError(f"{first} and {second} cannot be compared: {reasons}")
        pairs[first, second] = found.tasks[0]
    return pairs
