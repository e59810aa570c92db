"""Runs whose worker is killed end bit for bit like uninterrupted ones.

Trainings resume from a checkpoint, protocols without training begin again. Two trainings always, all runs in
`make faults`. Each protocol's own tests also interrupt its training within the process.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from backbones.catalog.catalog import BackboneCatalog
from ssl_console.workspace.paths import RunFolder
from ssl_console.workspace.requests import request_retry, submit
from ssl_console.workspace.result import ResultRecord
from ssl_console.workspace.run import RunSpec, RunState
from tasks.catalog.catalog import TaskCatalog
from tasks.catalog.spec import parse_overrides
from tests.faults.scale import full
from tests.ssl_console.workspace_fixture import Bench, a_bench, eventually

BACKBONES, TASKS = BackboneCatalog.load(), TaskCatalog.load()
PATIENCE_S = 400.0
TRAININGS = {
    "finetune": (
        "finetune/shapes-hue",
        ("finetune.steps=8", "finetune.batch_size=16", "finetune.augmentation=chosen"),
    ),
    "segmentation": ("segmentation/shapes-scenes", ("segmentation.steps=16", "segmentation.frozen=false")),
    "normals": ("normals/shapes-scenes", ("normals.steps=40",)),
    "linear-heads": ("linear-heads/shapes-hue", ("linear-heads.steps=1500",)),
    "attentive": ("attentive/shapes-hue", ("attentive.steps=12", "attentive.batch_size=8")),
    "linear-segmentation": ("linear-segmentation/shapes-scenes", ("linear-segmentation.steps=40",)),
    "depth": ("depth/shapes-scenes", ("depth.steps=40",)),
    "finetune-vit": (
        "finetune-vit/shapes-hue",
        ("finetune-vit.steps=12", "finetune-vit.batch_size=8", "finetune-vit.average=0.9", "finetune-vit.mixup=0.8"),
    ),
    "lidar": ("lidar/shapes-hue", ("lidar.images=60", "lidar.views=20")),
    "detection": ("detection-frozen/shapes-scenes", ("detection.iterations=12",)),
    "inversion": ("inversion/shapes", ("inversion.steps=20",)),
}


KILLED = [("finetune", "setting-2.pt"), ("segmentation", "dense.pt")]
IN_FULL = [
    ("finetune", "final.pt"),
    ("normals", "dense.pt"),
    ("linear-segmentation", "head.pt"),
    ("depth", "head.pt"),
    ("finetune-vit", "setting-2.pt"),
    ("finetune-vit", "head-both.pt"),
    ("detection", "detector.pt"),
    ("inversion", "image-10.pt"),
    ("linear-heads", "heads.pt"),
    ("attentive", "attentive.pt"),
    ("lidar", "views.pt"),
]
"""Training, and the checkpoint at which it is killed."""
TRIED = [*KILLED, *IN_FULL] if full() else KILLED
WITHOUT_TRAINING = {
    "knn": "knn/shapes-hue",
    "retrieval": "retrieval/shapes-hue",
    "clustering": "clustering/shapes-hue",
    "label-free": "label-free/shapes-hue",
    "transferability": "transferability/shapes-hue",
    "transferability-sample": "transferability-sample/shapes-hue",
    "layers": "layers/shapes-hue",
    "k-shot": "k-shot/shapes-hue",
    "robustness": "robustness/shapes-hue",
    "knn-segmentation": "knn-segmentation/shapes-scenes",
    "knn-segmentation-capi": "knn-segmentation-capi/shapes-scenes",
    "patch-pca": "patch-pca/shapes-hue",
    "correspondence": "correspondence/shapes-pairs",
}
"""Protocols without a training, each with a task."""
WITH_SMALL = {"robustness", "knn-segmentation", "knn-segmentation-capi", "patch-pca", "correspondence"}
WITH_SMALL |= {"transferability-sample"}
"""Those that have a preset for small machines."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One worker for all, including the uninterrupted runs, so that torch is loaded once."""
    with pytest.MonkeyPatch.context() as patch, a_bench(tmp_path_factory.mktemp("killed"), patch) as made:
        made.workspace.config.write_text("checkpoint_s = 0\n")
        yield made


