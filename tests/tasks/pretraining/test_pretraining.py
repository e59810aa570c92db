"""Pre-training of the demo backbones: every objective learns, runs are reproducible and resume, files load."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer

from tasks.features.manifest import NotFiniteError
from tasks.pretraining.__main__ import main
from tasks.pretraining.augmentation import (
    INPUT_SIZE,
    RECIPES,
    RESNET,
    VIT,
    Architecture,
    Colouring,
    Method,
    Views,
    normalise,
    random_views,
    recolour,
)
from tasks.pretraining.loop import (
    Pool,
    PoolSize,
    PretrainingProgress,
    ProgressReports,
    Run,
    Trainer,
    create_backbone,
    learning_rate,
    open_pool,
    render_pool,
)
from tasks.pretraining.objectives import MaskedAutoencoder, cut_patches, nt_xent, turn_quarters
from tasks.reporter import SilentReporter
from tasks.training.loop import train

TRAINED = [method for method in Method if method is not Method.RANDOM]
DEMO = Path(__file__).parents[3] / "backbones" / "demo"


def _random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def pool() -> Pool:
    return render_pool(PoolSize(objects=24, scenes=8, digits=16))


def _weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.objective.backbone.state_dict().items()}


def _same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("method", TRAINED)
def test_twenty_steps_on_the_same_views_lower_the_loss(method: Method, pool: Pool) -> None:
    trainer = Trainer(Run(method, steps=20, batch_size=16), pool)
    losses = []
    for _ in range(20):
        trainer.training.step = 0
        losses.append(trainer.training.advance())
    assert losses[-1] < 0.8 * losses[0]


def test_a_rerun_gives_the_same_weights_and_another_seed_others(pool: Pool) -> None:
    runs = [Run(Method.ROTATION, steps=3, seed=seed, batch_size=8) for seed in (0, 0, 1)]
    trainers = [Trainer(run, pool) for run in runs]
    for trainer in trainers:
        torch.rand(3)
        train(trainer.training, None, SilentReporter())
    assert _same(_weights(trainers[0]), _weights(trainers[1]))
    assert not _same(_weights(trainers[0]), _weights(trainers[2]))


def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(pool: Pool, tmp_path: Path) -> None:
    run = Run(Method.SIMCLR, steps=6, batch_size=16)
    whole = Trainer(run, pool)
    train(whole.training, None, SilentReporter())
    stopped = Trainer(run, pool)
    for _ in range(3):
        stopped.training.advance()
    spent = stopped.core_seconds
    stopped.checkpoint(tmp_path / "state.pt").save(stopped.training.state())
    resumed = Trainer(run, pool)
    train(resumed.training, resumed.checkpoint(tmp_path / "state.pt"), SilentReporter())
    assert resumed.training.step == 6
    assert resumed.core_seconds > spent > 0
    assert _same(_weights(whole), _weights(resumed))


def test_a_checkpoint_of_another_run_is_ignored_with_a_warning(
    pool: Pool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (Trainer(Run(Method.ROTATION, steps=steps, batch_size=16), pool) for steps in (6, 7))
    first.checkpoint(tmp_path / "state.pt").save(first.training.state())
    assert second.checkpoint(tmp_path / "state.pt").restore(ProgressReports(second.run, lambda _progress: None)) is None
    assert "state.pt is of another training" in capsys.readouterr().err


def test_progress_counts_the_steps_and_the_time_left(pool: Pool) -> None:
    seen: list[PretrainingProgress] = []
    trainer = Trainer(Run(Method.ROTATION, steps=4, batch_size=8), pool)
    train(trainer.training, None, ProgressReports(trainer.run, seen.append, every=2))
    assert [(news.step, news.steps) for news in seen] == [(2, 4), (4, 4)]
    assert seen[0].seconds_left > seen[1].seconds_left == 0
    assert all(news.images_per_second > 0 for news in seen)


def test_a_loss_that_is_not_finite_stops_the_run(pool: Pool) -> None:
    trainer = Trainer(Run(Method.ROTATION, steps=4, batch_size=8), pool)
    with torch.no_grad():
        next(trainer.objective.backbone.parameters()).fill_(torch.nan)
    with pytest.raises(NotFiniteError, match="rotation: the loss is nan at step 0"):
        trainer.training.advance()


def test_the_pool_is_rendered_once_and_read_back_equal(pool: Pool, tmp_path: Path) -> None:
    size = PoolSize(objects=24, scenes=8, digits=16)
    written = open_pool(tmp_path, size)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    read = open_pool(tmp_path, size)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    assert len(before) == 3
    for opened in (written, read):
        np.testing.assert_array_equal(opened.images, pool.images)
        np.testing.assert_array_equal(opened.solids, pool.solids)
        np.testing.assert_array_equal(opened.digits, pool.digits)


def test_only_one_object_images_have_a_solid_and_only_digit_images_a_digit(pool: Pool) -> None:
    assert (pool.solids[:24] >= 0).all()
    assert (pool.solids[24:] == -1).all()
    assert (pool.digits[:32] == -1).all()
    assert (pool.digits[32:] >= 0).all()


@pytest.mark.parametrize("method", list(Method))
def test_the_command_writes_a_small_file_that_timm_loads_strictly(
    method: Method, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = render_pool(PoolSize(objects=256, scenes=0, digits=0)) if method is not Method.RANDOM else None
    monkeypatch.setattr("tasks.pretraining.__main__.open_pool", lambda _: small)
    steps_of_one = 1.4 / max(1, RECIPES[method].steps_per_minute)
    words = [method, "--minutes", str(steps_of_one), "--out", str(tmp_path / "out"), "--cache", str(tmp_path)]
    assert main(words) == 0
    path = tmp_path / "out" / f"{method}.safetensors"
    assert path.stat().st_size < 1_000_000
    assert sorted(entry.name for entry in path.parent.iterdir()) == [path.name]
    _assert_loads(path, method, RECIPES[method].architecture)


def _assert_loads(path: Path, method: Method, architecture: Architecture) -> None:
    with safe_open(path, "pt") as file:
        header = file.metadata()
    assert (header["method"], header["architecture"]) == (method, architecture.name)
    assert json.loads(header["architecture_arguments"]) == architecture.arguments()
    assert int(header["steps"]) <= int(header["planned_steps"])
    assert float(header["core_seconds"]) >= 0
    model = timm.create_model(header["architecture"], **json.loads(header["architecture_arguments"]))
    model.load_state_dict(load_file(path), strict=True)
    with torch.inference_mode():
        features = model.eval()(torch.zeros(2, 3, INPUT_SIZE, INPUT_SIZE))
    assert features.shape == (2, model.num_features)
    assert bool(torch.isfinite(features).all())


@pytest.mark.parametrize("method", list(Method))
def test_the_shipped_file_of_each_method_loads_strictly_and_is_small(method: Method) -> None:
    path = DEMO / f"{method}.safetensors"
    assert path.stat().st_size < 1_000_000
    _assert_loads(path, method, RECIPES[method].architecture)


def test_the_shipped_random_backbone_is_what_its_seed_gives() -> None:
    fresh = create_backbone(RESNET, seed=0).state_dict()
    shipped = load_file(DEMO / "random.safetensors")
    assert all(torch.equal(shipped[name].float(), value.half().float()) for name, value in fresh.items())


def test_nt_xent_is_low_for_equal_pairs_and_high_for_swapped_ones() -> None:
    points = torch.eye(4)
    matched, swapped = nt_xent(points, points, 0.1), nt_xent(points, points.roll(1, 0), 0.1)
    assert matched < 0.01
    assert swapped > 9


def test_nt_xent_of_indistinguishable_projections_is_the_log_of_the_candidates() -> None:
    same = torch.ones(8, 5)
    assert nt_xent(same, same, 0.5).item() == pytest.approx(np.log(15), abs=1e-5)


def test_quarter_turns_turn_each_image_its_own_way() -> None:
    images = torch.rand(4, 3, 8, 8, generator=_random())
    turned = turn_quarters(images, torch.tensor([0, 1, 2, 3]))
    for k in range(4):
        assert torch.equal(turned[k], torch.rot90(images[k], k, (1, 2)))


def test_patches_are_cut_row_by_row() -> None:
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    expected = [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    assert cut_patches(image, 2)[0].tolist() == expected


def test_the_masked_autoencoder_encodes_the_visible_patches_only() -> None:
    backbone = cast("VisionTransformer", create_backbone(VIT, seed=0))
    model = MaskedAutoencoder(backbone, INPUT_SIZE).eval()
    images = torch.rand(2, 3, INPUT_SIZE, INPUT_SIZE, generator=_random())
    changed = images.clone()
    changed[:, :, 8:16] = 0.5
    first_row, second_row = torch.arange(8).expand(2, -1), torch.arange(8, 16).expand(2, -1)
    with torch.inference_mode():
        assert torch.equal(model.encode(images, first_row), model.encode(changed, first_row))
        assert not torch.equal(model.encode(images, second_row), model.encode(changed, second_row))


def test_a_full_window_without_a_mirror_is_the_image_itself() -> None:
    images = torch.rand(3, 3, 16, 16, generator=_random())
    whole = Views(size=16, area=(1.0, 1.0), aspect=1.0, flip=False)
    torch.testing.assert_close(random_views(images, whole, _random()), normalise(images), atol=1e-4, rtol=0)


def test_images_that_must_not_be_mirrored_are_not() -> None:
    images = torch.rand(1, 3, 16, 16, generator=_random()).expand(64, -1, -1, -1)
    flippable = torch.arange(64) % 2 == 0
    views = random_views(images, Views(16, area=(1.0, 1.0), aspect=1.0), _random(), flippable)
    mirrored = (views - normalise(images)).abs().amax(dim=(1, 2, 3)) > 0.01
    assert not mirrored[~flippable].any()
    assert 5 < int(mirrored[flippable].sum()) < 27


def test_recolouring_without_strength_changes_nothing() -> None:
    images = torch.rand(4, 3, 8, 8, generator=_random())
    still = Colouring(brightness=0, contrast=0, saturation=0, hue=0, gray=0)
    torch.testing.assert_close(recolour(images, still, _random()), images, atol=1e-3, rtol=0)


def test_gray_images_have_equal_channels() -> None:
    images = 0.2 + 0.5 * torch.rand(4, 3, 8, 8, generator=_random())
    gray = recolour(images, Colouring(brightness=0, contrast=0, gray=1.0), _random())
    torch.testing.assert_close(gray[:, 0], gray[:, 1], atol=5e-3, rtol=0)
    torch.testing.assert_close(gray[:, 0], gray[:, 2], atol=5e-3, rtol=0)


def test_the_learning_rate_warms_up_and_falls_to_nothing() -> None:
    recipe = RECIPES[Method.SIMCLR]
    rates = [learning_rate(step, 200, recipe) for step in range(200)]
    assert max(rates) == pytest.approx(recipe.learning_rate)
    assert rates.index(max(rates)) in (9, 10)
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.001 * recipe.learning_rate


@pytest.mark.parametrize("create", [lambda: create_backbone(RESNET, 3), lambda: create_backbone(VIT, 3)])
def test_the_same_seed_creates_the_same_backbone(create: Callable[[], torch.nn.Module]) -> None:
    assert _same(dict(create().state_dict()), dict(create().state_dict()))
