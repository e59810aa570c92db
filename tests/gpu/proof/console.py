"""The console from its command line: environment, main job, and the tests in this folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from backbones.io.files import WORKSPACE_VARIABLE
from ssl_console.system.devices import all_devices
from ssl_console.system.nvml import driver_cuda_version, driver_version
from ssl_console.system.torch_build import built_for, can_start
from tests.gpu.proof.record import Check, Setting

ROOT = Path(__file__).parents[3]
FROM_FEATURES = ("linear/", "knn/", "few-shot-")
"""Tasks without network training, whose scores must equal a CPU's."""
NEAR = 0.5
"""Percentage points: features differ by rounding, and the selection of C between two equal values may differ."""


@dataclass(frozen=True)
class Console:
    """`ssl-console` in a separate workspace."""

    workspace: Path

    @property
    def environment(self) -> dict[str, str]:
        """Environment with the repository first in PYTHONPATH."""
        packages = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        return {**os.environ, "PYTHONPATH": packages, WORKSPACE_VARIABLE: str(self.workspace)}

    def command(self, *arguments: str) -> list[str]:
        """The command line."""
        return [sys.executable, "-P", "-m", "ssl_console", *arguments]

    def __call__(self, *arguments: str, check: bool = True) -> str:
        """Its standard output. Raises RuntimeError if `check` and the exit code is not 0."""
        command = self.command(*arguments)
        ran = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        print(f"$ ssl-console {' '.join(arguments)}\n{ran.stdout}{ran.stderr}", flush=True)
        if check and ran.returncode:
            raise RuntimeError(f"ssl-console {arguments[0]} ended with {ran.returncode}: {_last(ran.stderr)}")
        return ran.stdout

    def runs(self) -> list[Mapping[str, Any]]:
        """All runs with their newest state."""
        found: list[Mapping[str, Any]] = json.loads(self("runs", "--json"))["runs"]
        return found

    def results(self) -> list[Mapping[str, Any]]:
        """Every result."""
        found: list[Mapping[str, Any]] = json.loads(self("results", "--json"))["results"]
        return found


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""


def environment(setting: Setting) -> Sequence[Check]:
    """Versions, the device, and the findings of `doctor`."""
    console = Console(setting.folder / "workspace")
    console.workspace.mkdir(mode=0o700)
    build, cuda = built_for(), driver_cuda_version()
    doctor = json.loads(console("doctor", "--json", check=False))
    wrong = [one for one in doctor["checks"] if one["verdict"] != "good"]
    checks = [
        Check("torch", torch.__version__),
        Check("CUDA of torch and of the driver", f"{build} and {cuda}, driver {driver_version()}"),
        Check("devices", ", ".join(f"{device.name} ({device.title})" for device in all_devices())),
        Check("what doctor finds", "; ".join(f"{one['name']}: {one['words']}" for one in wrong) or "nothing"),
    ]
    if setting.rehearsal:
        return checks
    numbers = tuple(map(int, (cuda or "0.0").split(".")))
    starts = build is not None and can_start(build, (numbers[0], numbers[1]))
    return [*checks, Check("torch starts the device", str(torch.cuda.is_available()), holds=starts)]


def main_job(setting: Setting) -> Sequence[Check]:
    """The demo suite on the device and concurrently on the CPU; tasks without network training must have the same
    scores."""
    picked = ["-b", "demo/simclr", "-t", "knn/digits", "-t", "knn/shapes"]
    if not setting.rehearsal:
        picked = ["-b", "demo/simclr", "-b", "demo/supervised", "--suite", "demo"]
    places = {"device": setting.device, "cpu": "cpu"}
    with ThreadPoolExecutor(len(places)) as pool:
        ours, theirs = pool.map(lambda name: _scores(setting, name, places[name], picked), places)
    checks = [Check("runs done on the device", len(ours), holds=bool(ours) and set(ours) == set(theirs))]
    checks.append(
        Check("the results' device", setting.device, holds={one["device"] for one in ours.values()} == {setting.device})
    )
    return [*checks, *(_beside(name, ours[name], theirs[name]) for name in ours if name in theirs)]


def _scores(setting: Setting, name: str, device: str, picked: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    console = Console(setting.folder / name)
    console("run", *picked, "--devices", device)
    return {f"{one['backbone']} {one['task']}": one for one in console.results()}


def _beside(name: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Check:
    apart = ours["value"] - theirs["value"]
    exact = name.partition(" ")[2].startswith(FROM_FEATURES)
    values = f"{ours['value']:.2f}, on the CPU {theirs['value']:.2f}"
    return Check(name, values, ours["metric"], abs(apart) <= NEAR if exact else None)


def tests(setting: Setting) -> Sequence[Check]:
    """Run tests/gpu with short tracebacks."""
    report = setting.folder / "report.xml"
    os.chdir(ROOT)
    pytest.main(["tests/gpu", "-q", "--tb=short", "-p", "no:cacheprovider", f"--junitxml={report}"])
    suite = next(ET.parse(report).getroot().iter("testsuite"))
    failed = [case.get("name", "") for case in suite.iter("testcase") if case.find("failure") is not None]
    count, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
    ran = count - skipped
    return [
        Check("tests run", ran, f"of {count}", None if setting.rehearsal else ran > 0),
        Check("tests that failed", ", ".join(failed) or "none", holds=not failed and int(suite.get("errors", 0)) == 0),
    ]
