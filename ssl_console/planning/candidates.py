"""Resolution of backbones, tasks and seeds into candidates: states of weights and data, keys, run folders.

Reads the files for `ssl_console.planning.plan`. Imports neither torch nor numpy: the content of a dataset is cached, or
read once by a subprocess.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from backbones.catalog.card import BackboneCard, Precision, identity, preprocessing_for
from backbones.catalog.layer_info import FeatureMapInfo, LayerRequest, anatomies
from backbones.catalog.weights_folder import WeightsFolder, WeightsState
from ssl_console.planning.earlier_keys import settle_earlier_results
from ssl_console.planning.plan import Blocker, Candidate
from ssl_console.system.command_hints import fetch_data, fetch_weights_command
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.result import Identity, ResultRecord
from ssl_console.workspace.run import RUN_ID_DIGITS, RunState
from ssl_console.workspace.run_status import read_status
from tasks.catalog.catalog import TaskCatalog
from tasks.catalog.protocols import PROTOCOLS
from tasks.catalog.spec import TaskSpec, result_identity, result_key
from tasks.datasets.card import DatasetCard
from tasks.datasets.manifest import Answer, Manifest, OnProgress, ReadingProgress, known_manifest, manifests
from tasks.datasets.presence import Presence, presence

REPORT_EVERY_S = 3.0


@dataclass
class LookupContext:
    """Sources that candidates are resolved from."""

    workspace: Workspace
    data_root: Path
    weights: WeightsFolder
    tasks: TaskCatalog
    notify: Callable[[str], None] = field(default=lambda _sentence: None)
    """Called with a message before a slow operation."""
    on_reading: OnProgress = field(default=lambda _progress: None)
    """Called with the pending dataset and the reading progress of its files."""

    def dataset_of(self, task: str) -> str:
        """Dataset of a task, by the task's name."""
        card = self.tasks.task_cards.get(task)
        return card.dataset if card is not None else task.partition("/")[2]


def resolve_candidates(
    backbones: Sequence[BackboneCard],
    tasks: Sequence[TaskSpec],
    seeds: Sequence[int],
    lookup: LookupContext,
    precision: Precision = "float32",
) -> list[Candidate]:
    """Every backbone on every task with every seed, grouped by backbone so that a worker loads each one once."""
    states = {card.name: lookup.weights.state(card) for card in backbones}
    datasets = {_data_of(task): lookup.tasks.card_of(task) for task in tasks}
    measurable = any(state.status == "present" for state in states.values())
    answers = _look_at(list(datasets.values()), lookup) if measurable else {}
    read = [answer for answer in answers.values() if isinstance(answer, Manifest)]
    settle_earlier_results(lookup.workspace, read, lookup.dataset_of)
    depends = any(PROTOCOLS[task.protocol].unsuitable is not None for task in tasks)
    anatomy = anatomies(backbones, lookup.workspace.cache / "anatomy") if depends else {}
    folders = _folders_by_key(lookup.workspace)
    return [
        _candidate(
            _Pick(card, task, datasets[_data_of(task)], seed, precision, anatomy.get(card.name)),
            states[card.name],
            answers,
            folders,
            lookup,
        )
        for card in backbones
        for task in tasks
        for seed in seeds
    ]


def preprocessing_name(task: TaskSpec) -> str:
    """Preprocessing of a task's images; `paper` for a protocol that leaves no choice."""
    return str(getattr(task.typed_parameters(), "preprocessing", "paper"))


def weights_advice(card: BackboneCard, state: WeightsState) -> str:
    """Instructions for getting the weights of a backbone: the command that fetches them, else the manual steps."""
    return f"run `{fetch_weights_command(card.name)}`" if is_fetchable(card) else state.advice or ""


def is_fetchable(card: BackboneCard) -> bool:
    """Whether the weights can be downloaded without a manual step."""
    return card.weights.kind in {"url", "timm", "hub"} and not getattr(card.weights, "manual", None)


