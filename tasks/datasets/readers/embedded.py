"""Scenes rendered by `tasks.synthetic`, labelled by one of their factors.

Cards that differ only in the factor share their images (and so their features): solid, hue and texture are three tasks
on the same images. With `dense`, every image also has its mask, normals, depth and boxes as targets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backbones.io.file_digests import canonical
from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import (
    Boxes,
    DataError,
    Dataset,
    HeldTargets,
    Kind,
    Labels,
    SourceSplit,
    Targets,
    digest_annotations,
    digest_lines,
    digest_manifest,
)
from tasks.datasets.manifest import Manifest, SplitFacts, differences
from tasks.datasets.readers.make_splits import array_split
from tasks.synthetic import RENDERER_VERSION, SOLID_NAMES, Factor, SceneKind, SceneParameters, label_names, render
from tasks.synthetic.digits import TRAIN_GLYPHS, handwritten_digits

KINDS: tuple[Kind, ...] = ("boxes", "masks", "normals")
"""Targets included in the digest of a dataset. Depth was added later: it follows from the images."""
CLASSES: Mapping[Kind, tuple[str, ...]] = {
    "boxes": SOLID_NAMES,
    "masks": ("room", *SOLID_NAMES),
    "normals": (),
    "depth": (),
}


@dataclass(frozen=True)
class SceneSeries:
    """Scenes of one split: the arguments that determine every pixel."""

    kind: SceneKind
    split: str
    count: int
    size: int
    seed: int

    @property
    def _scenes(self) -> list[str]:
        """Arguments of every scene: renderer, its parameters, the scenes' indices."""
        return [f"renderer {RENDERER_VERSION}", canonical([asdict(SceneParameters()), asdict(self)]).decode()]

    def digests(self, factor: Factor) -> tuple[str, str]:
        """Digests of the images and of their labels, without rendering."""
        return digest_lines(self._scenes), digest_lines([*self._scenes, factor])

    def target_digests(self, *, dense: bool) -> dict[Kind, str]:
        """Digests of the targets by kind, without rendering; empty unless `dense`."""
        return {**{kind: digest_lines([*self._scenes, kind]) for kind in KINDS}, "depth": ""} if dense else {}

    @property
    def identifiers(self) -> tuple[str, ...]:
        """A name per scene."""
        return tuple(f"{self.kind}/{self.split}/{index}" for index in range(self.count))


@dataclass(frozen=True, eq=False)
class Rendered:
    """`images` uint8 [n, size, size, 3]; `factors` int64 [n] per factor, as in `tasks.synthetic.Factors`."""

    images: npt.NDArray[np.uint8]
    factors: dict[Factor, Labels]
    targets: dict[Kind, tuple[Any, ...]]


def read_shapes(root: Path, card: DatasetCard) -> Dataset:  # noqa: ARG001 - every reader has this signature
    """Render `train` and `test` scenes of a `kind` ("object", "scene", "digit") labelled by a `factor`.

    Other arguments of the card: `size` (pixels per side), `seed`, `dense`. Rendered once per process.
    """
    factor, dense = _factor(card), _dense(card)
    classes = label_names(factor)
    splits: dict[str, SourceSplit] = {}
    for series in _series(card):
        drawn = _draw(series, dense=dense)
        split = array_split(
            card,
            series.split,
            drawn.images,
            drawn.factors[factor] - (factor is Factor.COUNT),
            len(classes),
            identifiers=series.identifiers,
            digests=series.digests(factor),
        )
        splits[series.split] = replace(split, targets=_targets(drawn, series.target_digests(dense=dense)))
    return Dataset(card.name, classes, multi_label=False, splits=splits)


def manifest(card: DatasetCard) -> Manifest:
    """Manifest of the dataset without rendering."""
    factor, series = _factor(card), _series(card)
    classes = label_names(factor)
    named = [(one.split, *_named(one, factor, dense=_dense(card))) for one in series]
    digest = digest_manifest(classes, named)
    counts = {one.split: one.count for one in series}
    return Manifest(
        name=card.name,
        digest=digest,
        named_digest=digest,
        classes=classes,
        multi_label=False,
        splits={
            split: SplitFacts(images=counts[split], images_digest=images, labels_digest=labels)
            for split, images, labels in named
        },
        problems=differences(card, len(classes), counts, sum(counts.values())),
    )


