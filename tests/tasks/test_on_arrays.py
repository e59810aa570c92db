"""The protocols as functions on arrays: the same results as a worker's, from the same features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from backbones.catalog.card import identity, preprocessing_for
from backbones.catalog.weights_folder import WeightsFolder
from tasks import few_shot, knn, linear
from tasks.datasets.registry import open_dataset
from tasks.evaluation.features import evaluate_task
from tasks.evaluation.result import EncoderCache, EvaluationPaths
from tasks.features.manifest import FeatureKey
from tasks.features.store import FeatureRequest, FeatureStore
from tasks.metrics.outcome import Outcome
from tasks.reporter import SilentReporter
from tests.tasks.workspace_fixture import CATALOG, demo

Rows = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]
CARD = demo("simclr")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluation")


def worker(root: Path, task: str, seed: int = 0, **changes: Any) -> Outcome:
    spec = CATALOG.resolve(task, None, {task.partition("/")[0].removesuffix("-5"): changes} if changes else None)
    paths = EvaluationPaths(weights=root / "weights", data=root / "data", features=root / "features")
    return evaluate_task(
        CARD,
        spec,
        CATALOG.dataset(spec.dataset),
        seed=seed,
        paths=paths,
        device="cpu",
        reporter=SilentReporter(),
        encoder_cache=EncoderCache(),
    ).outcome


@pytest.fixture(scope="module")
def digits(root: Path) -> dict[str, Rows]:
    """Features and labels of the splits, from the store."""
    dataset = open_dataset(CATALOG.dataset("digits"), root / "data")
    spec, weights = preprocessing_for(CARD, "paper"), WeightsFolder(root / "weights")
    state = weights.state(CARD)
    store, cache = FeatureStore(root / "features"), EncoderCache()
    found = {}
    for name, split in dataset.splits.items():
        key = FeatureKey(identity(CARD, str(state.digest), spec), split.images_digest)
        request = FeatureRequest(key, CARD.name, dataset.name, split, spec)
        features = store.features(
            request, lambda: cache.get(CARD, str(state.digest), weights, "cpu", "float32"), SilentReporter()
        )
        found[name] = (np.asarray(features.values), split.labels)
    return found


def same(found: Outcome, expected: Outcome) -> None:
    assert found.metrics == expected.metrics
    assert found.interval == expected.interval
    assert found.samples == expected.samples
    assert found.hyperparameters == expected.hyperparameters
    assert set(found.predictions) == set(expected.predictions)
    for name, values in expected.predictions.items():
        np.testing.assert_array_equal(found.predictions[name], values, err_msg=name)


def test_knn_on_arrays_is_what_a_worker_computes(root: Path, digits: dict[str, Rows]) -> None:
    expected = worker(root, "knn/digits")
    found = knn(*digits["train"], *digits["test"])
    same(found, expected)
    assert found.interval.low < found.value < found.interval.high


@pytest.mark.slow
def test_linear_on_arrays_is_what_a_worker_computes_for_each_seed(root: Path, digits: dict[str, Rows]) -> None:
    for seed in (0, 3):
        expected = worker(root, "linear/digits", seed, strengths=5)
        same(linear(*digits["train"], *digits["test"], seed=seed, strengths=5), expected)


def test_few_shot_on_arrays_is_what_a_worker_computes(root: Path, digits: dict[str, Rows]) -> None:
    expected = worker(root, "few-shot-5/digits", 1, episodes=40)
    features, labels = (np.concatenate([digits[split][part] for split in ("train", "test")]) for part in (0, 1))
    same(few_shot(features, labels, shots=5, seed=1, episodes=40), expected)


def clusters(classes: int = 4, each: int = 30, seed: int = 0) -> Rows:
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    centres = 3 * np.random.default_rng(99).standard_normal((classes, 8))
    return (centres[labels] + generator.standard_normal((len(labels), 8))).astype(np.float32), labels


def test_class_names_are_labels_too() -> None:
    features, labels = clusters()
    names = np.array(["ant", "bee", "cow", "dog"])
    other, truth = clusters(seed=1)
    assert knn(features, names[labels], other, names[truth]).metrics == knn(features, labels, other, truth).metrics


def test_a_validation_split_of_the_users_own_chooses_the_strength() -> None:
    val = clusters(each=20, seed=2)
    found = linear(*clusters(), *clusters(seed=1), val=val, strengths=3)
    assert dict(found.samples) == {"train": 120, "val": 80, "test": 120}


def test_several_labels_an_image_are_scored_by_average_precision() -> None:
    features, labels = clusters()
    several = np.eye(4, dtype=np.int64)[labels]
    assert knn(features, several, features, several).headline == "map11"


def test_a_warning_of_the_protocol_reaches_the_notebook() -> None:
    features, labels = clusters(each=4)
    with pytest.warns(UserWarning, match="only 16 training images"):
        knn(features, labels, *clusters(seed=1))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"train": np.full((120, 8), np.nan)}, "train: 120 rows of the features hold NaN"),
        ({"train": np.zeros((120, 9))}, "features of different lengths"),
        ({"train": np.zeros(120)}, "expected numbers"),
        ({"labels": np.zeros(7, int)}, "120 rows of features and 7 labels"),
        ({"labels": -np.ones(120, int)}, "expected class indices"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_with_the_reason(changed: dict[str, Any], words: str) -> None:
    features, labels = clusters()
    with pytest.raises(ValueError, match=words):
        knn(changed.get("train", features), changed.get("labels", labels), *clusters(seed=1))


def test_unknown_parameters_presets_and_shots_are_refused() -> None:
    given = (*clusters(), *clusters(seed=1))
    with pytest.raises(ValueError, match="neighbors"):
        knn(*given, neighbors=3)
    with pytest.raises(ValueError, match="preset='best': knn has default, paper"):
        knn(*given, preset="best")
    with pytest.raises(ValueError, match="shots=7"):
        few_shot(*clusters(), shots=7)  # type: ignore[arg-type]
