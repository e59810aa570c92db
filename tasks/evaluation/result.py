"""What an evaluation is given besides backbone and task, and what it leaves. Needs neither torch nor numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.metrics.outcome import Json, Outcome


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
    pictures: Path | None = None
    """Where a protocol puts pictures (PNG) that explain its result; None: nowhere."""


@dataclass(frozen=True)
class Provenance:
    """What the evaluation was made of, for the record and for the result's key."""

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
    """An outcome, and the facts behind it."""

    outcome: Outcome
    facts: Provenance
