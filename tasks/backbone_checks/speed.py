"""Encoding speed of a backbone in images per second, as JSON: `python -P -m tasks.backbone_checks.speed < request`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch

from backbones.catalog.card import preprocessing_for
from backbones.catalog.weights_folder import WeightsFolder
from backbones.model.encoder import Encoder
from tasks.backbone_checks.finding import CheckRequest
from tasks.backbone_checks.images import photographs

BATCH = 16
LEAST_S = 1.0
"""Minimum duration of the measurement in seconds."""


def images_per_second(encoder: Encoder) -> float:
    """Speed from decoded images to features, including preprocessing, after one warm-up batch."""
    spec, images = preprocessing_for(encoder.card, "paper"), photographs(BATCH)
    encoder.encode(torch.stack([encoder.prepare(image, spec) for image in images]), spec).cpu()
    started, done = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - started) < LEAST_S:
        encoder.encode(torch.stack([encoder.prepare(image, spec) for image in images]), spec).cpu()
        done += len(images)
    return done / elapsed


def main() -> int:
    """Measure the backbone requested on standard input; return 1 if its weights cannot be used."""
    request = CheckRequest.model_validate_json(sys.stdin.read())
    encoder = Encoder.load(request.backbone, WeightsFolder(Path(request.weights)), request.device)
    print(json.dumps({"images_per_s": images_per_second(encoder)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
