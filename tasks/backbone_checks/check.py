"""Check one backbone and print the findings as JSON lines: `python -P -m tasks.backbone_checks.check < request`.

A separate process because it imports torch, started by `tasks.backbone_checks.finding`. The exit code is 0 also if a
finding is bad.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from backbones.catalog.card import BackboneCard, preprocessing_for
from backbones.catalog.weights_folder import WeightsFolder
from backbones.io.errors import WeightsError
from backbones.model.encoder import Encoder
from tasks.backbone_checks.finding import CheckRequest, Finding
from tasks.backbone_checks.images import photographs
from tasks.backbone_checks.probe import (
    affordable,
    check_distance,
    check_normalisation_by_probe,
    check_probe,
    check_values,
    features,
    probe,
    with_model,
)
from tasks.backbone_checks.weights import check_initialisation, check_normalisation, declared_untrained, twin

COUNT = 8
TOLERANCE = 0.02
"""Maximum relative difference of a vector alone and in a batch. Kernels for other batch sizes round up to 1e-4."""


def check_batch_norm(encoder: Encoder) -> Finding:
    """Check for evaluation mode, from the flags of all modules and the behaviour of the network."""
    training = [name for name, module in encoder.model.named_modules() if module.training]
    change = _change(encoder)
    values = {"change": change}
    if training or change > TOLERANCE:
        where = f"{training[0]} is in training mode" if training else "something normalises over the batch"
        words = (
            f"a vector changes by {change:.0%} with the other images in its batch: {where}. Call eval() on the whole "
            "model and keep running statistics in every batch norm"
        )
        return Finding(name="batch norm", verdict="bad", words=words, values=values)
    norms = sum(1 for module in encoder.model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
    words = f"an image's vector does not depend on its batch ({norms} batch norms in evaluation mode)"
    return Finding(name="batch norm", verdict="good", words=words, values=values)


def _change(encoder: Encoder) -> float:
    """The largest relative difference between vectors of images alone and together."""
    spec = preprocessing_for(encoder.card, "paper")
    batch = torch.stack([encoder.prepare(image, spec) for image in photographs(COUNT)])
    together = encoder.encode(batch, spec)
    alone = torch.cat([encoder.encode(image[None], spec) for image in batch])
    scale = together.norm(dim=1).clamp_min(1e-12)
    return float(((together - alone).norm(dim=1) / scale).max())


def check_resolution(encoder: Encoder) -> Finding:
    """Check whether the input size is the one of the network's position embedding."""
    side = encoder.card.input.size
    patch = _patch(encoder.model)
    own = encoder.card.architecture_arguments.get("img_size")
    if isinstance(own, int) and not isinstance(own, bool) and own != side:
        words = f"{side} px, and its position embedding is for {own} px: it is stretched, which costs a little"
        return Finding(name="resolution", verdict="note", words=words)
    return Finding(
        name="resolution", verdict="good", words=f"{side} px" + (f", patches of {patch} px" if patch else "")
    )


def _patch(model: nn.Module) -> int | None:
    found = getattr(getattr(model, "patch_embed", None), "patch_size", None)
    return int(found[0]) if isinstance(found, (tuple, list)) else found if isinstance(found, int) else None


FEW = 32
"""Number of images used without the probe."""


def examination(request: CheckRequest) -> Iterator[Finding]:
    """All checks, fast ones first; stops if the weights cannot be loaded."""
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
    """Checks of a loaded backbone."""
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


def _load(request: CheckRequest) -> Encoder:
    """Load the backbone on the device, or on the CPU if its memory is full. Raises WeightsError."""
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
    """Run the checks requested on standard input."""
    request = CheckRequest.model_validate_json(sys.stdin.read())
    for finding in examination(request):
        print(finding.model_dump_json(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
