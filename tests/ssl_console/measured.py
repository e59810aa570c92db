"""Workspaces with run folders written by the worker's code: real protocols on synthetic features."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ssl_console.worker.reporter import EventLog, WorkerReporter
from ssl_console.worker.result_record import RunMeasurements, build_record, write_predictions
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.result import ResultRecord
from ssl_console.workspace.results_db import rebuild
from ssl_console.workspace.run import RunSpec
from tasks.catalog.protocols import FewShotParameters, KnnParameters
from tasks.datasets.dataset import digest_manifest
from tasks.datasets.manifest import Manifest, SplitFacts
from tasks.evaluation.inputs import BankInputs, ManyShotInputs, PoolInputs, Samples
from tasks.evaluation.result import Evaluation, Provenance
from tasks.metrics.outcome import Json, Outcome
from tasks.protocols import few_shot, knn
from tasks.reporter import SilentReporter
from tests.ssl_console.tui.filled import spec

CLASSES = 4
IMAGES = 60
NAMES = tuple("abcd")
SPLITS = {"all": SplitFacts(images=IMAGES, images_digest="1" * 64, labels_digest="2" * 64)}
MANIFEST = Manifest(
    name="digits",
    digest=digest_manifest(NAMES, [("all", "1" * 64, "2" * 64)]),
    classes=NAMES,
    multi_label=False,
    splits=SPLITS,
)
TASKS = ("knn/digits", "few-shot-5/digits")


def measure(workspace: Workspace, backbone: str, task: str, skill: float) -> ResultRecord:
    """One finished run; higher `skill` makes classes easier to separate."""
    plan = spec("unknown", backbone, task)
    outcome = _outcome(plan, skill)
    about: dict[str, Json] = {"weights": backbone, "preprocessing": {"size": 8}}
    facts = Provenance(about, backbone, MANIFEST.digest, dimension=8, encoded=0, hits={}, images_per_s=None)
    reporter = WorkerReporter(EventLog(workspace.root / "events.jsonl"))
    seen = RunMeasurements(attempt=1, device="cpu", started=0.0, memory_mb=1.0, images_per_s=None)
    record = build_record(plan, Evaluation(outcome, facts), seen, reporter)
    run_id = record.result.key[:12]
    record = record.model_copy(update={"result": record.result.model_copy(update={"run_id": run_id})})
    folder = workspace.run(run_id)
    folder.path.mkdir()
    folder.spec.write_text(plan.model_copy(update={"run_id": run_id, "key": record.result.key}).model_dump_json())
    folder.result.write_text(record.model_dump_json())
    write_predictions(folder, outcome.predictions)
    return record


def filled(root: Path) -> Workspace:
    """Two backbones on two tasks."""
    workspace = Workspace(root).create()
    for backbone, skill in (("demo/simclr", 0.7), ("demo/mae", 0.5)):
        for task in TASKS:
            measure(workspace, backbone, task, skill)
    rebuild(workspace)
    return workspace


def on_other_data(workspace: Workspace, record: ResultRecord) -> None:
    """The same measurement again, as if the dataset had had other images before."""
    data = {"manifest": "0" * 64, "metric": "accuracy"}
    row = record.result.model_copy(update={"run_id": "otherdata000", "column": "0" * 64, "finished": 1.0})
    folder = workspace.run(row.run_id)
    folder.path.mkdir()
    folder.spec.write_bytes(workspace.run(record.result.run_id).spec.read_bytes())
    changed = record.model_copy(update={"result": row, "identity": {**record.identity, "data": data}})
    folder.result.write_text(changed.model_dump_json())
    rebuild(workspace)


def _outcome(plan: RunSpec, skill: float) -> Outcome:
    train, val, test, pool = (
        _samples(seed, skill, size) for seed, size in enumerate((IMAGES, IMAGES, IMAGES, 4 * IMAGES))
    )
    if plan.task.protocol == "knn":
        inputs = BankInputs.of(ManyShotInputs(train, val, test, NAMES, plan.dataset.metric))
        return knn.evaluate(inputs, KnnParameters(neighbours=(5, 20)), 0, SilentReporter())
    return few_shot.evaluate(PoolInputs(pool, NAMES), FewShotParameters(ways=3, episodes=30), 0, SilentReporter())


def _samples(seed: int, skill: float, size: int) -> Samples:
    generator = np.random.default_rng(seed)
    label = np.arange(size) % CLASSES
    centres = skill * np.random.default_rng(9).normal(size=(CLASSES, 8))
    features = (centres[label] + generator.normal(size=(size, 8))).astype(np.float32)
    return Samples(features, label, np.arange(size))
