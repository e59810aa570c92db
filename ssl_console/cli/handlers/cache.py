"""`cache list|why|prune`, `clean` and `features`: stored features, their export, and removal of runs that ended long
ago.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from backbones.catalog.card import identity, preprocessing_for
from backbones.io.errors import counted
from ssl_console.cli.output import stdout
from ssl_console.cli.output.progress_bar import Meter
from ssl_console.operations.disk_space import Kept, outdated_runs, parse_age, remove_runs, size_of
from ssl_console.operations.export_features import ExportedFile, ExportOptions, export_features
from ssl_console.operations.session import Session
from ssl_console.planning.candidates import preprocessing_name
from ssl_console.planning.duration import megabytes
from ssl_console.system.errors import MissingInputs
from ssl_console.workspace.paths import RunFolder
from ssl_console.workspace.run import RunSpec
from ssl_console.workspace.run_index import RunIndex
from tasks.catalog.protocols import PROTOCOLS
from tasks.datasets.manifest import Manifest, manifests
from tasks.features.cache_report import (
    CacheEntry,
    Pruning,
    decoded_splits,
    entries,
    prune,
    remove,
    to_prune,
)
from tasks.features.cache_report import why as explain
from tasks.features.manifest import FeatureKey
from tasks.features.requests import Advance, Phase, Report

DAY_S = 86400.0
SHOWN = 20


def list_cache(session: Session, *, as_json: bool) -> None:
    """List the stored features and the decoded images, most recently used first, with their total size."""
    found, decoded = entries(session.workspace.features), decoded_splits(session.workspace.decoded)
    sizes = [sum(entry.size for entry in found), sum(split.size for split in decoded)]
    if as_json:
        splits = [
            {"title": split.title, "size": split.size, "last_used": split.last_used, "path": str(split.path)}
            for split in decoded
        ]
        features = [_as_json(entry) for entry in found]
        stdout.document({"features": features, "decoded": splits, "size": sum(sizes)})
        return
    lines: list[tuple[str, ...]] = [
        *((e.key[:12], e.title, e.state, megabytes(e.size), _day(e.last_used)) for e in found),
        *((s.path.stem[:12], s.title, "decoded images", megabytes(s.size), _day(s.last_used)) for s in decoded),
    ]
    stdout.table(("key", "features", "state", "size", "last used"), lines, right=frozenset({3}))
    stdout.say(f"{len(found)} entries, {megabytes(sizes[0])}, in {session.workspace.features}")
    limit = f"at most {session.config.decoded_gb:g} GB (decoded_gb)"
    stdout.say(f"{len(decoded)} with decoded images, {megabytes(sizes[1])}, {limit}, in {session.workspace.decoded}")


def why(session: Session, backbone: str, task: str) -> None:
    """Explain, split by split, why the features of a backbone on a task's data are, or are not, stored.

    For a task without stored features, list the checkpoints of its unfinished runs. Raises MissingInputs when weights
    or data are missing: without them no key can be computed.
    """
    card = session.backbones.get(backbone)
    # a dataset alone means its linear protocol, whose features most other protocols share
    spec = session.tasks.resolve(f"linear/{task}" if task in session.tasks.datasets else task)
    if PROTOCOLS[spec.protocol].inputs == "images":
        stdout.lines(_of_images(session, card.name, spec.name))
        return
    state = session.weights.state(card)
    if state.digest is None:
        raise MissingInputs(f"the weights of {card.name} are {state.status}: {state.advice}")
    dataset = session.tasks.card_of(spec)
    answer = manifests([dataset], session.data_root, session.workspace.cache)[dataset.name]
    if not isinstance(answer, Manifest):
        raise MissingInputs(f"{dataset.name}: {answer.error}")
    about = identity(card, state.digest, preprocessing_for(card, preprocessing_name(spec)))
    for name, split in answer.splits.items():
        explanation = explain(session.workspace.features, FeatureKey(about, split.images_digest))
        stdout.lines([f"{name}: {explanation.sentence}"])


def _of_images(session: Session, backbone: str, task: str) -> list[str]:
    """Checkpoints of the unfinished runs of a task that uses no stored features."""
    states = []
    for folder in session.workspace.run_folders():
        files = list(folder.checkpoint.glob("*")) if folder.checkpoint.is_dir() else []
        if files and _is_of(folder, backbone, task):
            size, last = sum(file.stat().st_size for file in files), max(file.stat().st_mtime for file in files)
            states.append(f"run {folder.run_id} continues from a checkpoint of {megabytes(size)}, written {_day(last)}")
    return [
        f"{task} reads the images themselves, with the backbone in memory: it uses no stored features",
        *(states or [f"no unfinished run with {backbone} has a checkpoint"]),
    ]


def _is_of(folder: RunFolder, backbone: str, task: str) -> bool:
    try:
        spec = RunSpec.model_validate_json(folder.spec.read_bytes())
    except (OSError, ValidationError):
        return False
    return (spec.backbone.name, spec.task.name) == (backbone, task)


def prune_cache(
    session: Session,
    *,
    unused_days: float | None,
    keep_gb: float | None,
    partial: bool,
    decoded: bool,
    dry_run: bool,
) -> None:
    """Remove the selected entries, or with `dry_run` only print them. Images in use by a run stay."""
    policy = Pruning(
        unused_for_s=None if unused_days is None else unused_days * DAY_S,
        keep_bytes=None if keep_gb is None else int(keep_gb * 1e9),
        partials=partial,
    )
    root, now = session.workspace.features, time.time()
    removals = to_prune(entries(root), policy, now) if dry_run else prune(root, policy, now)
    stdout.lines([f"{removal.entry.title} ({megabytes(removal.entry.size)}): {removal.reason}" for removal in removals])
    longest = 0.0 if decoded else policy.unused_for_s
    images = [
        s for s in decoded_splits(session.workspace.decoded) if longest is not None and now - s.last_used >= longest
    ]
    images = [split for split in images if dry_run or remove(split)]
    stdout.lines([f"{split.title} ({megabytes(split.size)}): decoded images" for split in images])
    freed = megabytes(sum(size for size in [*(r.entry.size for r in removals), *(s.size for s in images)]))
    done = "would be removed" if dry_run else "removed"
    stdout.say(f"{len(removals)} entries {done}, and the decoded images of {len(images)} splits, {freed}")


def _as_json(entry: CacheEntry) -> dict[str, object]:
    plan = entry.plan
    return {
        "key": entry.key,
        "backbone": plan.backbone if plan else None,
        "dataset": plan.dataset if plan else None,
        "split": plan.split if plan else None,
        "rows": plan.rows if plan else None,
        "state": entry.state,
        "size": entry.size,
        "last_used": entry.last_used,
        "path": str(entry.path),
    }


def _day(moment: float) -> str:
    return datetime.fromtimestamp(moment).astimezone().strftime("%Y-%m-%d %H:%M")


def clean(session: Session, older: str, keep: Kept, *, dry_run: bool) -> None:
    """Remove failed and cancelled runs that ended before the given age, and results that are not to be kept.

    Raises ConsoleError for an invalid age, StoreError, OSError.
    """
    now = time.time()
    index = RunIndex(session.workspace)
    index.refresh(now)
    found = outdated_runs(index.entries.values(), session.results(), now - parse_age(older), keep)
    counts = Counter(str(run.status.state) for run in found)
    words = ", ".join(f"{count:,} {state}" for state, count in sorted(counts.items())) or "none"
    if dry_run:
        rows = [(run.run_id, run.backbone, run.task, str(run.status.state)) for run in found[:SHOWN]]
        stdout.table(("run", "backbone", "task", "state"), rows)
        size = megabytes(sum(size_of(run.folder.path) for run in found))
        stdout.lines(
            [f"{counted(len(found), 'run')} would be removed ({words}), {size}; nothing was removed (--dry-run)"]
        )
        return
    removed = remove_runs(session.workspace, found)
    stdout.lines([f"{counted(removed.runs, 'run is', 'runs are')} removed ({words}), {megabytes(removed.bytes)}"])


def features(session: Session, backbone: str, images: Sequence[str], options: ExportOptions, *, as_json: bool) -> None:
    """Write the file; progress and warnings go to standard error. Raises as `export_features` does."""
    with ExitStack() as stack:
        done = export_features(session, backbone, images, options, PhaseMeter(stack))
    for words in done.warnings:
        stdout.say(f"warning: {words}")
    if as_json:
        stdout.document(_document(done))
        return
    found, names = done.exported, f", names in {done.names}" if done.names else ""
    stored = f", {found.images - found.encoded:,} of them already stored" if found.encoded < found.images else ""
    stdout.lines([f"{done.path}: {found.images:,} images{stored}, {found.dimension} dimensions{names}"])


@dataclass
class PhaseMeter:
    """A progress meter for each phase with a known number of images."""

    stack: ExitStack
    meter: Meter | None = None
    total: int = 0
    done: int = 0

    def __call__(self, report: Report) -> None:
        """Show a new phase or progress."""
        if isinstance(report, Phase):
            self.total, self.done = report.total or 0, 0
            if self.total:
                self._begin(report.name)
        elif isinstance(report, Advance) and self.meter is not None:
            self.done += report.count
            self.meter.update(self.done, self.total)

    def _begin(self, title: str) -> None:
        if self.meter is None:
            self.meter = self.stack.enter_context(Meter(title, unit="images"))
        self.meter.rename(title)
        self.meter.update(0, self.total)


def _document(done: ExportedFile) -> dict[str, object]:
    return {
        "path": str(done.path),
        "names": None if done.names is None else str(done.names),
        "backbone": done.backbone,
        "images": done.exported.images,
        "dimension": done.exported.dimension,
        "encoded": done.exported.encoded,
        "weights_digest": done.exported.weights_digest,
        "warnings": list(done.warnings),
    }
