"""Looking through any dataset that has a card, in a process of its own. Needs no numpy here."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from backbones.card import CardModel
from backbones.own_process import ask_module, last_words
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
    done = ask_module(SURVEY, str(data_root), given=card.model_dump_json())
    try:
        return Surveyed.model_validate_json(done.stdout)
    except ValidationError:
        return Surveyed(error=f"the process that looks through the data failed: {last_words(done)}")
