"""Layer-wise features of three classes, with deeper blocks easier, for protocols on layers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from backbones.catalog.layer_info import LayerColumn, LayerPooling
from tasks.evaluation.inputs import LayerInputs, ManyShotInputs, RoleLayers, Samples

CLASSES = ("a", "b", "c")
WIDTH = 6
COUNTS = {"train": 90, "val": 45, "test": 60}


def layer_inputs(
    checkpoint: Path | None = None, *, depth: int = 4, cls: bool = True, counts: Mapping[str, int] = COUNTS
) -> ManyShotInputs:
    """Inputs of one array of float16, with a class token and a mean of patches per block."""
    generator = np.random.default_rng(0)
    total = sum(counts.values())
    labels = np.arange(total) % len(CLASSES)
    poolings: tuple[LayerPooling, ...] = ("cls", "mean") if cls else ("mean",)
    columns = tuple(
        LayerColumn(block=block, pooling=pooling, width=WIDTH) for block in range(1, depth + 1) for pooling in poolings
    )
    means = generator.standard_normal((len(columns), len(CLASSES), WIDTH))
    parts = [
        means[number][labels] * column.block / depth * (1.5 if column.pooling == "cls" else 1.0)
        + 1.5 * generator.standard_normal((total, WIDTH))
        for number, column in enumerate(columns)
    ]
    array = np.concatenate(parts, axis=1).astype(np.float16)
    pooled = array[:, -WIDTH:].astype(np.float32)

    def rows(role: str) -> npt.NDArray[np.int64]:
        first = sum(count for name, count in counts.items() if list(counts).index(name) < list(counts).index(role))
        return np.arange(first, first + counts[role])

    def samples(role: str) -> Samples:
        return Samples(pooled[rows(role)], labels[rows(role)], rows(role))

    def of_role(role: str) -> RoleLayers:
        return RoleLayers(((array, rows(role)),), columns)

    return ManyShotInputs(
        samples("train"),
        samples("val"),
        samples("test"),
        CLASSES,
        "accuracy",
        layers=LayerInputs(of_role("train"), of_role("val"), of_role("test")),
        key="key",
        checkpoint=checkpoint,
        checkpoint_s=0.0,
    )
