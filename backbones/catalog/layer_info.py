"""Layers of architectures as data that is passed between processes: feature maps, and columns of layer-wise features.

A plain transformer gives, per block, its class token, the mean of its patch tokens and the mean of its registers, each
after the backbone's final norm, as in published linear heads (`get_intermediate_layers`, `norm=True`, in
dinov2/eval/linear.py). A network with stages gives the mean of the last map of every stride from 4.

Feature maps are determined before anything is queued, so that a backbone that is incompatible with a protocol is
refused with a message. timm imports torch, so `python -m backbones.model.feature_maps` is run once per architecture,
and its results are cached.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from backbones.catalog.card import ArchitectureValue, BackboneCard
from backbones.io.card_files import CardModel
from backbones.io.files import write_if_possible
from backbones.io.subprocess_query import run_module

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
DISSECT = "backbones.model.feature_maps"
SECONDS = 600.0


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
    """Blocks (or stages) of an architecture that can be pooled."""

    widths: tuple[int, ...]
    """Number of channels of each."""
    poolings: tuple[LayerPooling, ...] = ("mean",)
    """Poolings that are possible for its tokens."""
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


class MapFacts(CardModel):
    """One feature map of the pyramid: pixels per position, and channels."""

    stride: int
    channels: int


class FeatureMapInfo(CardModel):
    """Capabilities of an architecture. `problem` is the reason if it has no maps; `maps` is empty then."""

    maps: tuple[MapFacts, ...] = ()
    """The pyramid (`backbones.model.feature_maps`), finest first; for a plain transformer all have one stride."""
    any_size: bool = False
    """Whether it accepts images of any size and shape, not only the card's square."""
    dilates: bool = False
    """Whether its last stages can be dilated to an output stride of 8."""
    problem: str | None = None
    blocks: BlockInfo | None = None
    """Blocks whose outputs can be pooled (`backbones.model.feature_maps`); None where there are none."""

    @property
    def plain(self) -> bool:
        """Whether all maps have the same stride, as in a plain transformer."""
        return len({one.stride for one in self.maps}) == 1


class FeatureMapQuery(CardModel):
    """Key of a query."""

    architecture: str
    arguments: dict[str, ArchitectureValue]
    size: int

    @classmethod
    def of(cls, card: BackboneCard) -> FeatureMapQuery:
        return cls(architecture=card.architecture, arguments=card.architecture_arguments, size=card.input.size)

    @property
    def filename(self) -> str:
        """File of the cached answer; it depends on timm's version and on the code of the query."""
        asked = f"{self.model_dump_json()} {metadata.version('timm')} {_code_digest()}"
        return f"{self.architecture}.{hashlib.sha256(asked.encode()).hexdigest()[:12]}.json"


def anatomies(cards: Iterable[BackboneCard], cache_folder: Path) -> dict[str, FeatureMapInfo]:
    """Feature maps by the cards' names: cached answers, and one subprocess for all others."""
    specimens = {card.name: FeatureMapQuery.of(card) for card in cards}
    places = {specimen.filename: specimen for specimen in specimens.values()}
    kept = {place: _kept(cache_folder / place) for place in places}
    unknown = [place for place, anatomy in kept.items() if anatomy is None]
    fresh = dict(zip(unknown, _ask([places[place] for place in unknown]), strict=False))
    for place, anatomy in fresh.items():
        write_if_possible(cache_folder / place, anatomy.model_dump_json().encode())
    failed = FeatureMapInfo(problem="the subprocess that inspects architectures failed")
    return {
        name: kept[specimen.filename] or fresh.get(specimen.filename, failed) for name, specimen in specimens.items()
    }


def _kept(path: Path) -> FeatureMapInfo | None:
    try:
        return FeatureMapInfo.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _ask(specimens: Sequence[FeatureMapQuery]) -> list[FeatureMapInfo]:
    """One answer per query; fewer if the subprocess failed."""
    if not specimens:
        return []
    try:
        lines = "".join(f"{specimen.model_dump_json()}\n" for specimen in specimens)
        done = run_module(DISSECT, given=lines, seconds=SECONDS)
    except subprocess.TimeoutExpired:
        return []
    answers: list[FeatureMapInfo] = []
    for line in done.stdout.splitlines():
        try:
            answers.append(FeatureMapInfo.model_validate_json(line))
        except ValidationError:
            break
    return answers


@lru_cache(maxsize=1)
def _code_digest() -> str:
    """SHA-256 over the code that inspects architectures."""
    here = Path(__file__).parents[1] / "model"
    files = [here / name for name in ("feature_maps.py", "architecture.py")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
