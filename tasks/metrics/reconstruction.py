"""Similarity of reconstructions to images, by squared error, PSNR and SSIM, and of predicted colours. Needs no torch.

All are computed on integer grey levels from 0 to 255.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from tasks.metrics.confidence_intervals import bootstrap, mean_over
from tasks.metrics.outcome import Interval

Pixels = npt.NDArray[np.uint8]
"""[n, h, w, 3]."""
Floats = npt.NDArray[np.float64]
CHANNELS = ("red", "green", "blue")
WHITE = 255.0
HEADLINE = "mse"
SIGMA, REACH = 1.5, 5
"""Standard deviation and radius of the Gaussian window of 11 x 11 pixels."""
FLOOR_MEAN, FLOOR_SPREAD = (0.01 * WHITE) ** 2, (0.03 * WHITE) ** 2
Colours = npt.NDArray[np.floating]
"""[n, 3 + hues]: see `tasks.evaluation.splits.colour`."""
COLOURS = ("red", "green", "blue")
COLOUR_HEADLINE = "mean-colour"


def scores(originals: Pixels, reconstructions: Pixels) -> dict[str, float]:
    """Means over the images: `mse` over all channels and per channel, `psnr` in dB, `ssim` from -1 to 1."""
    errors = squared_errors(originals, reconstructions)
    ratios = 10 * np.log10(WHITE**2 / np.maximum(errors.mean(axis=1), 1 / 12))  # equal images: an error below rounding
    by_channel = {f"{HEADLINE}-{name}": float(error) for name, error in zip(CHANNELS, errors.mean(axis=0), strict=True)}
    return {
        HEADLINE: float(errors.mean()),
        **by_channel,
        "psnr": float(ratios.mean()),
        "ssim": float(np.mean([ssim(one, other) for one, other in zip(originals, reconstructions, strict=True)])),
    }


def interval(originals: Pixels, reconstructions: Pixels) -> Interval:
    """Interval of `mse` over the images, bounded below by 0."""
    found = mean_over(squared_errors(originals, reconstructions).mean(axis=1))
    return replace(found, low=max(0.0, found.low))


def squared_errors(originals: Pixels, reconstructions: Pixels) -> Floats:
    """Mean squared error [n, 3] of every image and channel."""
    found: Floats = ((originals.astype(np.float64) - reconstructions) ** 2).mean(axis=(1, 2))
    return found


def ssim(original: npt.NDArray[np.uint8], reconstruction: npt.NDArray[np.uint8]) -> float:
    """Structural similarity of two images [h, w, 3], the mean over positions and channels.

    Source: Wang, Bovik, Sheikh and Simoncelli, IEEE Transactions on Image Processing 13(4) (2004): Gaussian window of
    11 x 11 pixels, population variances; windows that cross the border are omitted.
    """
    one, other = original.astype(np.float64), reconstruction.astype(np.float64)
    mean_one, mean_other = _local(one), _local(other)
    spread = _local(one * one) - mean_one**2 + _local(other * other) - mean_other**2
    together = _local(one * other) - mean_one * mean_other
    light = (2 * mean_one * mean_other + FLOOR_MEAN) / (mean_one**2 + mean_other**2 + FLOOR_MEAN)
    structure = (2 * together + FLOOR_SPREAD) / (spread + FLOOR_SPREAD)
    return float((light * structure).mean())


def _local(values: Floats) -> Floats:
    """Means under the window at every valid position."""
    for axis in (0, 1):
        values = gaussian_filter1d(values, SIGMA, axis=axis, radius=REACH)
    margins = [slice(REACH, -REACH) if side > 2 * REACH else slice(None) for side in values.shape[:2]]
    return values[tuple(margins)]


def colour_scores(predicted: Colours, colours: Colours) -> dict[str, float]:
    """R squared in percent of mean colour (together and per channel) and hue histogram; arrays are [n, 3 + hues]."""
    parts = {COLOUR_HEADLINE: slice(0, 3), "hue-histogram": slice(3, None)}
    parts |= {name: slice(place, place + 1) for place, name in enumerate(COLOURS)}
    return {name: explained(predicted[:, part], colours[:, part]) for name, part in parts.items()}


def colour_interval(predicted: Colours, colours: Colours) -> Interval:
    """Interval of the headline score, by bootstrap over the test images."""
    true, estimate = (values[:, :3].astype(np.float64) for values in (colours, predicted))
    errors = ((estimate - true) ** 2).sum(axis=1)
    squares = (true**2).sum(axis=1)

    def score(weights: npt.NDArray[np.float64]) -> Floats:
        spread = weights @ squares - ((weights @ true) ** 2).sum(axis=1) / weights.sum(axis=1)
        shares: Floats = 100 * (1 - (weights @ errors) / np.maximum(spread, np.finfo(np.float64).tiny))
        return shares

    return bootstrap(score, len(colours))


def explained(predicted: Colours, colours: Colours) -> float:
    """R squared in percent over all columns together. If the targets are constant: 100 without error, else 0."""
    estimate, true = predicted.astype(np.float64), colours.astype(np.float64)
    error = float(((estimate - true) ** 2).sum())
    spread = float(((true - true.mean(axis=0)) ** 2).sum())
    if spread == 0:
        return 100.0 if error == 0 else 0.0
    return 100 * (1 - error / spread)
