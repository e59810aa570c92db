"""Columns of layer-wise features: which blocks of a backbone are pooled, by which poolings, in which order. No torch.

A plain transformer gives, per block, its class token, the mean of its patch tokens and the mean of its registers, each
after the backbone's final norm, as in published linear heads (`get_intermediate_layers`, `norm=True`, in
dinov2/eval/linear.py). A network with stages gives the mean of the last map of every stride from 4.
"""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict

LayerPooling = Literal["cls", "mean", "registers"]
LAYER_POOLINGS: tuple[LayerPooling, ...] = get_args(LayerPooling)
BlockChoice = Literal["last-4-and-quarters", "all"]
"""`last-4-and-quarters`: the last four blocks, and four evenly spaced ones. Stages are always all included."""
Storage = Literal["float16", "float32"]
ITEM_BYTES: dict[Storage, int] = {"float16": 2, "float32": 4}
LAST = 4
QUARTERS = 4
LAYERS_VERSION = 1
"""Incremented whenever the same request would give other features."""


class LayerRecord(BaseModel):
    """Frozen record that ignores fields of newer programs."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class LayerColumn(LayerRecord):
    """Adjacent columns of layer-wise features: one block with one pooling."""

    block: int
    """From 1 to the number of blocks (or stages)."""
    pooling: LayerPooling
    width: int

    def __str__(self) -> str:
        return f"block {self.block} {self.pooling}"


class LayerRequest(LayerRecord):
    """Stored blocks and their precision."""

    blocks: BlockChoice = "last-4-and-quarters"
    storage: Storage = "float16"

    @property
    def conditions(self) -> dict[str, object]:
        """Parts of a feature key that represent the request."""
        layers = {
            "version": LAYERS_VERSION,
            "blocks": self.blocks,
            "poolings": "+".join(LAYER_POOLINGS),
            "norm": "final",
            "storage": self.storage,
        }
        return {"layers": layers}


class BlockInfo(LayerRecord):
    """Blocks of an architecture, or its stages, as far as they can be pooled."""

    widths: tuple[int, ...]
    """Number of channels of each."""
    poolings: tuple[LayerPooling, ...] = ("mean",)
    """Poolings that its tokens allow."""
    plain: bool = False
    """Whether all blocks have the same stride, as in a plain transformer."""

    def columns(self, choice: BlockChoice) -> tuple[LayerColumn, ...]:
        """Columns in the order in which they are stored: by block, then by pooling."""
        chosen = chosen_blocks(len(self.widths), choice) if self.plain else range(1, len(self.widths) + 1)
        return tuple(
            LayerColumn(block=block, pooling=pooling, width=self.widths[block - 1])
            for block in chosen
            for pooling in self.poolings
        )

    def bytes_per_image(self, request: LayerRequest) -> int:
        """Stored bytes per image."""
        return ITEM_BYTES[request.storage] * sum(column.width for column in self.columns(request.blocks))


def chosen_blocks(depth: int, choice: BlockChoice) -> tuple[int, ...]:
    """Numbers of the chosen blocks of a plain transformer, starting at 1, in increasing order.

    For 12 blocks, the last four and the quarters are 3, 6, 9, 10, 11 and 12.
    """
    if choice == "all":
        return tuple(range(1, depth + 1))
    last = range(max(1, depth - LAST + 1), depth + 1)
    quarters = (max(1, depth * number // QUARTERS) for number in range(1, QUARTERS + 1))
    return tuple(sorted({*last, *quarters}))
