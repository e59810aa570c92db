"""Trainings whose worker is killed in the middle: they carry on, and end bit for bit as those that were not."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from backbones.catalog import BackboneCatalog
from ssl_console.requests import request_retry, submit
from ssl_console.result import ResultRecord
from ssl_console.run import RunSpec, State
from tasks.catalog import TaskCatalog
from tasks.overrides import parse_overrides
from tests.engine.bench import Bench, a_bench, eventually

BACKBONES, TASKS = BackboneCatalog.load(), TaskCatalog.load()
PATIENCE_S = 400.0


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with a_bench(tmp_path, monkeypatch) as made:
        made.workspace.config.write_text("checkpoint_s = 0\n")
        yield made


def a_run(run_id: str, task: str, changes: Sequence[str]) -> RunSpec:
    """The preset for small machines, with these changes, on a few rendered images."""
    of_task = TASKS.resolve(task, "small", parse_overrides(list(changes)))
    dataset = TASKS.dataset(of_task.dataset)
    fewer = {**dataset.reader_arguments, "train": 60, "test": 30}
    card = dataset.model_copy(update={"reader_arguments": fewer, "images": {}})
    return RunSpec(run_id=run_id, key=None, backbone=BACKBONES.cards["demo/simclr"], task=of_task, dataset=card, seed=1)


FINETUNE = ("finetune.steps=15", "finetune.batch_size=16", "finetune.augmentation=chosen")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "changes", "where"),
    [
        ("finetune/shapes-hue", FINETUNE, "setting-2.pt"),
        ("finetune/shapes-hue", FINETUNE, "final.pt"),
        ("segmentation/shapes-scenes", ("segmentation.steps=40", "segmentation.frozen=false"), "dense.pt"),
        ("normals/shapes-scenes", ("normals.steps=40",), "dense.pt"),
        ("detection-frozen/shapes-scenes", ("detection.iterations=12",), "detector.pt"),
        ("inversion/shapes", ("inversion.steps=20",), "image-10.pt"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_run_killed_in_the_middle_ends_bit_for_bit_as_one_that_was_not(
    bench: Bench, task: str, changes: Sequence[str], where: str
) -> None:
    whole, cut = (
        submit(bench.workspace, name, a_run(name, task, changes).model_dump_json().encode())
        for name in ("whole", "cut")
    )
    bench.supervise(slots_per_device=2)
    eventually((cut.checkpoint / where).exists, f"{where} is there", patience_s=PATIENCE_S)
    owner = bench.status("cut").owner
    assert owner is not None
    os.kill(owner.pid, signal.SIGKILL)
    bench.until("cut", State.FAILED)
    request_retry(bench.workspace, "cut")
    bench.supervise(slots_per_device=2)
    for name in ("whole", "cut"):
        bench.until(name, State.DONE, patience_s=PATIENCE_S)
    one, other = (ResultRecord.model_validate_json(folder.result.read_bytes()) for folder in (whole, cut))
    assert other.attempt == 2
    assert one.metrics == other.metrics
    assert one.hyperparameters == other.hyperparameters
    assert one.diagnostics == other.diagnostics
    with np.load(whole.predictions) as expected, np.load(cut.predictions) as found:
        assert set(expected.files) == set(found.files)
        assert all(np.array_equal(expected[name], found[name], equal_nan=True) for name in expected.files)
    for picture in whole.path.glob("*.png"):
        assert picture.read_bytes() == (cut.path / picture.name).read_bytes()
    eventually(lambda: not cut.checkpoint.exists(), "a finished run needs no checkpoint")
