"""Paths and encoder that an evaluation is given, and the evaluation that it returns. Needs neither torch nor numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backbones.catalog.card import BackboneCard, Precision
from backbones.catalog.layer_columns import LayerRequest
from backbones.catalog.weights_folder import WeightsFolder
from tasks.metrics.outcome import Json, Outcome

if TYPE_CHECKING:
    from backbones.model.encoder import Encoder


@dataclass
class EncoderCache:
    """The encoder last used, kept in memory so that a worker loads it once for many runs."""

    held: Encoder | None = None
    held_as: tuple[object, ...] = ()

    def get(
        self, card: BackboneCard, digest: str, weights: WeightsFolder, device: str, precision: Precision
    ) -> Encoder:
        """The encoder, from memory if it is the one held. The other is released first: two need not fit the device."""
        from backbones.model.encoder import Encoder  # noqa: PLC0415 - a protocol without encoder needs no torch

        key = (card, digest, device, precision)
        if self.held is None or self.held_as != key:
            self.held = None
            self.held = Encoder.load(card, weights, device, precision)
            self.held_as = key
        return self.held


@dataclass(frozen=True)
class EvaluationPaths:
    """The folders that an evaluation reads and writes. Those that may be None belong to one run alone."""

    weights: Path
    data: Path
    features: Path
    cache: Path | None = None
    """Where digests of the data's files are remembered; None: they are read each time."""
    decoded: Path | None = None
    """Where backbones share decoded images; None: each decodes for itself."""
    decoded_bytes: int = 0
    """How large that folder may become."""
    checkpoint: Path | None = None
    """Where long training keeps its state; the same folder for every attempt of a run. None: nothing is kept."""
    checkpoint_s: float = 60.0
    """How often, in seconds."""
    store_layers: tuple[LayerRequest, ...] = ()
    """Layer-wise features that other runs will need: stored too wherever images are encoded."""
    pictures: Path | None = None
    """Where a protocol puts pictures (PNG) that explain its result; None: nowhere."""


@dataclass(frozen=True)
class Provenance:
    """Backbone, data and features of an evaluation, for the record and the result's key."""

    backbone_identity: Mapping[str, Json]
    weights_digest: str
    manifest_digest: str
    dimension: int | None
    """Length of a feature vector; None for a protocol that takes none."""
    encoded: int
    """Images that were encoded now, over all splits."""
    hits: Mapping[str, bool]
    """Per source split, whether its features were stored already."""
    images_per_s: float | None
    """Speed of today's encoding; None when nothing was encoded."""


@dataclass(frozen=True)
class Evaluation:
    """An outcome, and what it was computed from."""

    outcome: Outcome
    provenance: Provenance
