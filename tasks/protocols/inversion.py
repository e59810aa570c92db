"""Inversion: information about an image in its features, by reconstructing an image with the same features.

A network (`Prior`) generates an image from fixed noise; Adam optimises its weights until the backbone's last feature
map of that image equals that of the original, by mean squared error. Source: paper section 4.8 and appendix A.8, after
Zhao et al.; reconstruction.py of the authors' later code (jonahanton/SSL_medicalimaging). The paper's own repository
has none. Where they disagree, the paper is followed: 3000 steps (code: 1000). The paper does not specify the backbone's
input; the code passes pixels from 0 to 1, whereas here they are normalised as in all protocols. The preset `published`
is that code. The last feature map of a transformer consists of all its tokens.

The network is an hourglass with skip connections. Source: Ulyanov, Vedaldi and Lempitsky, Deep Image Prior (CVPR 2018),
as implemented in nanxuanzhao/Good_transfer, from which the paper takes it (appendix A.8): zero padding, average pooling
after the convolution, nearest upsampling, LeakyReLU, no sigmoid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from backbones.model.architecture import freeze
from backbones.model.precision import training_arithmetic
from backbones.model.preprocessing import prepare
from tasks.catalog.analysis_parameters import InversionParameters
from tasks.evaluation.inputs import ImageInputs
from tasks.metrics.outcome import Json, Outcome
from tasks.metrics.reconstruction import HEADLINE, Pixels, interval, scores
from tasks.protocols import lpips
from tasks.protocols.result_images import save_sheet
from tasks.reporter import Reporter
from tasks.training.checkpoint import Checkpoint, resumable_map, spread_over
from tasks.training.loop import Training, torch_seeded, train

PICTURED = 4
NOISE_CHANNELS = 32
NOISE_STRENGTH = 0.1
SHORTCUT_CHANNELS = 4
SLOPE = 0.2


def evaluate(inputs: ImageInputs, parameters: InversionParameters, seed: int, reporter: Reporter) -> Outcome:
    """Reconstruct test images; the seed determines the noise and the initial weights. Raises `DataError`,
    `NotFiniteError`.
    """
    split = inputs.split("test", "val", "all", "train")
    indices = spread_over(len(split.images), parameters.images)
    inverter = Inverter(inputs, parameters, seed, reporter)
    targets = {index: inverter.prepared(split.images[index]) for index in indices}

    def invert(index: int) -> Tensor:
        return inverter.invert(targets[index], index, f"image {indices.index(index) + 1} of {len(indices)}")

    kept = None if inputs.checkpoint is None else Checkpoint(inputs.checkpoint / "reconstructions.pt", inputs.key)
    drawn = torch.stack(resumable_map(indices, invert, kept, reporter))
    wanted = torch.stack(list(targets.values()))
    originals, reconstructions = _pixels(wanted), _pixels(drawn)
    pairs = list(zip(originals, reconstructions, strict=True))
    save_sheet([list(pair) for pair in pairs[:PICTURED]], inputs.pictures, "reconstruction.png")
    distances, remarks = _distances(inputs, wanted, drawn, reporter)
    return Outcome(
        headline=HEADLINE,
        metrics={**scores(originals, reconstructions), **{name: float(one.mean()) for name, one in distances.items()}},
        interval=interval(originals, reconstructions),
        samples={"test": len(indices)},
        diagnostics={"canvas": inverter.canvas, "feature_error": inverter.feature_errors(wanted, drawn), **remarks},
        predictions={
            "index": np.array(indices),
            "original": originals,
            "reconstruction": reconstructions,
            **distances,
        },
        higher_is_better=False,
    )


@dataclass
class Inverter:
    """Reconstruction from the last feature map of a frozen backbone."""

    inputs: ImageInputs
    parameters: InversionParameters
    seed: int
    reporter: Reporter

    def __post_init__(self) -> None:
        self.device = self.inputs.device
        self.model: nn.Module = freeze(self.inputs.backbone.fresh()).to(self.device)
        self.size = self.inputs.spec.crop
        self.canvas = canvas(self.size, self.parameters.channels)
        own = self.parameters.normalisation == "card"
        spec = self.inputs.spec
        mean, std = (spec.mean, spec.std) if own else ((0.0,) * 3, (1.0,) * 3)
        self._mean, self._std = (torch.tensor(one, device=self.device).view(3, 1, 1) for one in (mean, std))

    def prepared(self, image: Image.Image) -> Tensor:
        """The image to reconstruct, uint8 [3, size, size]."""
        return prepare(image, self.inputs.spec)

    def invert(self, image: Tensor, index: int, label: str) -> Tensor:
        """The reconstructed image, uint8 [3, size, size], resuming from its checkpoint if it exists."""
        with torch.no_grad():
            target = self.features(self._bright(image))
        with torch_seeded("cpu", self.seed, 1, index):
            given = noise(self.canvas).to(self.device)
            prior = Prior(self.parameters.channels, self.parameters.kernels).to(self.device)

        def loss(_step: int) -> Tensor:
            return functional.mse_loss(self.features(self._drawn(prior, given)), target)

        optimiser = torch.optim.Adam(prior.parameters(), lr=self.parameters.rate)
        steps, device, precision = self.parameters.steps, self.device, self.inputs.precision
        training = Training(prior, optimiser, steps, loss, lambda _step: 1.0, self.seed, device, precision, label)
        train(training, self._checkpoint(index), self.reporter, every_s=self.inputs.checkpoint_s)
        with torch.no_grad():
            return (self._drawn(prior, given)[0].clamp(0, 1) * 255).round().to(torch.uint8).cpu()

    def features(self, pixels: Tensor) -> Tensor:
        """The last feature map, or all tokens, of images [b, 3, size, size] from 0 to 1: float32 [b, values].

        Networks with several branches (CrossViT, CoaT) have one last map per branch, which are concatenated.
        """
        with training_arithmetic(self.device, self.inputs.precision):
            found = self.model.forward_features((pixels - self._mean) / self._std)  # type: ignore[operator]
        maps: list[Tensor] = [found] if isinstance(found, Tensor) else list(found)
        return torch.cat([one.flatten(1).float() for one in maps], dim=1)

    @torch.inference_mode()
    def feature_errors(self, images: Tensor, drawn: Tensor) -> list[Json]:
        """Norm of the difference to each image's features, relative to their norm."""
        pairs = ((self.features(self._bright(one)) for one in pair) for pair in zip(images, drawn, strict=True))
        return [float((found - target).norm() / target.norm()) for target, found in pairs]

    def _drawn(self, prior: Prior, given: Tensor) -> Tensor:
        image: Tensor = prior(given)
        return image[:, :, : self.size, : self.size]

    def _bright(self, image: Tensor) -> Tensor:
        return image[None].to(self.device).float() / 255

    def _checkpoint(self, index: int) -> Checkpoint | None:
        """Checkpoint of the image; that of the previous image is deleted, as its result has been stored."""
        folder: Path | None = self.inputs.checkpoint
        if folder is None:
            return None
        mine = folder / f"image-{index}.pt"
        for other in folder.glob("image-*.pt"):
            if other != mine:
                other.unlink(missing_ok=True)
        return Checkpoint(mine, f"{self.inputs.key} {index}")


