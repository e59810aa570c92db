"""Findings of backbone checks, passed between processes. Needs neither torch nor numpy."""

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
from backbones.io.card_files import CardModel
from backbones.io.file_digests import canonical
from backbones.io.files import write_if_possible

EXAMINATION_VERSION = 1
"""Increased when a check is added or changed; stored findings are then invalid."""
EXAMINE = "tasks.backbone_checks.check"

FAILED = "examination"
"""Name of the finding of a failure of the checking process."""

Verdict = Literal["good", "note", "bad"]


class Finding(CardModel):
    """Result of one check. `bad` means that results measured with this backbone would be wrong."""

    name: str
    verdict: Verdict
    words: str
    """The result and, unless it is good, what to do."""
    values: dict[str, float] = Field(default_factory=dict)
    """The numbers behind `words`."""


class CheckRequest(CardModel):
    """Request to the checking process."""

    backbone: BackboneCard
    weights: str
    """Folder of the weights."""
    device: str = "cpu"
    thorough: bool = True
    """Whether to include the random twin and the probe on digits (about 20 s); without, the checks needed before a run.
    """


class Findings(CardModel):
    """All findings of one backbone, as stored."""

    backbone: str
    thorough: bool
    findings: tuple[Finding, ...]

    @property
    def failed(self) -> tuple[Finding, ...]:
        """Findings that forbid evaluation."""
        return tuple(finding for finding in self.findings if finding.verdict == "bad")


def examine(request: CheckRequest) -> Iterator[Finding]:
    """Findings as they are computed, by a separate process. Ends with a `bad` one if that process fails."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-P", "-m", EXAMINE]
    with (
        TemporaryFile("w+") as complaints,  # a full stderr pipe would block the process
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
        yield Finding(name=FAILED, verdict="bad", words=f"the checking process failed: {words}")


def kept_findings(folder: Path, card: BackboneCard, weights_digest: str) -> Findings | None:
    """Stored findings of these weights under this card; None if they have not been checked."""
    try:
        return Findings.model_validate_json(_place(folder, card, weights_digest).read_bytes())
    except (OSError, ValidationError):
        return None


def keep_findings(folder: Path, card: BackboneCard, weights_digest: str, findings: Findings) -> None:
    """Store findings; errors of the disk are ignored, as findings can be recomputed."""
    write_if_possible(_place(folder, card, weights_digest), findings.model_dump_json().encode())


def _place(folder: Path, card: BackboneCard, weights_digest: str) -> Path:
    """File of the findings, named by everything that changes a feature and by the method, which declares random
    weights."""
    parts = identity(card, weights_digest, preprocessing_for(card, "paper"))
    whole = canonical([EXAMINATION_VERSION, parts, card.facts.method, card.weights.kind])
    return folder / f"{hashlib.sha256(whole).hexdigest()[:24]}.json"
