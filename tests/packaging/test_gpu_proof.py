"""The proof for CUDA machines terminates whatever a part does, and all parts run on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.gpu.proof.driver import DOCUMENT, TABLE, WHOLE_S, prove
from tests.gpu.proof.parts import PARTS
from tests.gpu.proof.record import Part

SCRIPT = Path(__file__).parents[1] / "gpu" / "prove.sh"
MODULE = "tests.packaging.gpu_proof_parts"


def test_the_limits_of_all_parts_add_up_to_nine_minutes_at_most() -> None:
    assert sum(part.limit_s for part in PARTS.values()) <= WHOLE_S == 540


@pytest.mark.slow
def test_whatever_a_part_does_the_others_run_and_nothing_of_it_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = tmp_path / "child"
    monkeypatch.setenv("GPU_PROOF_CHILD", str(child))
    limits = {"hangs": 3.0, "crashes": 60.0, "raises": 60.0, "disproves": 60.0}
    proof = prove([Part(name, "", limit, MODULE) for name, limit in limits.items()], tmp_path, rehearsal=True)
    by_name = {part.name: part for part in proof.parts}
    assert {name: part.status for name, part in by_name.items()} == {
        "hangs": "out of time",
        "crashes": "failed",
        "raises": "failed",
        "disproves": "failed",
    }
    assert not proof.holds
    assert by_name["crashes"].problem == "its process ended with 3"
    assert by_name["raises"].problem == "ValueError: no such card"
    assert by_name["disproves"].problem == "two and two"
    assert "| two and two | 5 | **no** |" in (tmp_path / TABLE).read_text()
    if child.exists():  # its imports may have used all of its time
        gone = psutil.Process(int(child.read_text())) if psutil.pid_exists(int(child.read_text())) else None
        assert gone is None or gone.status() == psutil.STATUS_ZOMBIE


def test_a_part_for_which_no_time_is_left_is_skipped(tmp_path: Path) -> None:
    proof = prove([PARTS["knn"]], tmp_path, rehearsal=True, whole_s=0)
    assert [(part.status, part.problem) for part in proof.parts] == [("skipped", "no time was left")]


@pytest.mark.slow
@pytest.mark.skipif(
    os.environ.get("SSL_CONSOLE_FAULTS") != "full", reason="a minute of CPU time: part of `make faults`"
)
def test_a_rehearsal_on_the_cpu_comes_to_its_end_and_names_what_it_leaves_out(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "OUT")}
    ran = subprocess.run(
        [SCRIPT, "--rehearse", "--out", tmp_path], env=environment, capture_output=True, text=True, check=False
    )
    found = json.loads((tmp_path / DOCUMENT).read_bytes())
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert [part["name"] for part in found["parts"]] == list(PARTS)
    assert {part["name"] for part in found["parts"] if part["status"] == "skipped"} == {"out-of-memory", "held-card"}
    assert "skipped: a full card cannot be made on a CPU" in (tmp_path / TABLE).read_text()
    assert all((tmp_path / f"{name}.log").exists() for name in PARTS)
