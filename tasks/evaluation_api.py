"""Interface for the parts of plug-ins that run in workers: `evaluate` of a protocol, `read` of a dataset. Needs numpy.

    def evaluate(inputs, parameters, seed: int, reporter: Reporter) -> Outcome
    def read(root: Path, card: DatasetCard) -> Dataset

`inputs` is what the protocol declares as `ProtocolSpec.inputs`: `ManyShotInputs`, `BankInputs`, `PoolInputs` or
`ImageInputs`. Raise `DataError` for data that cannot be used: its message names the path and the way out.
"""

from __future__ import annotations

from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import Boxes, DataError, Dataset, HeldTargets, Labels, SourceSplit, Targets
from tasks.datasets.readers.make_splits import array_split, file_split
from tasks.evaluation.inputs import (
    BankInputs,
    ImageInputs,
    ManyShotInputs,
    PixelTargets,
    PoolInputs,
    Samples,
    StoredSamples,
    joined,
)
from tasks.metrics.confidence_intervals import (
    bootstrap_mean_per_class,
    episodes,
    halves_mean_average_precision,
    mean_over,
    over_images,
    wilson,
)
from tasks.metrics.outcome import Interval, Json, Outcome
from tasks.metrics.rescore import Rescorer
from tasks.reporter import Reporter

__all__ = [
    "BankInputs",
    "Boxes",
    "DataError",
    "Dataset",
    "DatasetCard",
    "HeldTargets",
    "ImageInputs",
    "Interval",
    "Json",
    "Labels",
    "ManyShotInputs",
    "Outcome",
    "PixelTargets",
    "PoolInputs",
    "Reporter",
    "Rescorer",
    "Samples",
    "SourceSplit",
    "StoredSamples",
    "Targets",
    "array_split",
    "bootstrap_mean_per_class",
    "episodes",
    "file_split",
    "halves_mean_average_precision",
    "joined",
    "mean_over",
    "over_images",
    "wilson",
]
