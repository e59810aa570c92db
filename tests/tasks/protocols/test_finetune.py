"""Finetuning: grid, selection and final training; nothing is lost or repeated."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backbones.catalog.card import preprocessing_for
from backbones.catalog.catalog import BackboneCatalog
from backbones.catalog.weights_folder import WeightsFolder
from backbones.model.loading import TrainableBackbone
from tasks.catalog.catalog import TaskCatalog
from tasks.catalog.finetune_parameters import FinetuneParameters, GridPoint
from tasks.catalog.protocols import PROTOCOLS
from tasks.datasets.dataset import Dataset
from tasks.datasets.images import ArrayImages
from tasks.datasets.registry import open_dataset
from tasks.evaluation.inputs import ImageInputs
from tasks.metrics.outcome import Outcome
from tasks.protocols.finetune.classifier import random_view
from tasks.protocols.finetune.grid_search import Search
from tasks.protocols.finetune.protocol import evaluate
from tasks.reporter import SilentReporter
from tasks.training.loop import generator_of

BACKBONES, TASKS = BackboneCatalog.load(), TaskCatalog.load()
QUICK = FinetuneParameters(steps=4, batch_size=16, rates=(0.1, 0.05), bases=(1e-4,))


@dataclass
class Listener(SilentReporter):
    phases: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def phase(self, name: str, total: int | None = None, unit: str = "") -> None:
        self.phases.append(name)

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def inputs_for(folder: Path, dataset: Dataset, metric: Any = "accuracy", backbone: str = "demo/simclr") -> ImageInputs:
    card = BACKBONES.cards[backbone]
    return ImageInputs(
        dataset=dataset,
        metric=metric,
        backbone=TrainableBackbone.verified(card, WeightsFolder(folder / "weights")),
        spec=preprocessing_for(card, "paper"),
        key="a key",
        checkpoint=folder / "checkpoint",
        checkpoint_s=0,
    )


@pytest.fixture(scope="module")
def scenes() -> Dataset:
    """Few scenes labelled by hue."""
    card = TASKS.dataset("shapes-hue")
    fewer = {**card.reader_arguments, "train": 60, "test": 30}
    return open_dataset(card.model_copy(update={"reader_arguments": fewer, "images": {}}), Path("/nowhere"))


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory, scenes: Dataset) -> tuple[Outcome, ImageInputs]:
    """One evaluation of them, and its inputs with the checkpoints that it left."""
    inputs = inputs_for(tmp_path_factory.mktemp("evaluated"), scenes)
    return evaluate(inputs, QUICK, 0, SilentReporter()), inputs


def test_paper_preset_is_the_published_grid() -> None:
    paper = PROTOCOLS["finetune"].presets["paper"]
    assert isinstance(paper, FinetuneParameters)
    assert (paper.steps, paper.batch_size, paper.momentum, paper.temperature) == (5000, 64, 0.9, "published")
    assert len(paper.grid) == len(set(paper.grid)) == 4 * 5 * 2
    assert {point.rate for point in paper.grid} == {1e-1, 1e-2, 1e-3, 1e-4}
    assert {point.base for point in paper.grid} == {0, 1e-6, 1e-5, 1e-4, 1e-3}
    assert GridPoint(rate=0.01, base=1e-4, augmented=True).weight_decay == pytest.approx(1e-2)


def test_every_dataset_of_the_published_table_is_offered() -> None:
    from ssl_console.analysis.published.tables import tables  # noqa: PLC0415 - the console is no part of what is tested here

    published = {column.task for table in tables() for column in table.columns if column.task.startswith("finetune/")}
    assert published
    assert published <= set(TASKS.task_names)


def test_one_evaluation_has_all_that_a_result_needs_and_repeats_bit_for_bit(
    tmp_path: Path, scenes: Dataset, evaluated: tuple[Outcome, ImageInputs]
) -> None:
    first, _ = evaluated
    again = evaluate(inputs_for(tmp_path, scenes), QUICK, 0, SilentReporter())
    assert first.samples == {"train": 48, "val": 12, "test": 30}
    assert {"accuracy", "mean-per-class", "ece", "ece_scaled"} == set(first.metrics)
    assert first.interval.low <= first.value <= first.interval.high
    assert len(first.diagnostics["settings"]) == 4  # type: ignore[arg-type]
    assert set(first.hyperparameters) == {"rate", "base", "weight_decay", "augmented"}
    assert first.predictions["predicted"].shape == (30,)
    assert first.metrics == again.metrics
    assert all(np.array_equal(values, again.predictions[name]) for name, values in first.predictions.items())


def test_choice_falls_on_the_best_validation_score_and_of_equals_on_the_first(
    evaluated: tuple[Outcome, ImageInputs],
) -> None:
    outcome, _ = evaluated
    settings: Any = outcome.diagnostics["settings"]
    best = max(settings, key=lambda setting: setting["validation_score"])
    chosen = {name: outcome.hyperparameters[name] for name in ("rate", "base", "augmented")}
    assert chosen == {name: best[name] for name in chosen}


def test_several_labels_per_image_are_trained_and_scored(tmp_path: Path, scenes: Dataset) -> None:
    splits = {
        name: replace(split, labels=np.eye(8, dtype=np.int64)[split.labels] | np.eye(8, dtype=np.int64)[0])
        for name, split in scenes.splits.items()
    }
    quick = replace(QUICK, rates=(0.1,), augmentation="off")
    outcome = evaluate(
        inputs_for(tmp_path, replace(scenes, splits=splits, multi_label=True), "map11"), quick, 0, SilentReporter()
    )
    assert outcome.headline == "map11"
    assert "ece" not in outcome.metrics
    assert outcome.predictions["scores"].shape == (30, 8)


def test_a_setting_that_comes_apart_counts_as_the_worst(tmp_path: Path, scenes: Dataset) -> None:
    listener = Listener()
    wild = replace(QUICK, rates=(1e12, 0.05), augmentation="off")
    outcome = evaluate(inputs_for(tmp_path, scenes), wild, 0, listener)
    settings: Any = outcome.diagnostics["settings"]
    assert settings[0]["validation_score"] is None
    assert outcome.hyperparameters["rate"] == 0.05
    assert any("1 of 2 settings diverged" in warning for warning in listener.warnings)


def test_hopeless_settings_are_given_up_and_the_choice_says_so(tmp_path: Path, scenes: Dataset) -> None:
    impatient = replace(QUICK, rates=(0.1, 1e-9), augmentation="off", hopeless_after=0.5, hopeless_margin=-1e3)
    outcome = evaluate(inputs_for(tmp_path, scenes), impatient, 0, SilentReporter())
    settings: Any = outcome.diagnostics["settings"]
    assert [setting["steps"] for setting in settings] == [QUICK.steps // 2] * 2
    patient = replace(impatient, hopeless_margin=1e3)
    outcome = evaluate(inputs_for(tmp_path / "again", scenes), patient, 0, SilentReporter())
    settings = outcome.diagnostics["settings"]
    assert [setting["steps"] for setting in settings] == [QUICK.steps] * 2


def test_settings_that_were_tried_are_not_tried_again(
    evaluated: tuple[Outcome, ImageInputs], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, inputs = evaluated
    tried: list[int] = []
    monkeypatch.setattr(Search, "_try", lambda _search, place, _point: tried.append(place))
    again = evaluate(inputs, QUICK, 0, SilentReporter())
    assert tried == []
    assert again.metrics == first.metrics


def test_random_views_are_windows_of_the_image_in_its_size() -> None:
    image = ArrayImages(np.random.default_rng(0).integers(0, 256, (1, 50, 70, 3), dtype=np.uint8))[0]
    views = [random_view(image, 32, generator_of(0, number)) for number in range(20)]
    assert {tuple(view.shape) for view in views} == {(3, 32, 32)}
    assert len({view.numpy().tobytes() for view in views}) == 20
