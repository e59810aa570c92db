"""Suitability of protocols for datasets: requirements of protocols are compared with properties of datasets. Needs no
torch.
"""

from __future__ import annotations

import fnmatch

from backbones.io.card_files import match
from tasks.catalog.protocol import Parameters, ProtocolSpec
from tasks.catalog.protocols import PROTOCOLS
from tasks.datasets.card import DatasetCard
from tasks.datasets.layouts import targets_of


def protocols(card: DatasetCard) -> tuple[str, ...]:
    """Names of the protocols that suit a dataset, in the order of `PROTOCOLS`.

    Raises:
        UnknownName: the card restricts them to a name or glob without a match.
    """
    if card.protocols is not None:
        match(card.protocols, PROTOCOLS, "protocol")
    return tuple(name for name, spec in PROTOCOLS.items() if misfit(spec, card, spec.presets["default"]) is None)


def misfit(spec: ProtocolSpec, card: DatasetCard, parameters: Parameters) -> str | None:
    """Reason why a protocol with these parameters does not suit a dataset; None if it does."""
    if card.protocols is not None:
        if spec.name in card.protocols:
            return None
        if not any(fnmatch.fnmatch(spec.name, pattern) for pattern in card.protocols):
            return "its card names other protocols"
    return _lacking(spec, card) or _too_large(spec, card) or (spec.limits(card, parameters) if spec.limits else None)


def _lacking(spec: ProtocolSpec, card: DatasetCard) -> str | None:
    targets = targets_of(card)
    missing = [target for target in spec.needs if target not in targets]
    if missing:
        return f"it has no {' and no '.join(missing)}"
    if card.metric == "map11" and not spec.multi_label:
        return "its images carry several labels"
    if card.splits == "all" and spec.separate_test:
        return "it has no test images of its own"
    return None


def _too_large(spec: ProtocolSpec, card: DatasetCard) -> str | None:
    images = sum(card.images.values())
    if spec.most_images is not None and images > spec.most_images:
        return f"it has {images:,} images, and at most {spec.most_images:,} are offered"
    return None
