"""A sample of a dataset: classes take turns, nothing else is encoded, and its nearest neighbours are those of kNN."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tasks.catalog.analysis_parameters import TransferabilitySampleParameters
from tasks.catalog.catalog import TaskCatalog
from tasks.datasets.dataset import Dataset, SourceSplit
from tasks.datasets.images import ArrayImages
from tasks.datasets.splits import many_shot_indices
from tasks.evaluation.features import evaluate_task
from tasks.evaluation.result import EncoderCache, Evaluation, EvaluationPaths
from tasks.evaluation.splits import sampled
from tasks.reporter import SilentReporter
from tests.tasks.evaluation.test_one_pass import VIT, small

CATALOG = TaskCatalog.load()
DATA = small(CATALOG.dataset("shapes-hue"))
FEW = {"transferability-sample": {"images": 16, "test_images": 12, "components": 1, "neighbours": 5}}


def made(**sizes: int) -> Dataset:
    """Three classes, of which the first has four fifths of the images."""

    def split(name: str, size: int) -> SourceSplit:
        labels = np.where(np.arange(size) % 10 < 8, 0, np.arange(size) % 10 - 7)
        images = ArrayImages(np.arange(size * 12, dtype=np.uint8).reshape(size, 2, 2, 3))
        return SourceSplit(name, images, labels, [f"{name}/{n}" for n in range(size)], f"images {name}", "labels")

    splits = {name: split(name, size) for name, size in sizes.items()}
    return Dataset("made", ("a", "b", "c"), multi_label=False, splits=splits)


def test_classes_take_turns_in_the_bank_and_test_images_are_drawn_at_random() -> None:
    found = sampled(made(train=100, test=50), TransferabilitySampleParameters(images=15, test_images=20))
    assert np.bincount(found.splits["train"].labels).tolist() == [5, 5, 5]
    test = found.splits["test"]
    assert len(test.images) == 20
    assert np.bincount(test.labels)[0] > 10
    assert [one for one in test.identifiers if one.startswith("test/")] == list(test.identifiers)
    row = int(test.identifiers[3].partition("/")[2])
    assert np.array_equal(np.asarray(test.images[3]), np.asarray(made(test=50).splits["test"].images[row]))


def test_the_sample_of_a_split_has_digests_of_its_own_and_a_whole_split_keeps_its_own() -> None:
    whole = made(train=100, val=30, test=50)
    small_one, other = (
        sampled(whole, TransferabilitySampleParameters(images=1_000, test_images=count)) for count in (20, 21)
    )
    assert small_one.splits["train"] is whole.splits["train"]
    assert small_one.splits["val"] is whole.splits["val"]
    digests = {one.splits["test"].images_digest for one in (whole, small_one, other)}
    assert len(digests) == 3


def test_a_dataset_of_one_split_is_sampled_into_roles_that_have_no_image_in_common() -> None:
    found = sampled(made(all=100), TransferabilitySampleParameters(images=30, test_images=10))
    roles = many_shot_indices(found)
    assert len(found.splits["all"].images) == 40
    assert not set(roles.test[0][1]) & {int(row) for _, rows in roles.train_and_val for row in rows}


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> EvaluationPaths:
    root = tmp_path_factory.mktemp("sampled")
    return EvaluationPaths(root / "weights", root / "data", root / "features")


def evaluated(paths: EvaluationPaths, name: str, overrides: dict[str, dict[str, int]]) -> Evaluation:
    return evaluate_task(
        VIT, CATALOG.resolve(name, None, overrides), DATA, seed=0, paths=paths, device="cpu",
        reporter=SilentReporter(), encoder_cache=EncoderCache(),
    )  # fmt: skip


def test_only_the_sample_is_encoded_and_every_predictor_is_reported(paths: EvaluationPaths) -> None:
    found = evaluated(paths, "transferability-sample/shapes-hue", FEW)
    assert found.provenance.encoded == 16 + 12
    assert (found.outcome.samples["train"] + found.outcome.samples["val"], found.outcome.samples["test"]) == (16, 12)
    assert {"accuracy", "logme", "h-score", "h-score-regularised", "parc"} <= set(found.outcome.metrics)
    assert np.isfinite(list(found.outcome.metrics.values())).all()
    assert "nleep" not in found.outcome.metrics
    assert len(found.outcome.predictions["predicted"]) == 12


def test_the_result_belongs_to_the_whole_dataset_and_a_sample_of_all_images_is_knn(paths: EvaluationPaths) -> None:
    changes = {"transferability-sample": {"images": 1_000, "test_images": 1_000, "components": 1}}
    found = evaluated(paths, "transferability-sample/shapes-hue", changes)
    whole = evaluated(paths, "knn/shapes-hue", {})
    assert found.provenance.manifest_digest == whole.provenance.manifest_digest
    assert whole.provenance.encoded == 0
    assert found.outcome.metrics["accuracy"] == whole.outcome.metrics["accuracy"]
    assert Path(paths.features).is_dir()