def _named(series: SceneSeries, factor: Factor, *, dense: bool) -> tuple[str, str]:
    """Digests of the images, and of labels and targets together."""
    images, labels = series.digests(factor)
    return images, digest_annotations(labels, series.target_digests(dense=dense))


def _targets(drawn: Rendered, digests: Mapping[Kind, str]) -> dict[Kind, Targets[Any]]:
    return {kind: HeldTargets(drawn.targets[kind], digest, CLASSES[kind]) for kind, digest in digests.items()}


def _series(card: DatasetCard) -> tuple[SceneSeries, ...]:
    arguments = card.reader_arguments
    size, seed = int(arguments.get("size", 64)), int(arguments.get("seed", 0))
    counts = {split: int(arguments.get(split, default)) for split, default in (("train", 1000), ("test", 500))}
    return tuple(SceneSeries(_kind(card), split, count, size, seed) for split, count in counts.items())


def _kind(card: DatasetCard) -> SceneKind:
    name = str(card.reader_arguments.get("kind", SceneKind.OBJECT))
    if name not in set(SceneKind):
        raise DataError(f"{card.name}: there is no kind of scene {name!r}: choose from {', '.join(SceneKind)}")
    return SceneKind(name)


def _factor(card: DatasetCard) -> Factor:
    name = str(card.reader_arguments.get("factor", Factor.SOLID))
    if name not in set(Factor):
        raise DataError(f"{card.name}: scenes have no factor {name!r}: choose from {', '.join(Factor)}")
    return Factor(name)


def _dense(card: DatasetCard) -> bool:
    return bool(card.reader_arguments.get("dense", False))


@lru_cache(maxsize=16)
def _draw(series: SceneSeries, *, dense: bool) -> Rendered:
    images = np.empty((series.count, series.size, series.size, 3), np.uint8)
    factors: dict[Factor, Labels] = {factor: np.empty(series.count, np.int64) for factor in Factor}
    targets: dict[Kind, list[Any]] = {kind: [] for kind in CLASSES}
    for index in range(series.count):
        scene = render(series.kind, series.split, index, size=series.size, seed=series.seed)
        images[index] = scene.image
        for factor, values in factors.items():
            values[index] = getattr(scene.factors, factor)
        if dense:
            targets["masks"].append(scene.semantic.astype(np.int16))
            targets["normals"].append(scene.normals)
            targets["depth"].append(scene.depth)
            targets["boxes"].append(Boxes(scene.boxes, scene.classes, np.zeros(len(scene.boxes), np.bool_)))
    images.flags.writeable = False
    return Rendered(images, factors, {kind: tuple(values) for kind, values in targets.items()})


INK = 16
"""Maximum value in scikit-learn's arrays."""


def read_digits(root: Path, card: DatasetCard) -> Dataset:  # noqa: ARG001 - every reader has this signature
    """RGB images of 8 x 8 pixels; the first 900 are for training, the 897 others for testing.

    Rendered digit scenes use the same split, and the demo backbones were pre-trained on the first 900 only.
    """
    digits = handwritten_digits()
    grey = np.rint(digits.images * (255 / INK)).astype(np.uint8)
    images = np.repeat(grey[:, :, :, None], 3, axis=3)
    labels = digits.labels
    classes = tuple(str(digit) for digit in range(10))
    train, test = np.split(np.arange(len(labels)), [TRAIN_GLYPHS])
    splits = {
        name: array_split(
            card, name, images[part], labels[part], len(classes), identifiers=[f"digit/{index}" for index in part]
        )
        for name, part in (("train", train), ("test", test))
    }
    return Dataset(card.name, classes, multi_label=False, splits=splits)
