"""What of a backbone changes a feature: the allow-list that keys of features and results are made of."""

from __future__ import annotations

from dataclasses import asdict

from backbones.card import BackboneCard
from backbones.preprocessing_spec import PreprocessingSpec

ENCODING_VERSION = 1
"""Raised when the code that loads or runs backbones changes the numbers it gives."""


def identity(card: BackboneCard, weights_digest: str, spec: PreprocessingSpec) -> dict[str, object]:
    """Plain JSON values. Two backbones with equal identities give equal features, whatever they are called.

    Left out on purpose: names, titles and facts; where the file lies; the preprocessing's name, so that two
    preprocessings that do the same to a pixel share their features; and memory layout, folded batch norms and whose
    products they are, which move features by rounding only.
    """
    pixels = {key: value for key, value in asdict(spec).items() if key != "name"}
    code = {} if card.code_sha256 is None else {"code": card.code_sha256}
    return {
        "version": ENCODING_VERSION,
        "architecture": card.architecture.rpartition("/")[2],
        **code,
        "arguments": dict(sorted(card.architecture_arguments.items())),
        "padding": card.padding,
        "pooling": card.pooling,
        "keys": card.keys.model_dump(mode="json"),
        "weights": weights_digest,
        "preprocessing": {key: list(value) if isinstance(value, tuple) else value for key, value in pixels.items()},
    }
