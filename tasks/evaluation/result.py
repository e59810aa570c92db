"""Inputs and result of an evaluation: paths, encoder cache, provenance. Needs neither torch nor numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backbones.catalog.card import BackboneCard, Precision
from backbones.catalog.layer_info import LayerRequest
from backbones.catalog.weights_folder import WeightsFolder
from tasks.features.manifest import Decoder
from tasks.metrics.outcome import Json, Outcome

if TYPE_CHECKING:
    from backbones.model.encoder import Encoder


@dataclass
class EncoderCache:
    """The last encoder, kept in memory so that a worker loads it once for many runs."""

    held: Encoder | None = None
    held_as: tuple[object, ...] = ()

    def get(
        self, card: BackboneCard, digest: str, weights: WeightsFolder, device: str, precision: Precision
    ) -> Encoder:
        """The cached encoder if it matches, else a new one; the old one is released first, since both may not fit the
        device."""
        from backbones.model.encoder import Encoder  # noqa: PLC0415 - a protocol without encoder needs no torch

        key = (card, digest, device, precision)
        if self.held is None or self.held_as != key:
            self.held = None
            self.held = Encoder.load(card, weights, device, precision)
            self.held_as = key
        return self.held


@dataclass(frozen=True)
class EvaluationPaths:
    """Folders read and written by an evaluation. Optional ones may be specific to a run."""

    weights: Path
    data: Path
    features: Path
    cache: Path | None = None
    """Folder for digests of the data files; None: files are always read."""
    decoded: Path | None = None
    """Cache of decoded images shared by backbones; None: not shared."""
    decoded_bytes: int = 0
    """Maximum size of that cache in bytes."""
    decoder: Decoder = "cpu"
    """Engine that decodes JPEG files; the CPU decodes where it cannot be used."""
    cuda_graphs: bool = False
    """Whether encoders on a GPU may use CUDA graphs."""
    checkpoint: Path | None = None
    """Folder for checkpoints of long training, the same for every attempt of a run; None: no checkpoints."""
    checkpoint_s: float = 60.0
    """Interval between checkpoints in seconds."""
    store_layers: tuple[LayerRequest, ...] = ()
    """Layer-wise features that other runs need: also stored whenever images are encoded."""
    pictures: Path | None = None
    """Folder for images (PNG) that illustrate the result; None: none are written."""
    part: Path | None = None
    """File for outputs of the first test images while the others are being encoded (`tasks.evaluation.parts`); None:
    it is not written.
    """


@dataclass(frozen=True)
class Provenance:
    """Provenance of an evaluation (backbone, data and features), for the record and the result key."""

    backbone_identity: Mapping[str, Json]
    weights_digest: str
    manifest_digest: str
    dimension: int | None
    """Length of a feature vector; None for protocols without features."""
    encoded: int
    """Number of images encoded by this evaluation, over all splits."""
    hits: Mapping[str, bool]
    """Per source split, whether its features were already stored."""
    images_per_s: float | None
    """Encoding throughput of this evaluation's own process; None if it encoded no image."""
    assisted: int = 0
    """Number of the encoded images that other processes have encoded, e.g. on other devices."""
    forward_pass: str = ""
    """How this process computed forward passes, where that was decided by measurement."""


@dataclass(frozen=True)
class Evaluation:
    """An outcome with its provenance."""

    outcome: Outcome
    provenance: Provenance
