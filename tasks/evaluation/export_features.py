"""Export features of images or datasets, computed as for tasks: `python -P -m tasks.evaluation.export_features`.

A separate process because it imports torch. Reads an `ExportRequest` from standard input and writes `Report` lines to
standard output.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from backbones.catalog.card import PreprocessingSpec, identity, preprocessing_for
from backbones.catalog.layer_info import LayerColumn, LayerRequest
from backbones.catalog.weights_folder import WeightsFolder
from backbones.io.card_files import CardModel
from backbones.io.errors import WeightsError
from backbones.io.image_reading import ImageError, Pixels, read_image
from backbones.model.encoder import Encoder
from backbones.model.preprocessing import Picture
from tasks.datasets.dataset import DataError, Dataset, Labels, SourceSplit
from tasks.datasets.images import PixelSource
from tasks.datasets.registry import open_dataset
from tasks.evaluation.result import EncoderCache
from tasks.features.array_files import NamedFeatures, write_features
from tasks.features.decoded_images import DecodedImages
from tasks.features.extraction import Extraction, Machine, SplitImages
from tasks.features.feature_checks import check_features
from tasks.features.manifest import DiskFullError, FeatureKey, NotFiniteError, OutOfMemoryError
from tasks.features.requests import (
    LAST,
    Advance,
    DatasetSplits,
    Exported,
    ExportRequest,
    ExportWarning,
    Failed,
    FormatError,
    ImageFiles,
    LayerChoice,
    LayerError,
    Phase,
    Problem,
)
from tasks.features.store import FeatureRequest, FeatureStore
from tasks.reporter import SilentReporter

Floats = npt.NDArray[np.float32]
PROBLEMS: tuple[tuple[type[Exception], Problem], ...] = (
    (WeightsError, "weights"),
    (DataError, "data"),
    (ImageError, "data"),
    (FileNotFoundError, "data"),
    (FormatError, "request"),
    (LayerError, "request"),
    (NotFiniteError, "failure"),
    (OutOfMemoryError, "failure"),
    (DiskFullError, "failure"),
    (OSError, "failure"),
)


class LineReporter(SilentReporter):
    """Reporter that writes JSON lines."""

    def phase(self, name: str, total: int | None = None, unit: str = "") -> None:  # noqa: ARG002 - all are images
        _write_report(Phase(name=name, total=total))

    def advance(self, count: int = 1) -> None:
        _write_report(Advance(count=count))

    def warn(self, message: str) -> None:
        _write_report(ExportWarning(words=message))


@dataclass(frozen=True)
class ListedImages(PixelSource):
    """Image files in any folder."""

    files: Sequence[str]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Image.Image:
        found = self.pixels(index)
        return found if isinstance(found, Image.Image) else Image.fromarray(found)

    def pixels(self, index: int) -> Pixels | Image.Image:
        """The pixels of one image. Raises ImageError, FileNotFoundError."""
        return read_image(Path(self.files[index]))


@dataclass(frozen=True)
class _Part:
    """Features of one source split or of image files."""

    values: Floats
    names: Sequence[str]
    encoded: int
    labels: Labels | None = None
    split: str | None = None
    classes: tuple[str, ...] = ()


@dataclass
class Export:
    """Execution of one request."""

    request: ExportRequest
    reporter: LineReporter

    def carry_out(self) -> Exported:
        """Write the file. Raises the exceptions in `PROBLEMS`."""
        parts = [part for source in self.request.sources for part in self._parts(source)]
        features = self._joined(parts)
        for sentence in check_features(features.values).warnings if len(features.values) > 1 else ():
            self.reporter.warn(sentence)
        write_features(Path(self.request.output), features)
        encoded = sum(part.encoded for part in parts)
        images, dimension = features.values.shape
        return Exported(images=images, dimension=dimension, weights_digest=self._digest, encoded=encoded)

    @cached_property
    def _weights(self) -> WeightsFolder:
        return WeightsFolder(Path(self.request.weights))

    @cached_property
    def _digest(self) -> str:
        state = self._weights.state(self.request.backbone)
        if state.status != "present" or state.digest is None:
            raise WeightsError(f"{self.request.backbone.name}: the weights are {state.status}: {state.advice}")
        return state.digest

    @cached_property
    def _spec(self) -> PreprocessingSpec:
        return preprocessing_for(self.request.backbone, self.request.preprocessing)

    @cached_property
    def _encoders(self) -> EncoderCache:
        return EncoderCache()

    @cached_property
    def _store(self) -> FeatureStore:
        request = self.request
        decoded = DecodedImages(Path(request.decoded), request.decoded_bytes) if request.decoded else None
        return FeatureStore(Path(request.features), Machine(batch_size=request.batch_size), decoded)

    def _encoder(self) -> Encoder:
        request = self.request
        return self._encoders.get(request.backbone, self._digest, self._weights, request.device, request.precision)

    def _parts(self, source: ImageFiles | DatasetSplits) -> list[_Part]:
        if isinstance(source, ImageFiles):
            return [self._of_files(source)]
        cache = Path(self.request.cache) if self.request.cache else None
        dataset = open_dataset(source.card, Path(self.request.data), cache)
        for note in dataset.notes:
            self.reporter.warn(f"{dataset.name}: {note}")
        unknown = [name for name in source.splits if name not in dataset.splits]
        if unknown:
            raise DataError(f"{dataset.name} has no split {unknown[0]!r}: it has {', '.join(dataset.splits)}")
        return [self._of_split(dataset, dataset.splits[name]) for name in source.splits or dataset.splits]

    def _of_files(self, source: ImageFiles) -> _Part:
        count, encoder = len(source.files), self._blocks or self._encoder()
        machine = Machine(batch_size=self.request.batch_size)
        images = SplitImages(self.request.backbone.name, "the images", ListedImages(source.files), source.names)
        self.reporter.phase("encoding", count)
        extraction = Extraction(images, encoder, self._spec, machine, self.reporter)
        rows = [values for _, values in extraction.shards([(0, count)])] if count else []
        values = np.concatenate([np.empty((0, encoder.dimension), np.float32), *rows])
        return _Part(self._chosen(values), source.names, count)

    def _of_split(self, dataset: Dataset, split: SourceSplit) -> _Part:
        card = self.request.backbone
        blocks = self._blocks
        layers = None if blocks is None else blocks.request
        conditions = {} if layers is None else layers.conditions
        about = identity(card, self._digest, self._spec)
        key = FeatureKey(about, split.images_digest, self.request.precision, conditions)
        wanted = FeatureRequest(key, card.name, dataset.name, split, self._spec, layers)
        found = self._store.features(wanted, self._encoder, self.reporter)
        names = [f"{dataset.name}/{split.name}/{identifier}" for identifier in split.identifiers]
        labels = split.labels if split.labels.ndim == 1 or split.labels.shape[1] else None
        return _Part(self._chosen(found.values), names, found.encoded, labels, split.name, dataset.classes)

    @cached_property
    def _blocks(self) -> BlockEncoder | None:
        """Encoder of the selected blocks; None for pooled features. Raises WeightsError."""
        choice = self.request.layers
        return None if choice is None else BlockEncoder.covering(self._encoder(), choice)

    def _chosen(self, values: npt.NDArray[np.floating]) -> Floats:
        """Selected columns of layer-wise features; pooled features unchanged."""
        blocks, choice = self._blocks, self.request.layers
        if blocks is None or choice is None:
            return np.asarray(values, np.float32)
        chosen = [
            np.asarray(values[:, start : start + column.width], np.float32)
            for start, column in blocks.places
            if fits(column, choice)
        ]
        return np.concatenate(chosen, axis=1)

    def _joined(self, parts: Sequence[_Part]) -> NamedFeatures:
        """All rows, with labels and splits if all are of one dataset."""
        one_dataset = len(self.request.sources) == 1 and isinstance(self.request.sources[0], DatasetSplits)
        labels = [part.labels for part in parts if part.labels is not None]
        return NamedFeatures(
            values=np.concatenate([part.values for part in parts]),
            names=[name for part in parts for name in part.names],
            about=self._about(),
            labels=np.concatenate(labels) if one_dataset and len(labels) == len(parts) else None,
            splits=[part.split or "" for part in parts for _ in part.names] if one_dataset else None,
            classes=parts[0].classes if one_dataset else (),
        )

    def _columns(self) -> list[str]:
        blocks, choice = self._blocks, self.request.layers
        if blocks is None or choice is None:
            return [LAST]
        return [str(column) for _, column in blocks.places if fits(column, choice)]

    def _about(self) -> dict[str, object]:
        card = self.request.backbone
        return {
            "backbone": card.name,
            "architecture": card.architecture,
            "weights_sha256": self._digest,
            "pooling": card.pooling,
            "layers": self._columns(),
            "preprocessing": asdict(self._spec),
            "precision": self.request.precision,
        }


def fits(column: LayerColumn, choice: LayerChoice) -> bool:
    """Whether a column is selected."""
    of_block = not choice.blocks or column.block in choice.blocks
    return of_block and (not choice.poolings or column.pooling in choice.poolings)


@dataclass(frozen=True)
class BlockEncoder:
    """Encoder of block features in storage precision."""

    encoder: Encoder
    request: LayerRequest

    @classmethod
    def covering(cls, encoder: Encoder, choice: LayerChoice) -> BlockEncoder:
        """The encoder of the fewest stored blocks that cover a choice. Raises WeightsError for unavailable blocks or
        poolings."""
        usual = cls(encoder, LayerRequest())
        if choice.blocks and set(choice.blocks) <= {column.block for _, column in usual.places}:
            found = usual
        else:
            found = cls(encoder, LayerRequest(blocks="all"))
        columns = [column for _, column in found.places]
        lacking = [block for block in choice.blocks if block not in {column.block for column in columns}]
        if lacking or not any(fits(column, choice) for column in columns):
            there = f"blocks 1 to {max(column.block for column in columns)}"
            poolings = ", ".join(dict.fromkeys(column.pooling for column in columns))
            raise LayerError(f"{encoder.card.name} has {there}, pooled by {poolings}: choose from these")
        return found

    @property
    def places(self) -> list[tuple[int, LayerColumn]]:
        """Every column with its first position."""
        columns = self.encoder.columns(self.request.blocks)
        starts = np.cumsum([0, *(column.width for column in columns)])
        return [(int(start), column) for start, column in zip(starts, columns, strict=False)]

    @property
    def dimension(self) -> int:
        """Length of a feature vector."""
        return sum(column.width for _, column in self.places)

    def prepare(self, image: Picture, spec: PreprocessingSpec) -> Tensor:
        """Prepare an image as uint8 [3, h, w]."""
        return self.encoder.prepare(image, spec)

    def encode(self, batch: Tensor, spec: PreprocessingSpec) -> Tensor:
        """Features [b, dimension] as stored, i.e. rounded to half precision."""
        both = self.encoder.encode_layers(batch, spec, (self.request.blocks,))
        return both[:, self.encoder.dimension :].half().float()


def _write_report(report: CardModel) -> None:
    print(report.model_dump_json(), flush=True)


def main() -> int:
    """Execute the request on standard input."""
    request = ExportRequest.model_validate_json(sys.stdin.read())
    try:
        _write_report(Export(request, LineReporter()).carry_out())
    except tuple(kind for kind, _ in PROBLEMS) as error:
        problem = next(name for kind, name in PROBLEMS if isinstance(error, kind))
        _write_report(Failed(problem=problem, words=str(error)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
