"""Proposals for models that timm does not have, by the transformers library's class for their configuration."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from backbones.catalog.card import KeyMapping
from backbones.inspection.evidence import Evidence
from backbones.inspection.fitting import leftovers, preprocessing
from backbones.inspection.leftovers import harmless
from backbones.inspection.proposal import Dropped, Inspection, Proposal
from backbones.io.errors import WeightsError
from backbones.model.transformers_model import EXTRA, SCHEME, filled, is_installed, shortened

USUAL_SIDE = 224


def by_library(
    found: Inspection, content: Mapping[str, object], evidence: Evidence, drop: tuple[str, ...]
) -> Inspection:
    """Inspection with a proposal of the library, or with the reason against it; unchanged for other files."""
    kind = evidence.whole_config.get("model_type")
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    if not isinstance(kind, str) or not tensors:
        return found
    if not is_installed():
        words = f"{found.problem}. The transformers library may have its class: {EXTRA}"
        return found.model_copy(update={"problem": words})
    try:
        proposal = _proposal(kind, tensors, evidence, drop)
    except WeightsError as error:
        return found.model_copy(update={"problem": f"{found.problem}; and {error}"})
    if proposal.exact:
        return found.model_copy(update={"chosen": proposal, "problem": None, "others": ()})
    return found.model_copy(update={"problem": proposal.obstacles[0], "others": (proposal,)})


def _proposal(kind: str, tensors: Mapping[str, Tensor], evidence: Evidence, drop: tuple[str, ...]) -> Proposal:
    config = shortened(evidence.whole_config)
    model, unused = filled(config, tensors)
    side = (evidence.images.size if evidence.images else None) or evidence.number("image_size") or USUAL_SIDE
    with torch.inference_mode():
        images = torch.rand(2, 1, 3, side, side, generator=torch.Generator().manual_seed(0))[0]
        first, second = (model.eval().forward_features(images) for _ in range(2))
    if not torch.equal(first, second):
        raise WeightsError(f"{type(model.network).__name__} of transformers is not deterministic")
    undecided = tuple(key for key in unused if harmless(key) is None and not (drop and key.startswith(drop)))
    card = preprocessing(evidence, "none", {})
    count = len(model.network.state_dict())
    return Proposal(
        architecture=f"{SCHEME}{kind}", arguments={"config": config}, keys=KeyMapping(drop=unused), size=side,
        matched=count, expected=count, mean=card.mean, std=card.std, crop=card.crop, interpolation=card.interpolation,
        assumptions=(
            model.pooling_in_words,
            *(() if evidence.images else ("ImageNet's mean and deviation, because no file states others",)),
        ),
        dropped=tuple(
            Dropped(prefix=key, tensors=1, parameters=tensors[key].numel() if key in tensors else 0,
                    reason=harmless(key) or "dropped by --drop")
            for key in unused
        ),
        undecided=undecided,
        obstacles=tuple(leftovers((), undecided)),
    )  # fmt: skip
