"""Machines with different GPUs: device numbers are CUDA's, and every problem is one sentence."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.stage import DRIVER, ROOT
from tests.faults.tally import Tally

GROUP = "graphics cards"
SLOW, FAST, OTHER = (f"GPU-{digit * 8}-{digit * 4}-{digit * 4}-{digit * 4}-{digit * 12}" for digit in "123")
CARDS = f"{SLOW}=T4,{FAST}=H100,{OTHER}=A100"
FASTEST = f"{FAST},{OTHER},{SLOW}"
IMPORTS = "import json; from ssl_console.system.nvml import cuda_devices, driver_problems; "
ASK = f"{IMPORTS}print(json.dumps([[device.name, device.uuid] for device in cuda_devices()]))"
PROBLEMS = f"{IMPORTS}print(json.dumps(driver_problems()))"
needs_compiler = pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler is installed (gcc)")


@pytest.fixture(scope="session")
def cuda(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a replacement of CUDA's driver library."""
    folder = tmp_path_factory.mktemp("cuda")
    source = DRIVER / "libcuda.c"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(folder / "libcuda.so.1"), str(source)], check=True)
    return folder


def answer(script: str, **variables: str | None) -> Any:
    """Output of a process with the replacement driver."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("CUDA_")}
    given = {name: value for name, value in variables.items() if value is not None}
    environment = {**plain, "PYTHONPATH": f"{DRIVER}{os.pathsep}{ROOT}", "STANDIN_CARDS": CARDS, **given}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@needs_compiler
@pytest.mark.parametrize(
    ("order", "visible", "expected"),
    [
        (None, None, [FAST, OTHER, SLOW]),
        ("FASTEST_FIRST", None, [FAST, OTHER, SLOW]),
        ("PCI_BUS_ID", None, [SLOW, FAST, OTHER]),
        (None, "0", [FAST]),
        ("PCI_BUS_ID", "0", [SLOW]),
        (None, "2,0", [SLOW, FAST]),
        (None, "1,7,0", [OTHER]),
        (None, f"{SLOW},{FAST}", [SLOW, FAST]),
        ("PCI_BUS_ID", FAST[:8], [FAST]),
        (None, "", []),
        (None, "²", []),
    ],
)
def test_devices_are_those_that_cuda_means(
    cuda: Path, order: str | None, visible: str | None, expected: list[str], tally: Tally
) -> None:
    found = answer(
        ASK,
        LD_LIBRARY_PATH=str(cuda),
        STANDIN_FASTEST=FASTEST,
        CUDA_DEVICE_ORDER=order,
        CUDA_VISIBLE_DEVICES=visible,
    )
    assert found == [[f"cuda:{index}", uuid] for index, uuid in enumerate(expected)]
    tally.add("orders and choices of three cards that differ", 1, "the card that CUDA means, by UUID")


def test_an_order_that_cannot_be_known_is_said(tally: Tally) -> None:
    (problem,) = answer(PROBLEMS, LD_LIBRARY_PATH="/nowhere")
    assert problem.endswith("export CUDA_DEVICE_ORDER=PCI_BUS_ID")
    assert answer(PROBLEMS, CUDA_DEVICE_ORDER="PCI_BUS_ID") == []


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"STANDIN_INIT_ERROR": "18"}, "version mismatch): reboot"),
        ({"STANDIN_INIT_ERROR": "999"}, "the NVIDIA driver cannot be used"),
        ({"STANDIN_LOST": FAST, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, "GPU 1 does not answer"),
    ],
    ids=["mismatch", "unknown", "lost"],
)
def test_a_driver_that_cannot_be_used_and_a_lost_card_are_one_sentence(
    variables: dict[str, str], words: str, tally: Tally
) -> None:
    (problem,) = answer(PROBLEMS, **variables)
    assert words in problem
    tally.add("drivers of another version, and cards that are lost", 1, "one sentence")


def test_a_machine_without_a_driver_has_no_problem() -> None:
    assert answer(PROBLEMS, STANDIN_INIT_ERROR="9") == []
