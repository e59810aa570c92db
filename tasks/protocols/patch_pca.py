"""Principal components of patch tokens as colours: parts of images that are similar to a backbone.

Source: eval_visualizations.py of facebookresearch/capi (98b4fa1): images squashed to one square (bicubic), patches of
the last layer after the final norm, whitened components of all images together (one fit over the images) and of each
image separately, signs that make the skewness positive, -2.3 to 2.3 standard deviations of the first three components
as red, green and blue, patches enlarged to squares.

The fit uses sums over the patches and encodes images twice, so that memory does not grow with their number. The
components of the pictured images are stored, from which the console displays several backbones side by side in one
space (`tasks.metrics.spectrum.common_colours`). The score is descriptive: the percentage of the variance of
patches in the three components.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tasks.catalog.analysis_parameters import PatchPcaParameters
from tasks.datasets.dataset import HeldTargets, ImageSource
from tasks.evaluation.inputs import ImageInputs
from tasks.metrics.dense import patch_pca_interval, patch_pca_scores
from tasks.metrics.outcome import Outcome
from tasks.metrics.spectrum import COLOURS, Drawn, Floats, coloured, upward
from tasks.protocols.dense.frozen_maps import FrozenMaps, PatchViews, check_tokens
from tasks.protocols.dense.image_batches import DenseImages, Pixels, up_to_multiple
from tasks.protocols.result_images import save_sheet
from tasks.reporter import Reporter
from tasks.training.checkpoint import spread_over

COMPONENTS = 10
"""Number of components of the joint fit, as in CAPI."""
PICTURE_SIDE = 224
THUMBNAIL = 96
"""Side of the stored images, in pixels."""


@dataclass(frozen=True)
class Components:
    """Directions [d, k] of largest variance over patches, the variances [k] along them, and the mean [d]; float64."""

    directions: Tensor
    variances: Tensor
    mean: Tensor

    def whitened(self, patches: Tensor) -> Tensor:
        """Components float64 [n, k] of patches [n, d], of unit variance over those of the fit."""
        return (patches.double() - self.mean) @ self.directions / self.variances.sqrt()


def evaluate(inputs: ImageInputs, parameters: PatchPcaParameters, seed: int, reporter: Reporter) -> Outcome:
    """Fit the components on test images and render some of them; `seed` has no effect."""
    del seed
    split = inputs.split("test", "val", "all", "train")
    pixels = Pixels.of(parameters.normalisation, inputs.spec)
    maps = FrozenMaps(inputs, parameters.layers)
    tokens = check_tokens(maps, DenseImages(split, HeldTargets((), ""), pixels, 1), reporter)
    views = PatchViews(maps, pixels, up_to_multiple(parameters.size, maps.maps.unit))
    rows = spread_over(len(split.images), parameters.images)
    shown = [rows[place] for place in spread_over(len(rows), parameters.shown)]
    reporter.phase("components", 2 * len(rows), "images")
    components = joint_fit(patches for _, patches in _patches(views, split.images, rows, reporter))
    arrays, whitened, separate = _second_pass(components, _patches(views, split.images, rows, reporter), shown)
    grid = views.features(split.images[shown[0]])[1]
    joint = np.stack([one.reshape(*grid, -1) for one in whitened])
    images = [split.images[row] for row in shown]
    _save(inputs, images, joint, [one.reshape(*grid, -1) for one in separate])
    return Outcome(
        headline="explained-variance",
        metrics=patch_pca_scores(arrays),
        interval=patch_pca_interval(arrays),
        samples={"test": len(rows)},
        diagnostics={"patches_per_image": grid[0] * grid[1], "shown": [*shown], **tokens},
        predictions={
            "index": np.array(rows),
            **arrays,
            "shown": np.array(shown),
            "patch_components": joint.astype(np.float16),
            "thumbnails": np.stack([_square(image, THUMBNAIL) for image in images]),
        },
    )


def _second_pass(
    components: Components, images: Iterator[tuple[int, Tensor]], shown: Sequence[int]
) -> tuple[dict[str, Floats], list[Floats], list[Floats]]:
    """Sums of squares of every image by name, and components [n, k] of the patches of those shown: of all images, with
    signs that make the skewness positive, and of the image alone.
    """
    third, sums = torch.zeros_like(components.variances), []
    white, separate = dict[int, Tensor](), dict[int, Floats]()
    for row, patches in images:
        found = components.whitened(patches)
        third += (found**3).sum(dim=0)
        explained = (found[:, :COLOURS] ** 2 * components.variances[:COLOURS]).sum()
        sums.append((float(explained), float(((patches.double() - components.mean) ** 2).sum())))
        if row in shown:
            white[row], separate[row] = found, own_components(patches)
    signs = torch.where(third < 0, -1.0, 1.0)
    arrays = {"explained": np.array([one for one, _ in sums]), "variance": np.array([every for _, every in sums])}
    return arrays, [(white[row] * signs).cpu().numpy() for row in shown], [separate[row] for row in shown]


def _patches(
    views: PatchViews, images: ImageSource, rows: Sequence[int], reporter: Reporter
) -> Iterator[tuple[int, Tensor]]:
    """Row and patch features [n, d] of each image."""
    for row in rows:
        with torch.inference_mode():
            yield row, views.features(images[row])[0]
        reporter.advance()


def joint_fit(images: Iterator[Tensor], count: int = COMPONENTS) -> Components:
    """At most `count` components of the patches [n, d] of all images, from sums in float64."""
    number, total, products = 0, None, None
    for patches in images:
        wide = patches.double()
        number += len(wide)
        total = wide.sum(dim=0) if total is None else total + wide.sum(dim=0)
        products = wide.T @ wide if products is None else products + wide.T @ wide
    assert total is not None
    assert products is not None
    mean = total / number
    values, vectors = torch.linalg.eigh(products / number - torch.outer(mean, mean))
    kept = min(count, len(values))
    variances = values[-kept:].flip(0).clamp_min(torch.finfo(torch.float64).tiny)
    return Components(vectors[:, -kept:].flip(1), variances, mean)


def own_components(patches: Tensor) -> Floats:
    """The first three whitened components [n, 3] of one image's patches [n, d], fitted to that image."""
    fitted = joint_fit(iter([patches]), COLOURS)
    return upward(fitted.whitened(patches).cpu().numpy())


def _save(inputs: ImageInputs, images: Sequence[Image.Image], joint: Floats, separate: Sequence[Floats]) -> None:
    """Save one row per image: the image, components of all images, and components of the image itself."""
    rows = []
    for image, both, alone in zip(images, joint, separate, strict=True):
        drawn = [Image.fromarray(coloured(one)) for one in (both, alone)]
        large = [np.array(one.resize((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.NEAREST)) for one in drawn]
        rows.append([_square(image, PICTURE_SIDE), *large])
    save_sheet(rows, inputs.pictures, "components.png")


def _square(image: Image.Image, side: int) -> Drawn:
    return np.array(image.resize((side, side), Image.Resampling.BICUBIC))
