"""What an evaluation is given besides backbone and task, and what it leaves. Needs neither torch nor numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.outcome import Json, Outcome


@dataclass(frozen=True)
class Places:
    """The folders that an evaluation reads and writes."""

    weights: Path
    data: Path
    features: Path


@dataclass(frozen=True)
class Facts:
    """What the evaluation was made of, for the record and for the result's key."""

    backbone_identity: Mapping[str, Json]
    weights_digest: str
    manifest_digest: str
    dimension: int
    """Length of a feature vector."""
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
    facts: Facts