def is_data_fetchable(card: DatasetCard) -> bool:
    """Whether the data can be downloaded without a manual step."""
    return card.download == "automatic" and card.folder is not None


def data_advice(card: DatasetCard, state: Presence) -> str:
    """Instructions for getting the data of a dataset: the command that fetches them, else the manual steps."""
    return f"run `{fetch_data(card.name)}`" if card.download == "automatic" else state.advice


def identity_of_run(workspace: Workspace, run_id: str) -> Identity | None:
    """Parts of an earlier result's key; None when its record is missing or unreadable."""
    try:
        return ResultRecord.model_validate_json(workspace.run(run_id).result.read_bytes()).identity
    except (OSError, ValidationError):
        return None


def folders_of_key(workspace: Workspace, key: str) -> tuple[tuple[str, RunState], ...]:
    """Run folders of a key with their states, in order of creation."""
    return _states(workspace, _folders_by_key(workspace).get(key[:RUN_ID_DIGITS], ()))


@dataclass(frozen=True)
class _Pick:
    backbone: BackboneCard
    task: TaskSpec
    dataset: DatasetCard
    seed: int
    precision: Precision
    anatomy: FeatureMapInfo | None

    @property
    def layers(self) -> LayerRequest | None:
        """Layer-wise features that the protocol reads."""
        return PROTOCOLS[self.task.protocol].layer_request(self.task.typed_parameters())


def _data_of(task: TaskSpec) -> tuple[str, str, tuple[str, ...]]:
    """Fields of a task that determine its dataset card."""
    return task.dataset, task.preset, task.further_datasets


def _look_at(cards: Sequence[DatasetCard], lookup: LookupContext) -> dict[tuple[str, str], Answer]:
    """Content of each dataset, by name and orientation. Sends a notification first where a subprocess has to be
    started.
    """
    by_orientation: dict[tuple[str, str], Answer] = {}
    for orientation in ("upright", "stored"):
        alike = {card.name: card for card in cards if card.orientation == orientation}
        answers = _look_at_alike(list(alike.values()), lookup) if alike else {}
        by_orientation.update({(name, orientation): answer for name, answer in answers.items()})
    return by_orientation


def _look_at_alike(cards: Sequence[DatasetCard], lookup: LookupContext) -> dict[str, Answer]:
    known: dict[str, Answer] = {}
    for card in cards:
        if presence(card, lookup.data_root).status == "present":
            manifest = known_manifest(card, lookup.data_root, lookup.workspace.cache)
            known.update({} if manifest is None else {card.name: manifest})
    unknown = [card for card in cards if card.name not in known]
    names = [card.name for card in unknown if presence(card, lookup.data_root).status == "present"]
    if names:
        lookup.notify(f"reading the data of {', '.join(names)}, which are new or have changed ...")
    for name in names:
        lookup.on_reading(ReadingProgress(name=name, done=0, total=0))
    reading = _Reading(lookup.notify, lookup.on_reading)
    return {**known, **manifests(unknown, lookup.data_root, lookup.workspace.cache, reading)}


@dataclass
class _Reading:
    """Progress messages about a pending dataset, every few seconds."""

    notify: Callable[[str], None]
    on_reading: OnProgress
    reported_at: float = field(default_factory=time.monotonic)

    def __call__(self, progress: ReadingProgress) -> None:
        self.on_reading(progress)
        if time.monotonic() - self.reported_at > REPORT_EVERY_S:
            self.reported_at = time.monotonic()
            self.notify(f"reading {progress.name}: {progress.done:,} of {progress.total:,} files ...")


