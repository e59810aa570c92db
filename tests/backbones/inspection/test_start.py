"""The process that inspects a checkpoint starts without unneeded imports.

`tests/backbones/io/test_light_import.py` shows that the compiler is there for a program that needs it later.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from backbones.model.architecture import hollow, make

PROGRAM = """
import runpy, sys
sys.argv = ["inspect", sys.argv[1]]
try:
    runpy.run_module("backbones.inspection.inspect_main", run_name="__main__", alter_sys=True)
except SystemExit as left:
    code = left.code
heavy = [name for name in ("torch._dynamo", "torch._inductor", "sympy") if name in sys.modules]
sys.exit(f"imported: {heavy}" if heavy else code)
"""


def test_looking_into_a_checkpoint_takes_no_compiler(tmp_path: Path) -> None:
    torch.save(hollow_tensors("vit_tiny_patch16_224"), tmp_path / "net.pth")
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM, str(tmp_path / "net.pth")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert '"architecture":"vit_tiny_patch16_224"' in done.stdout


def hollow_tensors(name: str) -> dict[str, torch.Tensor]:
    one = torch.full((), 0.5)
    return {key: one.expand(value.shape) for key, value in hollow(name).state_dict().items()}


def test_a_network_without_memory_has_the_names_and_shapes_of_one_with_it() -> None:
    whole, empty = make("test_vit"), hollow("test_vit")
    assert all(value.is_meta for value in empty.state_dict().values())
    assert {key: value.shape for key, value in empty.state_dict().items()} == {
        key: value.shape for key, value in whole.state_dict().items()
    }