def _pixels(images: Tensor) -> Pixels:
    found: Pixels = images.permute(0, 2, 3, 1).contiguous().numpy()
    return found


def _distances(
    inputs: ImageInputs, images: Tensor, drawn: Tensor, reporter: Reporter
) -> tuple[dict[str, npt.NDArray[np.float32]], dict[str, Json]]:
    """LPIPS of every image by each network whose weights are present, and the digests of the files or the reason of
    absence.
    """
    folder = inputs.backbone.weights.root / lpips.FOLDER
    found, absent = lpips.present(folder)
    for name, reason in absent.items():
        if any(file.exists() for file in lpips.files(folder, name)):
            reporter.warn(f"LPIPS by {name} was not measured: {reason}")
    values = {}
    for name, distance in found.items():
        distance.to(inputs.device)
        pairs = zip(images.to(inputs.device), drawn.to(inputs.device), strict=True)
        values[f"lpips-{name}"] = torch.cat([distance(one[None], other[None]) for one, other in pairs]).cpu().numpy()
    measured: dict[str, Json] = {name: [*lpips.digests(folder, name)] for name in found}
    return values, {"lpips_weights": measured, "lpips_absent": {**absent}}


class Prior(nn.Module):
    """Noise [1, 32, h, w] to an image [1, 3, h, w] about 0 to 1; h and w are multiples of `unit(channels)`."""

    def __init__(self, channels: Sequence[int], kernels: Sequence[int]) -> None:
        super().__init__()
        self.scales = _Scale(NOISE_CHANNELS, list(zip(channels, kernels, strict=True)))
        self.paint = nn.Conv2d(channels[0], 3, 1)

    def forward(self, noise: Tensor) -> Tensor:
        return cast("Tensor", self.paint(self.scales(noise)))


class _Scale(nn.Module):
    """One scale, containing all coarser ones."""

    def __init__(self, given: int, scales: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        (width, kernel), coarser = scales[0], scales[1:]
        self.shortcut = _block(given, SHORTCUT_CHANNELS, 1)
        self.deeper = nn.Sequential(
            _block(given, width, kernel, halve=True),
            _block(width, width, kernel),
            _Scale(width, coarser) if coarser else nn.Identity(),
            nn.Upsample(scale_factor=2, mode="nearest"),
        )
        joined = SHORTCUT_CHANNELS + (coarser[0][0] if coarser else width)
        self.join = nn.Sequential(nn.BatchNorm2d(joined), _block(joined, width, kernel), _block(width, width, 1))

    def forward(self, maps: Tensor) -> Tensor:
        return cast("Tensor", self.join(torch.cat([self.shortcut(maps), self.deeper(maps)], dim=1)))


def _block(given: int, width: int, kernel: int, *, halve: bool = False) -> nn.Sequential:
    pooling = [nn.AvgPool2d(2)] if halve else []
    convolution = nn.Conv2d(given, width, kernel, padding=kernel // 2)
    return nn.Sequential(convolution, *pooling, nn.BatchNorm2d(width), nn.LeakyReLU(SLOPE, inplace=True))


def unit(channels: Sequence[int]) -> int:
    """Divisor of the sides of a canvas."""
    return int(2 ** len(channels))


def canvas(side: int, channels: Sequence[int]) -> int:
    """Side of the generated square, from which `side` is cropped: 256 for 224 and six scales.

    The coarsest map is at least 2 x 2, because a single position has no variance for normalisation.
    """
    return unit(channels) * max(2, -(-side // unit(channels)))


def noise(side: int) -> Tensor:
    """Uniform noise [1, 32, side, side]."""
    return NOISE_STRENGTH * torch.rand(1, NOISE_CHANNELS, side, side)
