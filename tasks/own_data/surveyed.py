"""Looking through any dataset that has a card, in a process of its own. Needs no numpy here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pydantic import Field, ValidationError

from backbones.card import CardModel
from tasks.card import DatasetCard
from tasks.own_data.brought import Warned

SURVEY = "tasks.own_data.survey_dataset"


class Surveyed(CardModel):
    """What was found; `error` when the dataset could not be opened."""

    error: str | None = None
    images: dict[str, int] = Field(default_factory=dict)
    classes: int = 0
    side: int = 0
    """Median of the images' shorter sides in pixels."""
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[Warned, ...] = ()


def survey(card: DatasetCard, data_root: Path) -> Surveyed:
    """Open the dataset and decode every image."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", SURVEY, str(data_root)],
        input=card.model_dump_json(),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        check=False,
    )
    try:
        return Surveyed.model_validate_json(done.stdout)
    except ValidationError:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return Surveyed(error=f"the process that looks through the data failed: {last}")
