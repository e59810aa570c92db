"""Work for a GPU, counted on a CPU: numbers that the host waits for, and operations that start a kernel.

    python -m tests.benchmarks.device_counts [--quick]

Counts, not times: they are the same on every machine. The path is computed as on a GPU (`device_matrix.is_card`), per
value of C, a batch by the network that encodes it, whatever its size. The operations in half precision without weights
that are cast once are those of autocast alone.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from backbones.catalog.card import Precision, preprocessing_for
from backbones.catalog.weights_folder import WeightsFolder
from backbones.model.encoder import Encoder
from backbones.model.precision import with_half_weights
from tasks.solvers.logistic import Settings
from tasks.solvers.logistic.path_solver import PathSolver
from tasks.solvers.logistic.regularisation_path import checked_features, likelihood_of
from tests.benchmarks._features import made_up
from tests.benchmarks._options import parser
from tests.benchmarks._record import Figure, keep, tell
from tests.tasks.dispatch_counts import DispatchCounts, counted, emulated_card
from tests.tasks.workspace_fixture import network

STRENGTHS: Sequence[float] = np.logspace(-6, 4, 11).tolist()
SIZES = {"600 x 96, 24 classes": (600, 96, 24), "3,000 x 256, 100 classes": (3000, 256, 100)}
AT_MOST = {"600 x 96, 24 classes": (17, 350), "3,000 x 256, 100 classes": (28, 560)}
"""Numbers that the host waits for and operations, per C."""
NETWORKS = {"resnet50": "ResNet-50", "vit_small_patch16_224": "ViT-S/16"}
HALF: tuple[Precision, ...] = ("bfloat16", "float16")


def of_a_path(shape: tuple[int, int, int]) -> DispatchCounts:
    """Counts of the whole path."""
    data = made_up(*shape, signal=0.3)
    likelihood, present = likelihood_of(torch.from_numpy(data.train[1]), None)
    with emulated_card() as counts:
        walk = PathSolver.over(checked_features(data.train[0]), likelihood, present, Settings())
        counts.operations.clear()
        counts.copies = 0
        for strength in STRENGTHS:
            walk.advance(strength)
    return counts


def paths(sizes: Sequence[str]) -> Iterator[Figure]:
    """Numbers and operations per C."""
    for name in sizes:
        counts, (reads, launches) = of_a_path(SIZES[name]), AT_MOST[name]
        per_c = 1 / len(STRENGTHS)
        yield Figure(f"path, {name}: numbers that the host waits for", counts.host_reads * per_c, "per C", reads)
        yield Figure(f"path, {name}: operations that start a kernel", counts.launches * per_c, "per C", launches)


def of_a_batch(encoder: Encoder, model: nn.Module) -> DispatchCounts:
    """Counts of one batch by `model`."""
    spec = preprocessing_for(encoder.card, "paper")
    with torch.inference_mode(), counted() as counts:
        encoder._pooled(model, torch.zeros(1, 3, spec.crop, spec.crop, dtype=torch.uint8), spec)
    return counts


def cast_once(encoder: Encoder, precision: Precision) -> nn.Module:
    """The network that encodes on a GPU in half precision."""
    spec = preprocessing_for(encoder.card, "paper")
    blank = torch.zeros(1, 3, spec.crop, spec.crop, dtype=torch.uint8)

    @torch.inference_mode()
    def features(network: nn.Module) -> Tensor:
        return encoder._pooled(network, blank, spec)

    return with_half_weights(encoder.model, precision, features)


def batches(folder: Path, architecture: str, title: str) -> Iterator[Figure]:
    """Operations per batch: of the loaded model in float32, and in half precision with weights cast once."""
    card = network(architecture, 224)
    for precision in ("float32", *HALF):
        encoder = Encoder.load(card, WeightsFolder(folder), precision=precision)
        plain = of_a_batch(encoder, encoder.model)
        counts = plain if precision == "float32" else of_a_batch(encoder, cast_once(encoder, precision))
        yield Figure(f"{title}, {precision}: numbers that the host waits for", counts.host_reads, "per batch", 0)
        name, cast = f"{title}, {precision}: operations that start a kernel", precision in HALF
        note = f"{plain.launches} with weights cast in every batch" if cast else ""
        yield Figure(name, counts.launches, "per batch", plain.launches, note)


def main() -> int:
    """Print and keep."""
    given = parser(__doc__).parse_args()
    found = list(paths(list(SIZES)[: 1 if given.quick else None]))
    with tempfile.TemporaryDirectory() as folder:
        for architecture, title in ({"test_vit": "a small ViT"} if given.quick else NETWORKS).items():
            found += batches(Path(folder), architecture, title)
    for figure in found:
        tell(figure)
    keep("device_counts", "Work for a GPU, counted on a CPU", [], given.results, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
