"""What an examination finds, as data that travels between processes. Needs neither torch nor numpy."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import Literal

from pydantic import Field, ValidationError

from backbones.catalog.card import BackboneCard, identity, preprocessing_for
from backbones.io.canonical_json import canonical
from backbones.io.card_files import CardModel
from backbones.io.file_digests import write_if_possible

EXAMINATION_VERSION = 1
"""Raised when a check is added, or judges otherwise: kept findings are then found anew."""
EXAMINE = "tasks.backbone_checks.check"

FAILED = "examination"
"""Name of the finding that the examining process itself failed."""

Verdict = Literal["good", "note", "bad"]


class Finding(CardModel):
    """One answer. `bad` means that numbers measured with this backbone would be wrong."""

    name: str
    verdict: Verdict
    words: str
    """What was found and, unless it is good, what to do."""
    values: dict[str, float] = Field(default_factory=dict)
    """The numbers behind the words."""


class CheckRequest(CardModel):
    """What the examining process is told."""

    backbone: BackboneCard
    weights: str
    """The weights folder."""
    device: str = "cpu"
    thorough: bool = True
    """With the random twin and the probe on digits, about 20 s; without, what is needed before a run."""


class Findings(CardModel):
    """All answers about one backbone, as they are kept."""

    backbone: str
    thorough: bool
    findings: tuple[Finding, ...]

    @property
    def failed(self) -> tuple[Finding, ...]:
        """Those that forbid measuring."""
        return tuple(finding for finding in self.findings if finding.verdict == "bad")


def examine(request: CheckRequest) -> Iterator[Finding]:
    """Every finding as it comes, from a process of its own. Ends with a `bad` one when that process fails."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-P", "-m", EXAMINE]
    with (
        TemporaryFile("w+") as complaints,  # a pipe that nobody reads meanwhile would fill, and hold the process
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, text=True, env=environment
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(request.model_dump_json())
        process.stdin.close()
        for line in process.stdout:
            try:
                yield Finding.model_validate_json(line)
            except ValidationError:
                continue
        code = process.wait()
        complaints.seek(0)
        last = complaints.read().strip().splitlines()[-1:]
    if code:
        words = last[0] if last else f"exit code {code}"
        yield Finding(name=FAILED, verdict="bad", words=f"the examining process failed: {words}")


def kept_findings(folder: Path, card: BackboneCard, weights_digest: str) -> Findings | None:
    """What was found of these very weights under this very card; None when nobody looked yet."""
    try:
        return Findings.model_validate_json(_place(folder, card, weights_digest).read_bytes())
    except (OSError, ValidationError):
        return None


def keep_findings(folder: Path, card: BackboneCard, weights_digest: str, findings: Findings) -> None:
    """Keep findings; a disk that cannot take them costs time, nothing else."""
    write_if_possible(_place(folder, card, weights_digest), findings.model_dump_json().encode())


def _place(folder: Path, card: BackboneCard, weights_digest: str) -> Path:
    """By everything that changes a feature, and the method, which says whether random weights are meant."""
    parts = identity(card, weights_digest, preprocessing_for(card, "paper"))
    whole = canonical([EXAMINATION_VERSION, parts, card.facts.method, card.weights.kind])
    return folder / f"{hashlib.sha256(whole).hexdigest()[:24]}.json"
