"""Programs of this project load torch's compiler only where they compile."""

from __future__ import annotations

import json
import operator
import subprocess
import sys
from collections.abc import Callable
from importlib.abc import Loader
from types import ModuleType

import pytest

from backbones.io.light_import import NAMES, OPTIMIZER, LightFinder, OptimizerLoader

OWN_PROGRAM = """
from importlib.machinery import ModuleSpec
__spec__ = ModuleSpec("backbones.catalog.timm_info_main", None)
import json, sys
import backbones.model.encoder, timm, torch
from torch.optim.optimizer import _use_grad_for_differentiable
from torchvision.ops import roi_align


def steps(kind, **options):
    weight = torch.nn.Parameter(torch.arange(1.0, 5.0))
    optimizer = kind([weight], lr=0.1, **options)
    for _ in range(2):
        optimizer.zero_grad()
        weight.square().sum().backward()
        optimizer.step()
    return [weight.tolist(), torch.is_grad_enabled()]


class Probe(torch.optim.SGD):
    @_use_grad_for_differentiable
    def step(self, closure=None):
        return torch.is_grad_enabled()


def recorded():
    return [Probe([torch.nn.Parameter(torch.ones(1))], differentiable=given).step() for given in (False, True)]


with torch.device("meta"):
    shape = torch.nn.BatchNorm2d(3).eval()(torch.empty(2, 3, 4, 5)).shape
kinds = torch.optim.SGD, torch.optim.AdamW
stepped = [steps(kind) for kind in kinds], recorded()
loaded = "torch._dynamo" in sys.modules
boxes = torch.tensor([[0.0, 0.0, 0.0, 4.0, 4.0]])
image = torch.arange(64.0).reshape(1, 1, 8, 8)
pooled = roi_align(image, boxes, 2)
torch.use_deterministic_algorithms(True)
same = torch.equal(pooled, roi_align(image, boxes, 2))
compiled = torch.compile(lambda x: x + 1, backend="eager")(torch.ones(2)).tolist()
naflex = timm.create_model("naflexvit_base_patch16_gap", num_classes=0).num_features

del sys.modules["torch._dynamo.utils"]
from backbones.io.light_import import without_compiler
with without_compiler():
    from torch._dynamo.utils import counters
import torch._dynamo.utils
another = sys.modules["torch._dynamo.utils"].counters is counters
with_compiler = [steps(kind) for kind in kinds], recorded()
found = [list(shape), stepped == with_compiler, recorded(), loaded, same, compiled, naflex, another]
print(json.dumps(found))
"""
"""At the end, what another version of torchvision might do: ask for more of the compiler's utilities."""


@pytest.mark.slow
def test_our_own_programs_leave_the_compiler_out_and_all_that_needs_it_works() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", OWN_PROGRAM], capture_output=True, text=True, check=True
    )
    expected = [[2, 3, 4, 5], True, [False, True], False, True, [2.0, 2.0], 768, True]
    assert json.loads(done.stdout.splitlines()[-1]) == expected


@pytest.mark.slow
def test_programs_of_others_import_the_compiler_as_they_always_do() -> None:
    program = "import sys, backbones, timm, torchvision; print('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_their_imports_are_left_alone() -> None:
    assert all(LightFinder().find_spec(name, None) is None for name in NAMES)


def test_an_unknown_form_of_a_step_is_kept() -> None:
    def unlike(func: Callable[[], object]) -> Callable[[], object]:
        def use_grad() -> object:
            return operator.call(func)

        return use_grad

    module = ModuleType(OPTIMIZER)
    vars(module)["_use_grad_for_differentiable"] = unlike
    OptimizerLoader(Filled()).exec_module(module)
    assert vars(module)["_use_grad_for_differentiable"] is unlike


class Filled(Loader):
    """Loader of a module that has its content."""

    def exec_module(self, module: ModuleType) -> None:
        """Change nothing."""
