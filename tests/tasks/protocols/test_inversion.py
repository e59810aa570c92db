"""Inversion: the deep image prior, scores of reconstructions, LPIPS, and the protocol."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import lpips
import numpy as np
import pytest
import torch
from PIL import Image

from backbones.catalog.card import BackboneCard
from tasks.catalog.analysis_parameters import InversionParameters
from tasks.catalog.protocols import PROTOCOLS
from tasks.metrics.reconstruction import scores, ssim
from tasks.metrics.rescore import rescore
from tasks.protocols.inversion import Inverter, Prior, canvas, evaluate, noise
from tasks.protocols.lpips import VARIANTS, NoWeights, PerceptualDistance
from tasks.reporter import SilentReporter
from tests.tasks.workspace_fixture import Listener, demo, image_inputs, network, shapes

QUICK = InversionParameters(images=2, steps=4, rate=0.02, channels=(4, 8), kernels=(3, 3))
RESNET = network("test_resnet", 32)
PRESETS: Any = PROTOCOLS["inversion"].presets


def test_the_paper_draws_a_224_pixel_image_on_256_pixels_with_the_published_network() -> None:
    paper = PRESETS["paper"]
    assert (paper.images, paper.steps, paper.rate, paper.normalisation) == (1, 3000, 0.001, "card")
    assert (PRESETS["published"].steps, PRESETS["published"].normalisation) == (1000, "none")
    side = canvas(224, paper.channels)
    prior = Prior(paper.channels, paper.kernels)
    assert side == 256
    assert sum(one.numel() for one in prior.parameters()) == 2_606_763  # counted with the published code
    assert prior(noise(side)).shape == (1, 3, 256, 256)


def test_the_coarsest_map_is_never_a_single_place() -> None:
    assert canvas(32, (4, 4, 4, 4, 4)) == 64
    assert canvas(64, (4, 4, 4)) == 64
    assert canvas(65, (4, 4, 4)) == 72


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"kernels": (3,)}, "one for each of the 2 scales"),
        ({"kernels": (3, 4)}, "odd"),
        ({"channels": ()}, "channels must be at least 1"),
        ({"rate": 0.0}, "rate must be above 0"),
    ],
)
def test_parameters_that_make_no_network_are_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(QUICK, **wrong)


def test_errors_are_counted_by_channel_on_whole_grey_levels() -> None:
    black = np.zeros((2, 16, 16, 3), np.uint8)
    drawn = black + np.array([3, 0, 4], np.uint8)
    found = scores(black, drawn)
    assert (found["mse-red"], found["mse-green"], found["mse-blue"]) == (9, 0, 16)
    assert found["mse"] == pytest.approx(25 / 3)
    assert found["psnr"] == pytest.approx(10 * np.log10(255**2 / (25 / 3)))
    same = scores(drawn, drawn)
    assert same["mse"] == 0
    assert same["ssim"] == pytest.approx(1)
    assert np.isfinite(same["psnr"])


def test_structural_similarity_is_that_of_its_definition() -> None:
    """Window by window, as in the formula of the paper."""
    random = np.random.default_rng(0)
    one = random.integers(0, 256, (14, 13, 3), dtype=np.uint8)
    other = (0.7 * one + random.integers(0, 60, one.shape)).astype(np.uint8)
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / np.outer(line, line).sum()
    first, second = 0.01 * 255, 0.03 * 255
    found = []
    for top, left, channel in np.ndindex(4, 3, 3):
        a, b = (image[top : top + 11, left : left + 11, channel].astype(float) for image in (one, other))
        mean_a, mean_b = (window * a).sum(), (window * b).sum()
        variances = (window * (a - mean_a) ** 2).sum() + (window * (b - mean_b) ** 2).sum()
        covariance = (window * (a - mean_a) * (b - mean_b)).sum()
        found.append(
            (2 * mean_a * mean_b + first**2)
            * (2 * covariance + second**2)
            / ((mean_a**2 + mean_b**2 + first**2) * (variances + second**2))
        )
    assert ssim(one, other) == pytest.approx(np.mean(found))


def put_weights(folder: Path, name: str) -> Any:
    """A network as saved by torchvision, the published channel weights, and the published code with both."""
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package uses an outdated interface of torchvision
        theirs = lpips.LPIPS(net=name, pnet_rand=True, verbose=False)
    layers = {key.split(".", 1)[1]: value for key, value in theirs.net.state_dict().items()}
    trunk = {f"features.{key}": value for key, value in layers.items()}
    torch.save({**trunk, "classifier.6.bias": torch.zeros(1000)}, folder / VARIANTS[name].file)
    published = Path(lpips.__file__).parent / "weights" / "v0.1" / f"{name}.pth"
    (folder / f"{name}.pth").write_bytes(published.read_bytes())
    return theirs


@pytest.mark.parametrize("name", VARIANTS)
def test_lpips_is_that_of_the_published_code(tmp_path: Path, name: str) -> None:
    theirs = put_weights(tmp_path, name)
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 2, 3, 64, 64), dtype=np.uint8))
    ours = PerceptualDistance.load(name, tmp_path)
    with torch.no_grad():
        expected = theirs(*(images.float() / 127.5 - 1)).flatten()
    assert ours(*images).numpy() == pytest.approx(expected.numpy(), rel=1e-4)
    assert float(expected.min()) > 0
    assert ours(images[0], images[0]).tolist() == [0, 0]


def test_weights_that_are_not_there_or_of_something_else_are_named(tmp_path: Path) -> None:
    with pytest.raises(NoWeights, match=r"alexnet-owt-7be5be79.pth is missing: https://"):
        PerceptualDistance.load("alex", tmp_path)
    put_weights(tmp_path, "alex")
    whole = (tmp_path / "alex.pth").read_bytes()
    (tmp_path / "alex.pth").write_bytes(whole[:1000])
    with pytest.raises(NoWeights, match=r"alex.pth .*it comes from https://"):
        PerceptualDistance.load("alex", tmp_path)
    torch.save({"lin0.model.1.weight": torch.ones(1, 64, 1, 1)}, tmp_path / "alex.pth")
    with pytest.raises(NoWeights, match="does not hold the weights of 5 maps"):
        PerceptualDistance.load("alex", tmp_path)
    (tmp_path / "alex.pth").write_bytes(whole)
    torch.save({"features.0.weight": torch.ones(3)}, tmp_path / VARIANTS["alex"].file)
    with pytest.raises(NoWeights, match="is not a checkpoint of alexnet"):
        PerceptualDistance.load("alex", tmp_path)


def test_a_result_has_lpips_where_its_weights_are_and_says_why_not_where_they_are_not(tmp_path: Path) -> None:
    put_weights(tmp_path / "weights" / "lpips", "squeeze")
    outcome = evaluate(image_inputs(RESNET, tmp_path, shapes(3)), QUICK, 0, SilentReporter())
    assert set(outcome.metrics) == {"mse", "mse-red", "mse-green", "mse-blue", "psnr", "ssim", "lpips-squeeze"}
    assert "alexnet-owt-7be5be79.pth is missing" in outcome.diagnostics["lpips_absent"]["alex"]  # type: ignore[index,call-overload,operator]
    assert len(outcome.diagnostics["lpips_weights"]["squeeze"]) == 2  # type: ignore[index,call-overload,arg-type]


@dataclass
class Losses(Listener):
    seen: list[float] = field(default_factory=list)

    def metric(self, name: str, value: float, step: float | None = None) -> None:
        if name == "loss":
            self.seen.append(value)


@pytest.mark.parametrize(
    "backbone",
    [RESNET, network("test_vit", 32, img_size=32, patch_size=8), network("test_convnext", 32)],
    ids=lambda card: card.architecture,
)
def test_every_family_is_inverted_and_its_loss_falls(tmp_path: Path, backbone: BackboneCard) -> None:
    losses = Losses()
    outcome = evaluate(image_inputs(backbone, tmp_path, shapes(3)), replace(QUICK, images=1, steps=25), 0, losses)
    assert losses.seen[-1] < 0.8 * losses.seen[0]
    assert not outcome.higher_is_better
    assert 0 < outcome.value < 255**2


def test_what_an_outcome_leaves_is_countable_again_and_has_a_picture(tmp_path: Path) -> None:
    put_weights(tmp_path / "weights" / "lpips", "alex")
    outcome = evaluate(image_inputs(RESNET, tmp_path, shapes(5)), replace(QUICK, images=3), 0, SilentReporter())
    assert outcome.predictions["index"].tolist() == [0, 2, 4]
    way = rescore("inversion", outcome.predictions)
    assert way is not None
    assert way.metrics(outcome.predictions) == pytest.approx(outcome.metrics)
    assert way.interval(outcome.predictions, "mse") == outcome.interval
    assert outcome.interval.low >= 0
    with Image.open(tmp_path / "pictures" / "reconstruction.png") as picture:
        assert picture.size == (2 * 34 - 2, 3 * 34 - 2)
        assert np.array_equal(np.array(picture)[:32, :32], outcome.predictions["original"][0])


@dataclass
class Interrupting(SilentReporter):
    """Interrupts in the middle of an image; `steps` counts the steps taken."""

    image: str
    after: int
    steps: int = 0
    within: str = ""

    def phase(self, name: str, total: int | None = None, unit: str = "") -> None:
        self.within = name

    def metric(self, name: str, value: float, step: float | None = None) -> None:
        self.steps += 1
        if self.within == self.image and step == self.after:
            raise KeyboardInterrupt


def test_an_interrupted_inversion_carries_on_within_the_image_and_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.training.checkpoint.KEEP_EVERY_S", 0.0)
    parameters = replace(QUICK, images=3, steps=6)
    whole = evaluate(image_inputs(RESNET, tmp_path, shapes(4)), parameters, 0, SilentReporter())
    given = replace(image_inputs(RESNET, tmp_path, shapes(4), kept=True), checkpoint_s=0.0)
    with pytest.raises(KeyboardInterrupt):
        evaluate(given, parameters, 0, Interrupting("image 2 of 3", after=4))
    rest = Interrupting("", after=0)
    second = evaluate(given, parameters, 0, rest)
    assert rest.steps == 3 + 6  # the fourth step was taken, but its state not yet stored
    assert second.metrics == whole.metrics
    assert np.array_equal(second.predictions["reconstruction"], whole.predictions["reconstruction"])


def test_another_seed_draws_from_other_noise(tmp_path: Path) -> None:
    given = image_inputs(RESNET, tmp_path, shapes(2))
    one, other, again = (evaluate(given, replace(QUICK, images=1), seed, SilentReporter()).value for seed in (0, 1, 0))
    assert one == again != other


def test_the_codes_way_shows_the_backbone_pixels_as_they_are(tmp_path: Path) -> None:
    given = image_inputs(RESNET, tmp_path, shapes(2))
    inverter = Inverter(given, replace(QUICK, normalisation="none"), 0, SilentReporter())
    pixels = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        expected = inverter.model.forward_features(pixels)  # type: ignore[operator]
    assert torch.equal(inverter.features(pixels), expected.flatten(1))


@pytest.mark.slow
def test_features_of_an_untrained_network_keep_more_of_an_image_than_those_of_a_supervised_one(tmp_path: Path) -> None:
    """Information discarded by training cannot be reconstructed."""
    small = replace(PRESETS["small"], images=2, steps=25)
    found = {
        name: evaluate(image_inputs(demo(name), tmp_path, shapes(40)), small, 0, SilentReporter()).value
        for name in ("random", "supervised")
    }
    assert found["random"] < found["supervised"]
