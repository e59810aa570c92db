"""timm and torchvision are imported without torch's compiler, which remains available when needed later."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import timm
import torchvision

from backbones.io.light_import import NAMES, LightFinder

OWN_PROGRAM = """
from importlib.machinery import ModuleSpec
__spec__ = ModuleSpec("backbones.catalog.timm_info_main", None)
import json, sys
import backbones.model.encoder, timm, torch
from torchvision.ops import roi_align
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
print(json.dumps([loaded, same, compiled, naflex, another]))
"""
"""At the end, what another version of torchvision might do: ask for more of the compiler's utilities."""


@pytest.mark.slow
def test_our_own_programs_leave_the_compiler_out_and_all_that_needs_it_works() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", OWN_PROGRAM], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [False, True, [2.0, 2.0], 768, True]


def test_programs_of_others_such_as_pytest_import_the_compiler_as_they_always_do() -> None:
    assert timm.__version__
    assert torchvision.__version__
    assert "torch._dynamo" in sys.modules
    assert all(LightFinder().find_spec(name, None) is None for name in NAMES)
