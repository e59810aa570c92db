"""Workers on a GPU, started from the command line: every kind of task, and the device information in results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from backbones.io.files import WORKSPACE_VARIABLE

ROOT = Path(__file__).parents[2]
FROM_FEATURES = ("linear/", "knn/", "few-shot-")
"""Tasks without network training, whose scores must equal a CPU's."""


def evaluated(folder: Path, device: str) -> Mapping[str, Mapping[str, Any]]:
    """Results of `demo/simclr` on the demo suite by task, from `results --json`."""
    packages = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "PYTHONPATH": packages, WORKSPACE_VARIABLE: str(folder)}
    console = (sys.executable, "-P", "-m", "ssl_console")
    command = [*console, "run", "--backbone", "demo/simclr", "--suite", "demo", "--devices", device]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    told = subprocess.run([*console, "results", "--json"], env=environment, capture_output=True, text=True, check=True)
    return {one["task"]: one for one in json.loads(told.stdout)["results"]}


@pytest.mark.slow
def test_every_kind_of_task_runs_on_a_gpu_and_features_give_what_they_give_on_a_cpu(tmp_path: Path) -> None:
    on_gpu, on_cpu = evaluated(tmp_path / "gpu", "cuda:0"), evaluated(tmp_path / "cpu", "cpu")
    assert set(on_gpu) == set(on_cpu)
    assert {one["device"] for one in on_gpu.values()} == {"cuda:0"}
    assert all(one["memory_mb"] > 0 for one in on_gpu.values())
    for task in on_gpu:
        if task.startswith(FROM_FEATURES):
            assert on_gpu[task]["value"] == pytest.approx(on_cpu[task]["value"], abs=0.5), task