def a_run(run_id: str, task: str, changes: Sequence[str]) -> RunSpec:
    """The preset for small machines, with these changes, on a few rendered images."""
    of_task = TASKS.resolve(task, "small", parse_overrides(list(changes)))
    dataset = TASKS.dataset(of_task.dataset)
    fewer = {**dataset.reader_arguments, "train": 60, "test": 30}
    card = dataset.model_copy(update={"reader_arguments": fewer, "images": {}})
    return RunSpec(run_id=run_id, key=None, backbone=BACKBONES.cards["demo/simclr"], task=of_task, dataset=card, seed=1)


def a_run_without_training(run_id: str, protocol: str) -> RunSpec:
    """The preset for small machines where there is one, without stored features of an earlier run."""
    of_task = TASKS.resolve(WITHOUT_TRAINING[protocol], "small" if protocol in WITH_SMALL else None)
    card = TASKS.dataset(of_task.dataset)
    return RunSpec(run_id=run_id, key=None, backbone=BACKBONES.cards["demo/simclr"], task=of_task, dataset=card, seed=1)


def _measured(record: ResultRecord) -> dict[str, object]:
    """Diagnostics without the images that an attempt encoded: the second one finds them stored."""
    return {
        name: value for name, value in record.diagnostics.items() if name not in {"images_encoded", "features_stored"}
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("training", "where"),
    TRIED,
)
def test_a_run_killed_in_the_middle_ends_bit_for_bit_as_one_that_was_not(
    bench: Bench, training: str, where: str
) -> None:
    run_id = f"{training}-cut-at-{where}"
    whole = bench.workspace.run(f"whole-{training}")
    if not whole.spec.exists():
        submit(bench.workspace, whole.run_id, a_run(whole.run_id, *TRAININGS[training]).model_dump_json().encode())
    cut = submit(bench.workspace, run_id, a_run(run_id, *TRAININGS[training]).model_dump_json().encode())
    bench.supervise(linger_s=60)
    eventually((cut.checkpoint / where).exists, f"{where} is there", patience_s=PATIENCE_S)
    owner = bench.status(run_id).owner
    assert owner is not None
    os.kill(owner.pid, signal.SIGKILL)
    bench.until(run_id, RunState.FAILED)
    request_retry(bench.workspace, run_id)
    bench.supervise(linger_s=60)
    for name in (whole.run_id, run_id):
        bench.until(name, RunState.DONE, patience_s=PATIENCE_S)
    assert_same_ends(whole, cut)
    eventually(lambda: not cut.checkpoint.exists(), "a finished run needs no checkpoint")


@pytest.mark.slow
@pytest.mark.parametrize("protocol", WITHOUT_TRAINING if full() else ())
def test_a_run_without_training_killed_in_its_first_phase_ends_bit_for_bit_as_one_that_was_not(
    bench: Bench, protocol: str
) -> None:
    name = f"{protocol}-cut"
    cut = submit(bench.workspace, name, a_run_without_training(name, protocol).model_dump_json().encode())
    bench.supervise(linger_s=60)
    eventually(lambda: b'"kind":"phase"' in _content(cut.events(1)), "a phase begins", patience_s=PATIENCE_S)
    owner = bench.status(name).owner
    assert owner is not None
    os.kill(owner.pid, signal.SIGKILL)
    bench.until(name, RunState.FAILED)
    request_retry(bench.workspace, name)
    bench.supervise(linger_s=60)
    bench.until(name, RunState.DONE, patience_s=PATIENCE_S)
    undisturbed = f"{protocol}-whole"
    spec = a_run_without_training(undisturbed, protocol)
    whole = submit(bench.workspace, undisturbed, spec.model_dump_json().encode())
    bench.until(undisturbed, RunState.DONE, patience_s=PATIENCE_S)
    assert_same_ends(whole, cut)


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def assert_same_ends(whole: RunFolder, cut: RunFolder) -> None:
    """The same scores, diagnostics, predictions and pictures; the second one by its second attempt."""
    one, other = (ResultRecord.model_validate_json(folder.result.read_bytes()) for folder in (whole, cut))
    assert other.attempt == 2
    assert one.metrics == other.metrics
    assert one.hyperparameters == other.hyperparameters
    assert _measured(one) == _measured(other)
    with np.load(whole.predictions) as expected, np.load(cut.predictions) as found:
        assert set(expected.files) == set(found.files)
        assert all(np.array_equal(expected[name], found[name], equal_nan=True) for name in expected.files)
    for picture in whole.path.glob("*.png"):
        assert picture.read_bytes() == (cut.path / picture.name).read_bytes()
