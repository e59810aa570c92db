"""Outputs of one pass over the images: pooled features, layer-wise features, and their storage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from backbones.catalog.card import PreprocessingSpec
from backbones.catalog.layer_info import BlockChoice, LayerColumn, LayerRequest, Storage
from backbones.model.cuda_graphs import GraphedForward
from backbones.model.preprocessing import Picture
from tasks.features.extraction import EncoderLike
from tasks.features.manifest import NotFiniteError
from tasks.features.shards import DTYPES

AnyFloats = npt.NDArray[np.floating]


class LayerEncoder(EncoderLike, Protocol):
    """An encoder that also pools the outputs of its blocks, as `backbones.model.encoder.Encoder` does."""

    def columns(self, choice: BlockChoice) -> tuple[LayerColumn, ...]:
        """Columns of layer-wise features. Raises WeightsError for a backbone without blocks."""

    def encode_layers(self, batch: Tensor, spec: PreprocessingSpec, choices: Sequence[BlockChoice]) -> Tensor:
        """float32 [b, dimension + widths of the choices' columns]."""


@dataclass(frozen=True)
class ExtractionOutput:
    """One array computed by a pass over the images."""

    dimension: int
    storage: Storage = "float32"
    choice: BlockChoice | None = None
    """Selected blocks; None for pooled features."""
    columns: tuple[LayerColumn, ...] = ()

    def stored(self, rows: AnyFloats, identifiers: Sequence[str], backbone: str) -> AnyFloats:
        """Rows in storage precision.

        Raises NotFiniteError with image and column of a value out of the range of half precision.
        """
        with np.errstate(over="ignore"):
            values = rows.astype(DTYPES[self.storage])
        wrong = np.argwhere(~np.isfinite(values))
        if len(wrong):
            row, place = int(wrong[0][0]), int(wrong[0][1])
            raise NotFiniteError(
                f"{backbone}: {float(rows[row, place]):.4g} in {self.column_at(place)} of {identifiers[row]} does not "
                f"fit {self.storage} ({len(wrong)} values of {len(rows)} images do not): store layers in float32 "
                "(`--set PROTOCOL.storage=float32`)"
            )
        return cast("AnyFloats", values)

    def column_at(self, place: int) -> str:
        """Block and pooling of a column, formatted for messages."""
        ends = np.cumsum([column.width for column in self.columns])
        return str(self.columns[int(np.searchsorted(ends, place, side="right"))]) if self.columns else "its features"


def output_of(encoder: EncoderLike, layers: LayerRequest | None) -> ExtractionOutput:
    """The output of a request. Raises WeightsError for a backbone without blocks."""
    if layers is None:
        return ExtractionOutput(encoder.dimension)
    columns = cast("LayerEncoder", encoder).columns(layers.blocks)
    return ExtractionOutput(sum(column.width for column in columns), layers.storage, layers.blocks, columns)


def encoder_of(encoder: EncoderLike, outputs: Sequence[ExtractionOutput]) -> EncoderLike:
    """An encoder that computes all outputs in one forward pass and concatenates them."""
    if all(output.choice is None for output in outputs):
        return encoder
    return _CombinedEncoder(cast("LayerEncoder", encoder), tuple(outputs))


@dataclass(frozen=True)
class _CombinedEncoder:
    encoder: LayerEncoder
    outputs: tuple[ExtractionOutput, ...]

    @property
    def dimension(self) -> int:
        """Total number of columns."""
        return sum(output.dimension for output in self.outputs)

    @property
    def device(self) -> torch.device | None:
        """Where it computes, where the encoder names that."""
        return getattr(self.encoder, "device", None)

    @property
    def forwards(self) -> GraphedForward | None:
        """Forward passes of the encoder, where CUDA graphs may compute them."""
        return getattr(self.encoder, "forwards", None)

    def finish(self) -> str:
        """End a series of batches, as `backbones.model.encoder.Encoder.finish`."""
        finish = getattr(self.encoder, "finish", None)
        return str(finish()) if finish else ""

    def prepare(self, image: Picture, spec: PreprocessingSpec) -> Tensor:
        """Prepare an image as uint8 [3, h, w]."""
        return self.encoder.prepare(image, spec)

    def encode(self, batch: Tensor, spec: PreprocessingSpec) -> Tensor:
        """Encode a batch to float32 [b, dimension]; pooled features, if requested, come first."""
        choices = [output.choice for output in self.outputs if output.choice is not None]
        found = self.encoder.encode_layers(batch, spec, choices)
        return found if self.outputs[0].choice is None else found[:, self.encoder.dimension :]
