"""Our programs import timm and torchvision without torch's compiler, and what then needs it still finds it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROBE = """
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
print(json.dumps([loaded, same, compiled, naflex]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("program", "loaded"), [("backbones.catalog.timm_info_main", False), ("somebody.else", True)])
def test_only_our_own_programs_leave_the_compiler_out_and_all_that_needs_it_works(program: str, loaded: bool) -> None:
    spec = f"from importlib.machinery import ModuleSpec; __spec__ = ModuleSpec({program!r}, None)"
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", f"{spec}\n{PROBE}"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [loaded, True, [2.0, 2.0], 768]


@pytest.mark.slow
def test_another_version_that_asks_for_more_of_the_compiler_gets_it() -> None:
    code = "from backbones.io.light_import import without_compiler\n"
    code += "with without_compiler():\n    from torch._dynamo.utils import counters\n"
    code += "import torch._dynamo.utils\nassert torch._dynamo.utils.counters is counters"
    subprocess.run([sys.executable, "-P", "-W", "ignore", "-c", code], check=True)
