"""Parts of a proof: one that hangs with a child, one that crashes, one whose check fails."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.gpu.proof.record import Check, Setting


def hangs(_setting: Setting) -> Sequence[Check]:
    child = subprocess.Popen(["sleep", "600"])
    Path(os.environ["GPU_PROOF_CHILD"]).write_text(str(child.pid))
    child.wait()
    return []


def crashes(_setting: Setting) -> Sequence[Check]:
    os._exit(3)


def raises(_setting: Setting) -> Sequence[Check]:
    raise ValueError("no such card")


def disproves(_setting: Setting) -> Sequence[Check]:
    return [Check("two and two", 5, holds=False), Check("speed", 3.0, "images/s")]
