"""Linear layers of frozen networks on a CPU: computed by oneDNN, equal up to rounding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from backbones.catalog.card import Precision
from backbones.cpu.matmul import ONEDNN
from backbones.model.architecture import freeze, make
from backbones.model.precision import arithmetic

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(not ONEDNN, reason="this build of PyTorch lends no oneDNN product")


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Names of the executed operations."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def by_onednn(work: Callable[[], object], precision: Precision = "float32") -> bool:
    with Operations() as seen, arithmetic(CPU, precision):
        work()
    return any("mkldnn._linear_pointwise" in name for name in seen.names)


def test_only_frozen_float32_layers_within_the_arithmetic_go_there() -> None:
    layer, rows = nn.Linear(3, 4), torch.randn(2, 3)
    assert not by_onednn(lambda: layer(rows)), "a layer that learns needs its gradient"
    freeze(layer)
    assert by_onednn(lambda: layer(rows))
    assert not by_onednn(lambda: layer(rows), "bfloat16")
    assert not by_onednn(lambda: layer.double()(rows.double()))
    with Operations() as outside:
        layer.float()(rows)
    assert not any("mkldnn" in name for name in outside.names)


def test_gradients_pass_through_frozen_layers() -> None:
    layer, rows = freeze(nn.Linear(3, 4)), torch.randn(2, 3, requires_grad=True)
    with arithmetic(CPU, "float32"):
        layer(rows).sum().backward()
    assert rows.grad is not None
    torch.testing.assert_close(rows.grad, layer.weight.sum(0).expand(2, 3))  # type: ignore[operator]


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 5, 3), (2, 5, 7, 3), (0, 3), (1, 1, 3)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_inputs_of_every_shape_give_what_torch_gives(shape: tuple[int, ...], bias: bool) -> None:
    layer, rows = freeze(nn.Linear(3, 4, bias=bias)), torch.randn(shape)
    with arithmetic(CPU, "float32"):
        found = layer(rows)
    torch.testing.assert_close(found, layer(rows))


def test_arguments_by_name_are_understood() -> None:
    rows, weight, bias = torch.randn(2, 3), torch.randn(4, 3), torch.randn(4)
    with torch.no_grad(), arithmetic(CPU, "float32"):
        found = F.linear(input=rows, weight=weight, bias=bias)
    torch.testing.assert_close(found, F.linear(rows, weight, bias))


@pytest.mark.parametrize(
    "architecture", ["test_vit", "test_convnext", "vit_tiny_patch16_224", "eva02_tiny_patch14_224", "resmlp_12_224"]
)
def test_features_agree_with_torchs_own_to_rounding(architecture: str) -> None:
    torch.manual_seed(0)
    model = freeze(make(architecture))
    images = torch.randn(2, 3, *model.pretrained_cfg["input_size"][1:])  # type: ignore[index]

    def features() -> Tensor:
        with torch.inference_mode():
            made: Tensor = model(images)
            return made

    assert by_onednn(features)
    with arithmetic(CPU, "float32"):
        found = features()
    expected = features()
    assert (found - expected).norm() <= 1e-5 * expected.norm()
