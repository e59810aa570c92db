"""From stored features, one array per source split, to the roles that a protocol asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

import numpy as np

from backbones.preprocessing_spec import PreprocessingSpec
from tasks.card import DatasetCard
from tasks.colour_targets import colours
from tasks.datasets.dataset import Dataset
from tasks.features.rows import StoredRows
from tasks.inputs import BankInputs, ColourInputs, Features, ManyShotInputs, PoolInputs, Samples, StoredSamples
from tasks.parameters import LinearParameters, Parameters
from tasks.reporter import Reporter
from tasks.splits import Selection, many_shot_indices, pool, select_labels

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


def coloured(  # noqa: PLR0913, PLR0917 - what `many_shot` takes, and how the images are to be looked at
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


def banked(dataset: Dataset, card: DatasetCard, features: PerSplit, seed: int, device: str) -> BankInputs:
    """Training and validation images as one bank, and the test images: the stored arrays themselves, nothing copied."""
    split = many_shot_indices(dataset, seed=seed)
    train, val = (sum(len(indices) for _, indices in role) for role in (split.train, split.val))
    bank, test = (_stored(dataset, features, role) for role in (split.train_and_val, split.test))
    return BankInputs(bank, test, (train, val), dataset.classes, card.metric, device)


def pooled(dataset: Dataset, features: PerSplit, device: str) -> PoolInputs:
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
