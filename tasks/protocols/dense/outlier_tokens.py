"""Patch tokens whose norm stands out: artefacts of some transformers that are noise to a dense head.

Source: Darcet et al., Vision transformers need registers (2309.16588): a few per cent of the patches of large models
without registers carry global information in tokens of a very high norm, on uniform background. The norm is measured at
the output of a block, before the final norm, which hides it; outliers are here tokens beyond three times the median of
their image (a choice of this project).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

from backbones.model.feature_maps import NoBlocks, block_modules, recorded_blocks
from tasks.metrics.outcome import Json
from tasks.reporter import Reporter

BEYOND = 3.0
"""Multiple of the image's median norm above which a token is an outlier."""
NOTABLE = 0.5
"""Percentage of outliers in any block above which the result has a warning."""
SHOWN = 16
"""Number of images examined."""


@torch.no_grad()
def outlier_shares(model: nn.Module, images: Iterable[Tensor]) -> list[float]:
    """Percentage of outliers among the patch tokens of each block, from normalised images [b, 3, h, w].

    Empty for a network without blocks of tokens.
    """
    try:
        names = block_modules(model)
    except NoBlocks:
        return []
    prefix = int(getattr(model, "num_prefix_tokens", 0))
    counts, total = torch.zeros(len(names)), 0
    with recorded_blocks(model, names) as outputs:
        for image in images:
            cast("Any", model).forward_features(image)
            if any(name not in outputs or outputs[name].ndim != 3 for name in names):
                return []
            norms = [outputs[name][:, prefix:].float().norm(dim=2) for name in names]
            beyond = [one > BEYOND * one.median(dim=1, keepdim=True).values for one in norms]
            counts += torch.stack([one.sum() for one in beyond]).cpu()
            total += norms[0].numel()
    return [100 * float(count) / total for count in counts] if total else []


def check_outliers(model: nn.Module, images: Iterable[Tensor], reporter: Reporter) -> dict[str, Json]:
    """Store percentages by block as a diagnostic, with a warning if one is notable; no effect for networks without
    tokens.
    """
    training = model.training
    shares = outlier_shares(model.eval(), images)
    model.train(training)
    if not shares:
        return {}
    worst = max(range(len(shares)), key=lambda block: shares[block])
    if shares[worst] >= NOTABLE:
        reporter.warn(
            f"{shares[worst]:.1f} % of the patch tokens of block {worst + 1} have more than {BEYOND:g} times the "
            "median norm of their image: such outliers disturb dense predictions (a model with registers has fewer)"
        )
    return {"outlier_tokens": cast("list[Json]", shares)}
