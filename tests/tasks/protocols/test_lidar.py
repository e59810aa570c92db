"""LiDAR: equal to its definition on the features of all views, resumed to the same number, its interval verified."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy.linalg import eigh

from tasks.catalog.analysis_parameters import LidarParameters
from tasks.catalog.protocols import PROTOCOLS
from tasks.datasets.dataset import DataError, Dataset
from tasks.evaluation.inputs import ImageInputs
from tasks.metrics.jackknife import jackknife
from tasks.metrics.rescore import rescore
from tasks.metrics.spectrum import lidar
from tasks.protocols.lidar import ViewEncoder, ViewMoments, evaluate
from tasks.reporter import SilentReporter
from tasks.solvers.moments import GROUPS
from tests.tasks.workspace_fixture import Listener, image_inputs, network, shapes

PARAMETERS = LidarParameters(images=30, views=4, delta=1e-3)
Floats = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> ImageInputs:
    card = network("test_vit", img_size=64, patch_size=8)
    return image_inputs(card, tmp_path_factory.mktemp("lidar"), shapes(4, "shapes-hue"))


def defined(features: Floats, delta: float) -> float:
    """The paper's definition by loops, from features [images, views, d]; eigenvalues of the pencil (B, W)."""
    images, views, width = features.shape
    means = features.mean(axis=1)
    between, within = np.zeros((width, width)), np.zeros((width, width))
    for number in range(images):
        away = means[number] - means.mean(axis=0)
        between += np.outer(away, away) / (images - 1)
        for view in range(views):
            around = features[number, view] - means[number]
            within += np.outer(around, around) / (images * (views - 1))
    values = np.clip(eigh(between, within + delta * np.eye(width), eigvals_only=True), 0, None)
    shares = values[values > 0] / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def moments_of(features: Floats) -> ViewMoments:
    means = features.mean(axis=1)
    around = features - means[:, None]
    group = np.arange(len(features)) % GROUPS
    chosen = [group == number for number in range(GROUPS)]
    return ViewMoments(
        np.array([one.sum() for one in chosen], np.float64),
        np.stack([means[one].sum(axis=0) for one in chosen]),
        np.stack([means[one].T @ means[one] for one in chosen]),
        np.stack([np.einsum("nvd,nve->de", around[one], around[one]) for one in chosen]),
    )


def test_the_score_is_the_definition_on_the_features_of_all_views(inputs: ImageInputs) -> None:
    outcome = evaluate(inputs, PARAMETERS, 3, SilentReporter())
    encoder = ViewEncoder(inputs, PARAMETERS, 3)
    rows = np.linspace(0, len(encoder.images) - 1, 30).round().astype(int)
    features = np.stack([encoder.features(encoder.views(int(row))).numpy() for row in rows])
    assert features.shape[:2] == (30, 4)
    assert outcome.value == pytest.approx(defined(features, 1e-3), rel=1e-6)
    without = [defined(features[np.arange(30) % GROUPS != number], 1e-3) for number in range(GROUPS)]
    assert outcome.predictions["jackknife:lidar"][1:] == pytest.approx(np.array(without), rel=1e-6)
    assert outcome.interval.low < outcome.value < outcome.interval.high
    assert outcome.diagnostics["views_encoded"] == 120
    assert outcome.diagnostics["largest"] == 29


def test_views_of_an_image_differ_and_are_the_same_for_every_backbone_and_attempt(inputs: ImageInputs) -> None:
    one, other = (ViewEncoder(inputs, PARAMETERS, 3).views(5) for _ in range(2))
    assert one.equal(other)
    assert not one[0].equal(one[1])
    assert not ViewEncoder(inputs, PARAMETERS, 4).views(5).equal(one)


def test_directions_in_which_images_differ_more_than_their_views_are_counted() -> None:
    generator = np.random.default_rng(0)
    images, views, width = 2_000, 5, 12
    signal = np.zeros((images, 1, width))
    signal[:, :, :3] = 10 * generator.standard_normal((images, 1, 3))
    moments = moments_of(signal + generator.standard_normal((images, views, width))).merged()
    assert lidar(moments.between(), moments.within(views), 1e-4) == pytest.approx(3.0, abs=0.3)


def test_a_delta_that_decides_the_score_is_told(inputs: ImageInputs) -> None:
    for delta, told in ((1e3, True), (1e-12, False)):
        listener = Listener()
        evaluate(inputs, replace(PARAMETERS, images=10, delta=delta), 0, listener)
        assert any("lidar.delta" in warning for warning in listener.warnings) == told


def test_one_image_is_refused(inputs: ImageInputs) -> None:
    train = inputs.dataset.splits["train"]
    single = replace(train, images=[train.images[0]], labels=train.labels[:1], identifiers=train.identifiers[:1])
    alone = Dataset("alone", inputs.dataset.classes, multi_label=False, splits={"train": single})
    with pytest.raises(DataError, match="alone/train has 1 images: LiDAR needs at least 2"):
        evaluate(replace(inputs, dataset=alone), PARAMETERS, 0, SilentReporter())


class Interrupted(SilentReporter):
    """Ends the process at the `at`-th image; None: never."""

    def __init__(self, at: int | None = None) -> None:
        self.at, self.images = at, 0

    def advance(self, count: int = 1) -> None:
        self.images += count > 0
        if self.images == self.at:
            raise ConnectionAbortedError("the process ends here")


def test_an_interrupted_pass_ends_at_the_same_number(inputs: ImageInputs, tmp_path: Path) -> None:
    whole = evaluate(inputs, PARAMETERS, 1, SilentReporter())
    kept = replace(inputs, checkpoint=tmp_path, checkpoint_s=0.0)
    with pytest.raises(ConnectionAbortedError):
        evaluate(kept, PARAMETERS, 1, Interrupted(int(np.random.default_rng().integers(2, 30))))
    listener = Interrupted()
    again = evaluate(kept, PARAMETERS, 1, listener)
    assert listener.images < 31
    assert np.array_equal(again.predictions["jackknife:lidar"], whole.predictions["jackknife:lidar"])


def test_it_describes_and_is_rescored_from_what_is_stored(inputs: ImageInputs) -> None:
    assert PROTOCOLS["lidar"].descriptive
    outcome = evaluate(inputs, PARAMETERS, 0, SilentReporter())
    rescorer = rescore("lidar", outcome.predictions)
    assert rescorer is not None
    assert rescorer.metrics(outcome.predictions) == outcome.metrics
    assert rescorer.interval(outcome.predictions, "lidar") == outcome.interval


def test_the_interval_covers_the_value_of_other_images_as_often_as_promised() -> None:
    generator = np.random.default_rng(0)
    scales = np.arange(1, 9) ** -0.5

    def draw() -> tuple[float, Floats]:
        images = 2 * generator.standard_normal((400, 1, 8)) * scales
        moments = moments_of(images + generator.standard_normal((400, 4, 8)))
        parts = [moments.merged(), *moments.without_each()]
        scores = [lidar(part.between(), part.within(4), 1e-4) for part in parts]
        return scores[0], np.array(scores[1:])

    truth = float(np.mean([draw()[0] for _ in range(200)]))
    bounds = [jackknife(*draw()) for _ in range(200)]
    covered = sum(one.low <= truth <= one.high for one in bounds)
    assert 0.9 <= covered / 200 <= 0.99
