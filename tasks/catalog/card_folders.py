"""Folders of dataset, task and suite cards; the user's folder contains all three kinds. The keys of a card determine
its kind: a dataset names a `reader`, a task a `protocol`, a suite lists `tasks`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Discriminator, RootModel, Tag

from backbones.io.card_files import CardNameError, CardProblem, read_cards, suggest
from backbones.io.plugins import DATASETS, PlugInProblem, card_folders
from tasks.catalog.overrides import OverrideError
from tasks.catalog.protocol import PROTOCOL_PROBLEMS
from tasks.datasets.card import DatasetCard, SuiteCard, TaskCard
from tasks.datasets.layouts import LAYOUT_PROBLEMS, LAYOUTS

BUILT_IN = Path(__file__).parents[1] / "cards"
Card = DatasetCard | SuiteCard | TaskCard
CardT = TypeVar("CardT", DatasetCard, SuiteCard, TaskCard)
_KEYS = {"reader": "dataset", "protocol": "task", "tasks": "suite"}


def _kind(content: object) -> str | None:
    """The kind of a card, from a file's content."""
    return next((kind for key, kind in _KEYS.items() if isinstance(content, dict) and key in content), None)


class AnyCard(
    RootModel[
        Annotated[
            Annotated[DatasetCard, Tag("dataset")]
            | Annotated[TaskCard, Tag("task")]
            | Annotated[SuiteCard, Tag("suite")],
            Discriminator(
                _kind,
                custom_error_type="kind_of_card",
                custom_error_message="A dataset has the key reader, a task the key protocol, a suite the key tasks",
            ),
        ]
    ]
):
    """A card of any of the three kinds."""


@dataclass(frozen=True)
class Replacement:
    """A user's card that replaces another one of the same kind and name."""

    name: str
    path: Path
    instead_of: Path

    def __str__(self) -> str:
        return f"{self.name}: {self.path} is used instead of {self.instead_of}"


@dataclass(frozen=True)
class FoundCards:
    """All readable cards by name; `paths` by kind and name."""

    datasets: Mapping[str, DatasetCard]
    task_cards: Mapping[str, TaskCard]
    suites: Mapping[str, SuiteCard]
    paths: Mapping[tuple[type, str], Path]
    problems: tuple[CardProblem | PlugInProblem, ...]
    replacements: tuple[Replacement, ...]

    def good(
        self, cards: Mapping[str, CardT], check: Callable[[CardT], None], problems: list[CardProblem | PlugInProblem]
    ) -> dict[str, CardT]:
        """The cards accepted by `check`, sorted by name; a problem is added for each of the others."""
        passed: dict[str, CardT] = {}
        for name, card in sorted(cards.items()):
            try:
                check(card)
            except (CardNameError, OverrideError) as error:
                problems.append(CardProblem(self.paths[type(card), name], None, str(error)))
            else:
                passed[name] = card
        return passed


def load_cards(user_folders: Sequence[Path] = ()) -> FoundCards:
    """Read the built-in cards, those of plug-ins and then each folder; a later card of the same kind and name wins."""
    cards: dict[tuple[type, str], Card] = {}
    paths: dict[tuple[type, str], Path] = {}
    problems: list[CardProblem] = []
    replacements: list[Replacement] = []
    plugged, plug_in_problems = card_folders(DATASETS)
    for folder in (BUILT_IN / "datasets", BUILT_IN / "suites", *plugged, *user_folders):
        found = read_cards(folder, AnyCard)
        problems.extend(found.problems)
        for name, holder in found.cards.items():
            card, path = holder.root, found.paths[name]
            key = (type(card), name)
            if isinstance(card, DatasetCard) and (wrong := _wrong_reader(card)) is not None:
                problems.append(CardProblem(path, *wrong))
                continue
            if key in paths:
                replacements.append(Replacement(name, path, paths[key]))
            cards[key], paths[key] = card, path
    return FoundCards(
        datasets=_of(DatasetCard, cards),
        task_cards=_of(TaskCard, cards),
        suites=_of(SuiteCard, cards),
        paths=paths,
        problems=(*problems, *plug_in_problems, *LAYOUT_PROBLEMS, *PROTOCOL_PROBLEMS),
        replacements=tuple(replacements),
    )


def _of(model: type[CardT], cards: Mapping[tuple[type, str], Card]) -> dict[str, CardT]:
    return {name: card for (_, name), card in cards.items() if isinstance(card, model)}


def _wrong_reader(card: DatasetCard) -> tuple[str, str] | None:
    """Key and message of a problem with the card's reader or its arguments; None if there is none."""
    if card.reader not in LAYOUTS:
        close = suggest(card.reader, LAYOUTS)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(LAYOUTS)}"
        return "reader", f"there is no reader {card.reader!r}: {hint}"
    layout = LAYOUTS[card.reader]
    for key, value in card.reader_arguments.items():
        place = f"reader_arguments.{key}"
        if key not in layout.arguments:
            return place, f"the reader {card.reader} takes {', '.join(layout.arguments) or 'no arguments'}"
        wanted = layout.arguments[key]
        if type(value) is not wanted and not (wanted is float and type(value) is int):
            return place, f"takes {wanted.__name__}, not {value!r}"
    absent = [target for target in card.targets or () if target not in layout.targets_for(card.reader_arguments)]
    if absent:
        has = ", ".join(layout.targets_for(card.reader_arguments))
        return "targets", f"the reader {card.reader} has no {absent[0]!r} with these arguments; it has {has}"
    if not layout.embedded and card.folder is None and "path" not in card.reader_arguments:
        return "folder", "is missing: the dataset's folder below the data root"
    return None
