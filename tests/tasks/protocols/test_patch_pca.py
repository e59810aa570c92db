"""Components of patch features: equal to scikit-learn's over all images, and in one space of several backbones."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from tasks.catalog.analysis_parameters import PatchPcaParameters
from tasks.evaluation.inputs import ImageInputs
from tasks.metrics.rescore import rescore
from tasks.metrics.spectrum import coloured, common_colours, upward
from tasks.protocols import patch_pca
from tasks.protocols.dense.frozen_maps import FrozenMaps, PatchViews
from tasks.protocols.dense.image_batches import Pixels
from tasks.protocols.patch_pca import evaluate, joint_fit, own_components
from tasks.reporter import SilentReporter
from tests.tasks.memory import peak_bytes
from tests.tasks.workspace_fixture import demo, image_inputs, shapes

QUIET = SilentReporter()
SMALL = PatchPcaParameters(size=64, images=6, shown=2)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> ImageInputs:
    return image_inputs(demo("mae"), tmp_path_factory.mktemp("pca"), shapes(8))


def test_components_are_those_of_scikit_learn_up_to_sign_with_skewness_made_positive(inputs: ImageInputs) -> None:
    outcome = evaluate(inputs, SMALL, 0, QUIET)
    views = PatchViews(FrozenMaps(inputs, "last"), Pixels.of("card", inputs.spec), 64)
    images = inputs.split("test").images
    rows = outcome.predictions["index"].tolist()
    features = np.concatenate([views.features(images[row])[0].double().numpy() for row in rows])
    fitted = PCA(10, whiten=True)
    white = upward(fitted.fit_transform(features)).reshape(len(rows), 8, 8, 10)
    expected = white[[rows.index(row) for row in outcome.predictions["shown"]]]
    assert (
        np.abs(outcome.predictions["patch_components"].astype(np.float64) - expected).max() < 0.02
    )  # half precision, n - 1
    assert outcome.value == pytest.approx(100 * fitted.explained_variance_ratio_[:3].sum(), abs=1e-6)
    assert outcome.interval.low <= outcome.value <= outcome.interval.high
    assert outcome.samples == {"test": 6}


def test_components_of_one_image_are_those_of_scikit_learn() -> None:
    patches = torch.randn(60, 7, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 8)
    expected = upward(PCA(3, whiten=True).fit_transform(patches.double().numpy()))
    assert own_components(patches) == pytest.approx(expected * np.sqrt(60 / 59), abs=1e-6)


def test_a_network_of_fewer_features_than_components_has_as_many_as_there_are() -> None:
    fitted = joint_fit(iter([torch.randn(20, 2)]))
    assert fitted.directions.shape == (2, 2)
    assert coloured(np.zeros((4, 2)))[:, 2].tolist() == [0] * 4


def test_scores_follow_from_the_predictions_and_a_picture_is_written(inputs: ImageInputs) -> None:
    outcome = evaluate(inputs, SMALL, 0, QUIET)
    found = rescore("patch-pca", outcome.predictions)
    assert found is not None
    assert found.metrics(outcome.predictions) == outcome.metrics
    assert found.interval(outcome.predictions, "explained-variance") == outcome.interval
    assert (inputs.pictures or Path()).joinpath("components.png").stat().st_size > 1000


def test_memory_does_not_grow_with_images(inputs: ImageInputs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patch_pca, "check_tokens", lambda *_given: {})
    quick = replace(inputs, pictures=None)
    few, many = (
        peak_bytes(partial(evaluate, quick, replace(SMALL, images=images, shown=1), 0, QUIET)) for images in (2, 17)
    )
    assert (many - few) / 15 < 4 * 64 * 64 / 4  # 8 x 8 patches of width 64


def test_backbones_that_see_the_same_have_the_same_colours_whatever_their_bases_and_grids() -> None:
    random = np.random.default_rng(0)
    scene = random.standard_normal((2, 4, 4, 3))
    turned = scene @ np.linalg.qr(random.standard_normal((3, 3)))[0]
    finer = scene.repeat(2, axis=1).repeat(2, axis=2)[..., ::-1]
    found = common_colours({"one": scene, "turned": turned, "finer": finer})
    assert found["one"].shape == (2, 8, 8, 3)
    assert np.abs(found["one"].astype(int) - found["turned"]).max() <= 1
    assert np.abs(found["one"].astype(int) - found["finer"]).max() <= 1


def test_what_one_backbone_alone_sees_is_grey_in_the_others() -> None:
    random = np.random.default_rng(0)
    scene = random.standard_normal((1, 20, 20, 3)) * 3
    other = random.standard_normal((1, 20, 20, 3))
    found = common_colours({"one": scene, "same": scene.copy(), "other": other})
    spread = {name: one.astype(float).std() for name, one in found.items()}
    assert spread["other"] < 0.4 * spread["one"]
