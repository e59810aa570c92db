"""Colours of images, and their prediction from features."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.metrics import r2_score

from tasks.catalog.protocols import ColourParameters
from tasks.evaluation.features import evaluate_task
from tasks.evaluation.inputs import ManyShotInputs, PixelTargets, Samples
from tasks.evaluation.result import EncoderCache, Evaluation, EvaluationPaths
from tasks.evaluation.splits import HUES, colour
from tasks.metrics.reconstruction import colour_interval, colour_scores, explained
from tasks.metrics.rescore import rescore
from tasks.protocols.colour import evaluate
from tasks.reporter import SilentReporter
from tasks.solvers.quick_classifiers import Ridge
from tests.tasks.workspace_fixture import CATALOG, demo

GENERATOR = np.random.default_rng(0)


def patch(*colours: tuple[int, int, int]) -> np.ndarray:
    return np.array(colours, np.uint8).T.reshape(3, 1, -1)


def test_mean_colour_and_hues_worked_out_by_hand() -> None:
    found = colour(patch((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)))
    assert found[:3] == pytest.approx([0.5, 0.5, 0.5])
    hues = np.zeros(HUES)
    hues[[0, HUES // 3, 2 * HUES // 3]] = 1 / 3
    assert found[3:] == pytest.approx(hues)


def test_a_pale_pixel_counts_less_and_a_grey_image_has_no_hue() -> None:
    found = colour(patch((255, 0, 0), (150, 150, 201)))
    assert found[3] == pytest.approx(5 / 6)
    assert colour(patch((9, 9, 9), (99, 99, 99)))[3:].tolist() == [0.0] * HUES


def test_red_lies_in_the_middle_of_its_bin() -> None:
    for shade in ((255, 0, 60), (255, 60, 0)):
        assert colour(patch(shade))[3] == 1


def test_ridge_is_the_textbooks() -> None:
    features = GENERATOR.standard_normal((300, 12)).astype(np.float32) * np.arange(1, 13) + 5
    targets = features[:, :3] @ GENERATOR.standard_normal((3, 2)) + GENERATOR.standard_normal((300, 2))
    standard = (features - features.mean(axis=0)) / features.std(axis=0)
    theirs = SklearnRidge(alpha=0.1 * 300).fit(standard, targets).predict(standard)
    assert Ridge.of(features, targets).predict(features, 0.1) == pytest.approx(theirs, abs=1e-6)


def test_a_constant_feature_and_more_features_than_images_are_no_trouble() -> None:
    features = np.concatenate([GENERATOR.standard_normal((20, 50)), np.full((20, 1), 7.0)], axis=1)
    assert np.isfinite(Ridge.of(features, GENERATOR.random((20, 2))).predict(features, 1e-7)).all()


def test_explained_is_r_squared_and_the_interval_holds_it() -> None:
    wanted = GENERATOR.random((200, 3 + HUES))
    told = wanted + 0.1 * GENERATOR.standard_normal(wanted.shape)
    assert explained(told[:, :1], wanted[:, :1]) == pytest.approx(100 * r2_score(wanted[:, 0], told[:, 0]))
    found = colour_interval(told, wanted)
    assert found.low < colour_scores(told, wanted)["mean-colour"] < found.high
    assert explained(np.broadcast_to(wanted.mean(axis=0), wanted.shape), wanted) == pytest.approx(0)


def test_where_nothing_varies_the_score_is_all_or_nothing() -> None:
    flat = np.ones((5, 3))
    assert (explained(flat, flat), explained(flat + 1, flat)) == (100, 0)


def inputs(told: bool) -> ManyShotInputs:
    """Features that are the colours themselves, or independent of them."""
    truths = [GENERATOR.random((count, 3 + HUES)) for count in (200, 50, 100)]
    features = [one if told else GENERATOR.random(one.shape) for one in truths]
    roles = [Samples(one, np.zeros(len(one), np.int64), np.arange(len(one))) for one in features]  # type: ignore[arg-type]
    return ManyShotInputs(
        train=roles[0],
        val=roles[1],
        test=roles[2],
        classes=("one",),
        metric="accuracy",
        pixel_targets=PixelTargets(*truths),
    )


def test_features_that_are_the_colours_tell_them_and_others_do_not() -> None:
    known, unknown = (evaluate(inputs(told), ColourParameters(), 0, SilentReporter()) for told in (True, False))
    assert known.value > 99.9
    assert abs(unknown.value) < 15
    assert known.hyperparameters["penalty"] < unknown.hyperparameters["penalty"]  # type: ignore[operator]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Evaluation]:
    root = tmp_path_factory.mktemp("colour")
    paths = EvaluationPaths(root / "weights", root / "data", root / "features")
    spec, card = CATALOG.resolve("colour/shapes"), CATALOG.dataset("shapes")
    fewer = {**card.reader_arguments, "train": 400, "test": 200}
    card = card.model_copy(update={"reader_arguments": fewer, "images": {}})
    return {
        name: evaluate_task(
            demo(name), spec, card, seed=0, paths=paths, device="cpu", reporter=SilentReporter(), encoder_cache=cache
        )
        for name in ("random", "simclr-nocolour", "simclr", "supervised")
        for cache in (EncoderCache(),)
    }


def test_on_shapes_colour_augmentation_and_supervision_cost_the_hues(measured: dict[str, Evaluation]) -> None:
    """An untrained network preserves most colour: in this analysis pretraining need not be better."""
    hues = {name: one.outcome.metrics["hue-histogram"] for name, one in measured.items()}
    assert hues["random"] > 40
    assert hues["simclr-nocolour"] > 40
    assert max(hues["simclr"], hues["supervised"]) < 10


def test_an_outcome_can_be_counted_again(measured: dict[str, Evaluation]) -> None:
    outcome = measured["simclr"].outcome
    way = rescore("colour", outcome.predictions)
    assert way is not None
    assert way.metrics(outcome.predictions) == outcome.metrics
    assert way.interval(outcome.predictions, outcome.headline) == outcome.interval
