"""Fast probe: kNN accuracy on handwritten digits, compared with that of a random twin."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import nn

from backbones.catalog.card import preprocessing_for
from backbones.model.encoder import Encoder
from tasks.backbone_checks.finding import Finding
from tasks.backbone_checks.images import digits
from tasks.backbone_checks.weights import candidates
from tasks.features.feature_checks import check_features
from tasks.solvers.nearest_neighbours import classify

Floats = npt.NDArray[np.float32]

SECONDS = 20.0
"""Time limit for both networks together, in seconds."""
FEWEST, MOST = 60, 900
BATCH = 32
NEIGHBOURS = 5
CLASSES = 10
CHANCE = 100 / CLASSES


@dataclass(frozen=True)
class Probe:
    """Features of digits [n, d] for training and testing, and the accuracy in percent."""

    train: Floats
    test: Floats
    accuracy: float

    @property
    def count(self) -> int:
        """Number of test images."""
        return len(self.test)

    @property
    def error(self) -> float:
        """Standard error of the accuracy, in percentage points."""
        share = min(max(self.accuracy / 100, 1 / self.count), 1 - 1 / self.count)
        return 100 * float(np.sqrt(share * (1 - share) / self.count))


def probe(encoder: Encoder, count: int) -> Probe:
    """Nearest-neighbour accuracy with `count` training and `count` test digits."""
    train, test = digits("train", count), digits("test", count)
    known, asked = features(encoder, train.images), features(encoder, test.images)
    if not (np.isfinite(known).all() and np.isfinite(asked).all()):
        return Probe(known, asked, 0.0)
    scores = classify(asked, known, train.labels, neighbours=[NEIGHBOURS], classes=CLASSES)[0]
    return Probe(known, asked, 100 * float(np.mean(scores.argmax(1) == test.labels)))


def affordable(encoder: Encoder) -> int:
    """Number of digits, for training and testing each, that fit into half of the time; measured on one batch."""
    batch = digits("train", BATCH).images
    features(encoder, batch[:2])
    started = time.perf_counter()
    features(encoder, batch)
    each = (time.perf_counter() - started) / len(batch)
    return int(np.clip(SECONDS / 4 / each, FEWEST, MOST))


def features(encoder: Encoder, images: Sequence[Image.Image]) -> Floats:
    """Features [n, d], computed batch by batch."""
    spec = preprocessing_for(encoder.card, "paper")
    parts = [
        encoder.encode(torch.stack([encoder.prepare(image, spec) for image in images[start : start + BATCH]]), spec)
        for start in range(0, len(images), BATCH)
    ]
    return np.concatenate([part.cpu().numpy() for part in parts]).astype(np.float32)


def check_values(found: Floats) -> Iterator[Finding]:
    """Check for NaN, constants, repeated rows and collapse, by the rules of the feature checks of runs."""
    checks = check_features(found)
    values = {
        "rows": float(checks.rows),
        "not_finite_rows": float(checks.not_finite_rows),
        "dead_share": checks.dead_share,
        "duplicate_rows": float(checks.duplicate_rows),
        "effective_rank": checks.effective_rank,
    }
    words = "; ".join(checks.warnings) or (
        f"{found.shape[1]} dimensions, effective rank {checks.effective_rank:.1f}, none NaN or constant"
    )
    broken = checks.not_finite_rows > 0 or checks.dead_share == 1.0
    verdict = "bad" if broken else "note" if checks.warnings else "good"
    yield Finding(name="features", verdict=verdict, words=words, values=values)


def check_probe(own: Probe, twin: Probe, *, untrained: bool) -> Finding:
    """Chance level is bad; no better than a random twin is a warning, as some good methods fail on digits."""
    values = {"accuracy": own.accuracy, "twin_accuracy": twin.accuracy, "images": float(own.count)}
    summary = f"{own.accuracy:.0f} % of {own.count} digits recognised, its random twin {twin.accuracy:.0f} %"
    if own.accuracy < CHANCE + 3 * own.error:
        words = f"{summary}: no better than guessing. Weights, normalisation or pooling are wrong"
        return Finding(name="probe", verdict="bad", words=words, values=values)
    if not untrained and own.accuracy <= twin.accuracy + 2 * np.hypot(own.error, twin.error):
        words = f"{summary}: no better than untrained on digits. Compare on a task of your own before relying on it"
        return Finding(name="probe", verdict="note", words=words, values=values)
    return Finding(name="probe", verdict="good", words=summary, values=values)


def check_normalisation_by_probe(encoder: Encoder, own: Probe) -> Finding:
    """Compare three normalisations by probe accuracy, for networks without batch norms.

    `own` is the probe under the card's. Only a clearly better one is reported, as such networks are robust.
    """
    first, *others = candidates(preprocessing_for(encoder.card, "paper"))
    found = {first.name: own.accuracy}
    for named in others:
        changed = encoder.card.input.model_copy(update={"mean": named.mean, "std": named.std})
        card = encoder.card.model_copy(update={"input": changed})
        other = Encoder(card, encoder.model, encoder.device, encoder.precision, encoder.weights_digest)
        found[named.name] = probe(other, own.count).accuracy
    best = max(found, key=lambda name: found[name])
    shown = ", ".join(f"{name} {accuracy:.0f} %" for name, accuracy in found.items())
    if found[best] > own.accuracy + 3 * math.sqrt(2) * own.error:
        words = f"{best} recognises clearly more digits than the card's {first.name} ({shown}): check its [input]"
        return Finding(name="normalisation", verdict="note", words=words, values=found)
    words = f"no other normalisation recognises clearly more digits ({shown})"
    return Finding(name="normalisation", verdict="good", words=words, values=found)


def check_distance(own: Probe, twin: Probe) -> Finding:
    """Linear CKA (Kornblith et al., 2019) with the random twin's features; 1 means the same geometry."""
    similarity = linear_cka(own.test, twin.test)
    words = f"similarity to a random twin {similarity:.2f} (linear CKA; 1 is the same)"
    return Finding(name="twin", verdict="good", words=words, values={"cka": similarity})


def linear_cka(first: Floats, second: Floats) -> float:
    """Linear centred kernel alignment of two sets of features [n, d] and [n, e] of the same images, 0 to 1."""
    one, two = (values.astype(np.float64) - values.mean(0) for values in (first, second))
    cross = np.linalg.norm(one.T @ two) ** 2
    scale = np.linalg.norm(one.T @ one) * np.linalg.norm(two.T @ two)
    return float(cross / scale) if scale > 0 else 0.0


def with_model(encoder: Encoder, model: nn.Module) -> Encoder:
    """An encoder with the same card and another network."""
    return Encoder(encoder.card, model.to(encoder.device), encoder.device, encoder.precision, "twin")
