"""Examines one backbone and prints what it finds as JSON lines: `python -P -m tasks.examination.examine < request`.

A process of its own because it takes torch; `tasks.examination.finding` starts it. Exit code 0 also when something is
bad: that is the answer, not a failure.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from backbones.card import BackboneCard
from backbones.encoder import Encoder
from backbones.errors import WeightsError
from backbones.weights import WeightsFolder
from tasks.examination.behaviour import check_batch_norm, check_resolution
from tasks.examination.finding import Finding, Request
from tasks.examination.images import photographs
from tasks.examination.initialisation import check_initialisation, declared_untrained, twin
from tasks.examination.normalisation import check_normalisation
from tasks.examination.probing import (
    affordable,
    check_distance,
    check_normalisation_by_probe,
    check_probe,
    check_values,
    features,
    probe,
    with_model,
)

FEW = 32
"""Images whose features are looked at where there is no time for the probe."""


def examination(request: Request) -> Iterator[Finding]:
    """Every check, quick ones first; after weights that do not load there is nothing more to check."""
    started = time.perf_counter()
    try:
        encoder = _load(request)
    except WeightsError as error:
        yield Finding(name="weights", verdict="bad", words=str(error))
        return
    except (AssertionError, ValueError) as error:
        side = request.backbone.input.size
        yield Finding(name="resolution", verdict="bad", words=f"images of {side} px cannot be encoded: {error}")
        return
    yield _loaded(request.backbone, encoder, time.perf_counter() - started)
    yield from findings_of(encoder, thorough=request.thorough)


def findings_of(encoder: Encoder, *, thorough: bool) -> Iterator[Finding]:
    """The checks of a backbone that has been loaded."""
    fresh = twin(encoder.card)
    trained = check_initialisation(encoder.card, encoder.model, fresh)
    yield trained
    yield check_batch_norm(encoder)
    untrained = trained.verdict == "bad" or declared_untrained(encoder.card)
    by_statistics = None if untrained else check_normalisation(encoder)
    if by_statistics is not None and not (thorough and by_statistics.verdict == "note"):
        yield by_statistics
    yield check_resolution(encoder)
    if not thorough:
        yield from check_values(features(encoder, photographs(FEW)))
        return
    count = affordable(encoder)
    own, other = probe(encoder, count), probe(with_model(encoder, fresh), count)
    if by_statistics is not None and by_statistics.verdict == "note":
        yield check_normalisation_by_probe(encoder, own)
    yield from check_values(own.test)
    yield check_distance(own, other)
    yield check_probe(own, other, untrained=untrained)


def _load(request: Request) -> Encoder:
    """On the device, or on the CPU where that one is full. Raises WeightsError."""
    weights = WeightsFolder(Path(request.weights))
    try:
        return Encoder.load(request.backbone, weights, request.device)
    except WeightsError:
        raise
    except RuntimeError:
        if request.device == "cpu":
            raise
        return Encoder.load(request.backbone, weights)


def _loaded(card: BackboneCard, encoder: Encoder, seconds: float) -> Finding:
    tensors = len(encoder.model.state_dict())
    heads = f", without {', '.join(card.keys.drop)}" if card.keys.drop else ""
    source = "made" if card.weights.kind == "random" else "matched"
    words = f"all {tensors} tensors {source}{heads}; {encoder.dimension} dimensions; loaded in {seconds:.1f} s"
    return Finding(name="weights", verdict="good", words=words, values={"tensors": float(tensors)})


def main() -> int:
    """Examine what standard input asks for."""
    request = Request.model_validate_json(sys.stdin.read())
    for finding in examination(request):
        print(finding.model_dump_json(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
