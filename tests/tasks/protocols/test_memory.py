"""Memory beyond the stored features: it grows by a few numbers per image at most, not by features."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch

from tasks.catalog.analysis_parameters import LabelFreeParameters, TransferabilityParameters
from tasks.catalog.head_parameters import KShotParameters, LayersParameters, LinearHeadsParameters
from tasks.evaluation.inputs import BankInputs, ManyShotInputs
from tasks.metrics.outcome import Outcome
from tasks.protocols import k_shot, label_free, layers, linear_heads, transferability
from tasks.reporter import SilentReporter
from tasks.solvers.nearest_neighbours import BlockSizes
from tests.tasks.memory import peak_bytes
from tests.tasks.protocols import layer_inputs
from tests.tasks.protocols.layer_inputs import layer_inputs as made

WIDTH, FEW, MANY = 256, 120, 360
QUIET = SilentReporter()
Protocol = Callable[[ManyShotInputs], Outcome]


def of_bank(evaluate: Callable[..., Outcome], parameters: object) -> Protocol:
    return lambda inputs: evaluate(BankInputs.of(inputs), parameters, 0, QUIET)


PROTOCOLS: dict[str, Protocol] = {
    "layers": lambda inputs: layers.evaluate(inputs, LayersParameters(neighbours=3), 0, QUIET),
    "linear-heads": lambda inputs: linear_heads.evaluate(
        inputs, LinearHeadsParameters(steps=2, batch_size=16, rates=(0.01,)), 0, QUIET
    ),
    "k-shot": of_bank(k_shot.evaluate, KShotParameters(shots=(1,), shares=(), headline=1, draws=2)),
    "label-free": of_bank(label_free.evaluate, LabelFreeParameters()),
    "transferability": of_bank(transferability.evaluate, TransferabilityParameters(pairwise_images=40, components=1)),
}


BLOCKS = (
    "tasks.protocols.k_shot.BLOCK",
    "tasks.protocols.linear_heads.BLOCK",
    "tasks.solvers.moments.BLOCK",
    "tasks.protocols.transferability.BLOCK",
    "tasks.solvers.nearest_neighbours.QUERIES_HELD",
)


@torch.enable_grad()
def trained(name: str, inputs: ManyShotInputs) -> Outcome:
    """The protocol with gradients, which counting switches off."""
    return PROTOCOLS[name](inputs)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_memory_grows_with_numbers_per_image_and_not_with_features(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_inputs, "WIDTH", WIDTH)
    monkeypatch.setattr("tasks.solvers.nearest_neighbours.CACHED", BlockSizes(bank=40, queries=40))
    for block in BLOCKS:
        monkeypatch.setattr(block, 40)
    few, many = (made(depth=1, counts=dict.fromkeys(("train", "val", "test"), images)) for images in (FEW, MANY))
    small, large = (peak_bytes(partial(trained, name, inputs)) for inputs in (few, many))
    assert (large - small) / (3 * (MANY - FEW)) < WIDTH