def _candidate(
    pick: _Pick,
    weights: WeightsState,
    answers: dict[tuple[str, str], Answer],
    folders: dict[str, list[str]],
    lookup: LookupContext,
) -> Candidate:
    answer = answers.get((pick.dataset.name, pick.dataset.orientation))
    blockers = _incompatible(pick), _missing_weights(pick, weights), _missing_data(pick, answer, lookup)
    missing = [item for item in blockers if item]
    if missing or weights.digest is None or not isinstance(answer, Manifest):
        return Candidate(pick.backbone, pick.task, pick.dataset, pick.seed, None, missing=tuple(missing))
    spec = preprocessing_for(pick.backbone, preprocessing_name(pick.task))
    about = (identity(pick.backbone, weights.digest, spec), answer.digest, pick.task, pick.seed)
    parts = result_identity(*about, precision=pick.precision, metric=pick.dataset.metric)
    key = result_key(*about, precision=pick.precision, metric=pick.dataset.metric)
    states = _states(lookup.workspace, folders.get(key[:RUN_ID_DIGITS], ()))
    return Candidate(
        pick.backbone,
        pick.task,
        pick.dataset,
        pick.seed,
        key,
        parts,
        folders=states,
        precision=pick.precision,
        layers=pick.layers,
        layer_bytes=_layer_bytes(pick, answer),
    )


def _layer_bytes(pick: _Pick, manifest: Manifest) -> int:
    """Size in bytes of the layer-wise features that the run reads, over all splits."""
    blocks = pick.anatomy.blocks if pick.anatomy else None
    if pick.layers is None or blocks is None:
        return 0
    return blocks.bytes_per_image(pick.layers) * sum(split.images for split in manifest.splits.values())


def _incompatible(pick: _Pick) -> Blocker | None:
    """Reason why the protocol cannot measure the backbone, independent of missing files."""
    if pick.precision == "float16" and not PROTOCOLS[pick.task.protocol].reads_features:
        advice = "float16 is for protocols on stored features, as small gradients are zero in it"
        return Blocker("backbone", pick.backbone.name, f"{pick.task.name}: {advice}; use bfloat16 or float32")
    unsuitable = PROTOCOLS[pick.task.protocol].unsuitable
    if unsuitable is None or pick.anatomy is None:
        return None
    reason = unsuitable(pick.backbone, pick.anatomy, pick.task.typed_parameters())
    if reason is None:
        return None
    return Blocker("backbone", pick.backbone.name, f"{pick.task.name} cannot measure {pick.backbone.name}: {reason}")


def _missing_weights(pick: _Pick, state: WeightsState) -> Blocker | None:
    if state.status == "present":
        return None
    name, where = pick.backbone.name, f" ({state.path})" if state.path else ""
    reason = f"the weights of {name} are {state.status}{where}"
    fetchable = is_fetchable(pick.backbone)
    return Blocker("weights", name, f"{reason}: {weights_advice(pick.backbone, state)}", reason, fetchable)


def _missing_data(pick: _Pick, answer: Answer | None, lookup: LookupContext) -> Blocker | None:
    for card in (*pick.dataset.shifts, pick.dataset):
        state = presence(card, lookup.data_root)
        if state.status != "present":
            reason = f"the data of {card.name} are {state.status} ({state.missing[0]})"
            advice = f"{reason}: {data_advice(card, state)}"
            return Blocker("data", card.name, advice, reason, is_data_fetchable(card), card.download_megabytes)
    if answer is not None and not isinstance(answer, Manifest):
        return Blocker("data", card.name, f"the data of {card.name} cannot be read: {answer.error}")
    return None


def _folders_by_key(workspace: Workspace) -> dict[str, list[str]]:
    """Run ids by the prefix of their key, in order of creation."""
    run_ids: dict[str, list[str]] = {}
    for folder in workspace.run_folders():
        run_ids.setdefault(folder.run_id.partition("-")[0], []).append(folder.run_id)
    return {first: sorted(names, key=_number) for first, names in run_ids.items()}


def _number(run_id: str) -> int:
    number = run_id.partition("-")[2]
    return int(number) if number.isdecimal() else 1


def _states(workspace: Workspace, run_ids: Iterable[str]) -> tuple[tuple[str, RunState], ...]:
    states = []
    for run_id in run_ids:
        try:
            states.append((run_id, read_status(workspace.run(run_id), time.time()).state))
        except FileNotFoundError:  # removed in the meantime
            continue
    return tuple(states)
