"""From stored features, one array per source split, to the roles that a protocol asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

import numpy as np
import numpy.typing as npt

from backbones.catalog.card import PreprocessingSpec
from backbones.model.preprocessing import prepare
from tasks.catalog.protocols import LinearParameters, Parameters
from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import Dataset
from tasks.datasets.splits import Selection, many_shot_indices, pool, select_labels
from tasks.evaluation.inputs import (
    BankInputs,
    ColourInputs,
    Features,
    ManyShotInputs,
    PoolInputs,
    Samples,
    StoredSamples,
)
from tasks.features.shards import StoredRows
from tasks.reporter import Reporter

Floats = npt.NDArray[np.float64]
HUES = 12
"""Bins of the hue circle, the first around red."""


def colours(dataset: Dataset, selection: Selection, spec: PreprocessingSpec, reporter: Reporter) -> Floats:
    """[n, 3 + HUES] of the selection's images as a backbone is shown them (resized and cropped): see `colour`."""
    reporter.phase("colours", sum(len(indices) for _, indices in selection), "images")
    rows: list[Floats] = []
    for name, indices in selection:
        for index in indices:
            rows.append(colour(prepare(dataset.splits[name].images[int(index)], spec).numpy()))
            reporter.advance()
    return np.stack(rows)


def colour(pixels: npt.NDArray[np.uint8]) -> Floats:
    """Mean of each channel in [0, 1], then the shares of the hues, of `pixels` [3, h, w].

    A pixel counts for its hue as much as it has colour at all (its chroma), so grey has no hue; an image without any
    colour has shares of 0.
    """
    red, green, blue = channels = pixels.reshape(3, -1).astype(np.float64) / 255
    highest, chroma = channels.max(axis=0), np.ptp(channels, axis=0)
    colour_inputs = np.where(chroma > 0, chroma, 1.0)
    sextant = np.select(
        [highest == red, highest == green],
        [(green - blue) / colour_inputs, 2 + (blue - red) / colour_inputs],
        4 + (red - green) / colour_inputs,
    )
    places = np.floor(sextant / 6 * HUES + 0.5).astype(np.int64) % HUES
    weights = np.bincount(places, weights=chroma, minlength=HUES)
    total = weights.sum()
    return np.concatenate([channels.mean(axis=1), weights / total if total > 0 else weights])


PerSplit = Mapping[str, Features]
"""Features [n, d] of every source split, by its name."""


def many_shot(
    dataset: Dataset, card: DatasetCard, features: PerSplit, parameters: Parameters, seed: int, device: str
) -> ManyShotInputs:
    """Train, validation and test. Seed 0 is the published validation split; another one draws it anew."""
    share = parameters.validation_share if isinstance(parameters, LinearParameters) else 0.2
    split = many_shot_indices(dataset, share, seed)
    return ManyShotInputs(
        train=samples(dataset, features, split.train),
        val=samples(dataset, features, split.val),
        test=samples(dataset, features, split.test),
        classes=dataset.classes,
        metric=card.metric,
        device=device,
    )


def colour_inputs(  # noqa: PLR0913, PLR0917 - what `many_shot` takes, and how the images are to be looked at
    dataset: Dataset,
    card: DatasetCard,
    features: PerSplit,
    parameters: Parameters,
    seed: int,
    device: str,
    spec: PreprocessingSpec,
    reporter: Reporter,
) -> ColourInputs:
    """Train, validation and test with the colours of their images."""
    split = many_shot_indices(dataset, seed=seed)
    plain = many_shot(dataset, card, features, parameters, seed, device)
    return ColourInputs(
        **{one.name: getattr(plain, one.name) for one in fields(plain)},
        train_colours=colours(dataset, split.train, spec, reporter),
        val_colours=colours(dataset, split.val, spec, reporter),
        test_colours=colours(dataset, split.test, spec, reporter),
    )


def knn_inputs(dataset: Dataset, card: DatasetCard, features: PerSplit, seed: int, device: str) -> BankInputs:
    """Training and validation images as one bank, and the test images: the stored arrays themselves, nothing copied."""
    split = many_shot_indices(dataset, seed=seed)
    train, val = (sum(len(indices) for _, indices in role) for role in (split.train, split.val))
    bank, test = (_stored(dataset, features, role) for role in (split.train_and_val, split.test))
    return BankInputs(bank, test, (train, val), dataset.classes, card.metric, device)


def episode_inputs(dataset: Dataset, features: PerSplit, device: str) -> PoolInputs:
    """Every image of every split."""
    return PoolInputs(samples(dataset, features, pool(dataset)), dataset.classes, device)


def samples(dataset: Dataset, features: PerSplit, selection: Selection) -> Samples:
    """Features, labels and places of a selection, part after part."""
    rows = [_rows(features[name], indices) for name, indices in selection]
    return Samples(
        features=rows[0] if len(rows) == 1 else np.concatenate(rows),
        labels=select_labels(dataset, selection),
        index=np.concatenate([indices for _, indices in selection]),
    )


def _stored(dataset: Dataset, features: PerSplit, selection: Selection) -> StoredSamples:
    return StoredSamples(
        features=StoredRows(tuple((features[name], indices) for name, indices in selection)),
        labels=select_labels(dataset, selection),
        index=np.concatenate([indices for _, indices in selection]),
    )


def _rows(values: Features, indices: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Features:
    """Chosen rows; the memory-mapped array itself when they are all of them."""
    return values if np.array_equal(indices, np.arange(len(values))) else np.asarray(values[indices])
