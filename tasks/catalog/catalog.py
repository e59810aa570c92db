"""All datasets, tasks and suites by name: the built-in cards, the user's own, and `imagefolder:/path`.

A task is a protocol on a dataset, `linear/cifar10`; a task card names a task with other parameters. Needs neither torch
nor numpy.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Discriminator, RootModel, Tag

from backbones.io.card_files import (
    CardNameError,
    CardProblem,
    MalformedName,
    Override,
    UnknownName,
    match,
    read_cards,
    suggest,
)
from backbones.io.files import expand_user
from backbones.io.plugins import DATASETS, PlugInProblem, card_folders
from tasks.catalog.protocol import PROTOCOL_PROBLEMS, ProtocolSpec
from tasks.catalog.protocols import PROTOCOLS, misfit, suitable_protocols
from tasks.catalog.spec import OverrideError, Overrides, TaskSpec, apply_overrides, as_values, check_overrides, merged
from tasks.datasets.card import DatasetCard, SuiteCard, TaskCard
from tasks.datasets.layouts import LAYOUT_PROBLEMS, LAYOUTS

BUILT_IN = Path(__file__).parents[1] / "cards"
Card = DatasetCard | SuiteCard | TaskCard
CardT = TypeVar("CardT", DatasetCard, SuiteCard, TaskCard)
_KEYS = {"reader": "dataset", "protocol": "task", "tasks": "suite"}
SCHEME = "imagefolder:"


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
class FoundCards:
    """All readable cards by name; `paths` by kind and name."""

    datasets: Mapping[str, DatasetCard]
    task_cards: Mapping[str, TaskCard]
    suites: Mapping[str, SuiteCard]
    paths: Mapping[tuple[type, str], Path]
    problems: tuple[CardProblem | PlugInProblem, ...]
    replacements: tuple[Override, ...]

    def good(
        self, cards: Mapping[str, CardT], check: Callable[[CardT], object], problems: list[CardProblem | PlugInProblem]
    ) -> dict[str, CardT]:
        """The cards for which `check` raises no error, sorted by name; a problem is added for each of the others."""
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
    replacements: list[Override] = []
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
                replacements.append(Override(name, path, paths[key]))
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


def folder_card(name: str) -> DatasetCard:
    """The card of an `imagefolder:` name; its name contains the absolute path, so that it does not depend on the
    working folder. The existence of the folder is not checked: a missing one is missing data, not a wrong name.

    Raises:
        MalformedName: no path follows.
    """
    text = name.removeprefix(SCHEME)
    if not text.strip() or "\0" in text:
        raise MalformedName(f"{name!r} names no folder: write imagefolder:/path/to/folder")
    path = Path(os.path.abspath(expand_user(text)))  # noqa: PTH100 - collapses .. without following links
    return DatasetCard(
        name=f"{SCHEME}{path}",
        title=path.name or str(path),
        reader="imagefolder",
        reader_arguments={"path": str(path)},
        domain="own images",
    )


DEFAULT_PRESET = "default"
PUBLISHED_PRESET = "paper"
OWN_READERS = ("imagefolder", "listed")
"""Readers of the user's datasets; the others belong to built-in datasets and plug-ins."""
FOLDER_PROTOCOL = "linear"
"""Protocol of the task `imagefolder:/path` without a protocol."""


@dataclass(frozen=True)
class TaskCatalog:
    """Cards by name, sorted; problems of unusable ones; and the user's cards that replace others."""

    datasets: Mapping[str, DatasetCard]
    task_cards: Mapping[str, TaskCard]
    suites: Mapping[str, SuiteCard]
    problems: tuple[CardProblem | PlugInProblem, ...] = ()
    replacements: tuple[Override, ...] = ()
    task_names: tuple[str, ...] = field(init=False)
    """`protocol/dataset` for every dataset card and every suitable protocol, then the task cards."""

    def __post_init__(self) -> None:
        offered = (
            f"{protocol}/{card.name}" for card in self.datasets.values() for protocol in suitable_protocols(card)
        )
        object.__setattr__(self, "task_names", tuple(dict.fromkeys([*offered, *self.task_cards])))

    @classmethod
    def load(cls, user_folders: Sequence[Path] = ()) -> TaskCatalog:
        """Read the built-in cards, then the cards of each folder; a later card of the same name wins.

        Cards that are inconsistent with others (a suite whose tasks do not exist) are omitted and reported.
        """
        found = load_cards(user_folders)
        problems = list(found.problems)
        datasets = found.good(found.datasets, suitable_protocols, problems)
        alone = cls(datasets, {}, {})
        task_cards = found.good(found.task_cards, alone._of_card, problems)
        tasks = cls(datasets, task_cards, {})
        suites = found.good(found.suites, tasks._check_suite, problems)
        return cls(datasets, task_cards, suites, tuple(problems), found.replacements)

    def dataset(self, name: str) -> DatasetCard:
        """The card of this name, or that of `imagefolder:/path`.

        Raises UnknownName or MalformedName (both CardNameError).
        """
        if name in self.datasets:
            return self.datasets[name]
        if name.startswith(SCHEME):
            return folder_card(name)
        raise UnknownName("dataset", name, suggest(name, self.datasets))

    def card_of(self, task: TaskSpec) -> DatasetCard:
        """The card of a task's dataset, as the task reads it: the preset `paper` of a built-in dataset reads images as
        they are stored, as the published loaders do. Further test sets of a task (`also`) are part of the card, which
        then has another name.
        """
        card = self.dataset(task.dataset)
        also = tuple(self.dataset(name) for name in task.further_datasets)
        if also:
            name = "+".join([card.name, *(one.name for one in also)])
            card = card.model_copy(update={"shifts": also, "name": name})
        published = task.preset == PUBLISHED_PRESET and card.reader not in OWN_READERS
        return card.model_copy(update={"orientation": "stored"}) if published else card

    def suite(self, name: str) -> SuiteCard:
        """The suite of this name. Raises UnknownName."""
        if name not in self.suites:
            raise UnknownName("suite", name, suggest(name, self.suites))
        return self.suites[name]

    def resolve(self, name: str, preset: str | None = None, overrides: Overrides | None = None) -> TaskSpec:
        """One task with all its parameters.

        If `preset` is None, that of the task card is used, or `default`. `overrides` are applied last, by protocol
        family.

        Raises:
            CardNameError: the task or the preset does not exist.
            OverrideError: an override is unknown or invalid.
        """
        card = self.task_cards.get(name)
        if card is not None:
            return self._of_card(card, preset, overrides)
        protocol, dataset = self._parts(name)
        spec = PROTOCOLS[protocol]
        return _specify(f"{protocol}/{dataset.name}", spec, dataset, preset or DEFAULT_PRESET, overrides or {})

    def select(
        self,
        patterns: Iterable[str] = (),
        suite: str | None = None,
        preset: str | None = None,
        overrides: Overrides | None = None,
    ) -> list[TaskSpec]:
        """The tasks of a suite, then those matched by names and globs (`linear/*`), each once. A suite's preset and
        parameters apply to its own tasks, unless `preset` or `overrides` are given. Raises as `resolve`, and
        UnknownName for an unknown suite or a glob without a match.
        """
        changes = overrides or {}
        check_overrides(changes)
        specs: list[TaskSpec] = []
        if suite is not None:
            specs.extend(self._of_suite(self.suite(suite), preset, changes))
        specs.extend(self.resolve(name, preset, changes) for name in self._expand(patterns))
        return list({(spec.name, spec.variant): spec for spec in specs}.values())

    def _of_suite(self, card: SuiteCard, preset: str | None, overrides: Overrides) -> list[TaskSpec]:
        changes = merged(card.parameters, overrides)
        specs = [self.resolve(name, preset or card.preset, changes) for name in self._expand(card.tasks)]
        own = {} if preset else card.presets
        return [
            self.resolve(spec.name, own[family], changes)
            if (family := PROTOCOLS[spec.protocol].family) in own
            else spec
            for spec in specs
        ]

    def _expand(self, patterns: Iterable[str]) -> list[str]:
        """Patterns as task names; a path in an `imagefolder:` name is never taken for a glob."""
        names: list[str] = []
        for pattern in patterns:
            protocol, _, dataset = pattern.partition("/")
            if protocol in PROTOCOLS and dataset in self.datasets:
                names.append(pattern)  # also where the dataset is not offered for it: resolving it gives the reason
                continue
            if SCHEME not in pattern:
                names.extend(match([pattern], self.task_names, "task"))
                continue
            before, _, path = pattern.partition(SCHEME)
            chosen = match([before.removesuffix("/") or FOLDER_PROTOCOL], PROTOCOLS, "protocol")
            names.extend(f"{protocol}/{SCHEME}{path}" for protocol in chosen)
        return names

    def _parts(self, name: str) -> tuple[str, DatasetCard]:
        if name.startswith(SCHEME):
            return FOLDER_PROTOCOL, self.dataset(name)
        protocol, _, dataset = name.partition("/")
        if protocol in PROTOCOLS and (dataset in self.datasets or dataset.startswith(SCHEME)):
            return protocol, self.dataset(dataset)
        raise UnknownName("task", name, suggest(name, self.task_names))

    def _of_card(self, card: TaskCard, preset: str | None = None, overrides: Overrides | None = None) -> TaskSpec:
        if card.protocol not in PROTOCOLS:
            raise UnknownName("protocol", card.protocol, suggest(card.protocol, PROTOCOLS))
        spec = PROTOCOLS[card.protocol]
        changes = merged({spec.family: card.parameters}, overrides or {})
        return _specify(card.name, spec, self.dataset(card.dataset), preset or card.preset, changes)

    def _check_suite(self, card: SuiteCard) -> None:
        check_overrides(card.parameters)
        families = [spec.family for spec in PROTOCOLS.values()]
        for family in card.presets:
            if family not in families:
                raise UnknownName("protocol family", family, suggest(family, families))
        self._of_suite(card, None, {})


def _specify(name: str, protocol: ProtocolSpec, card: DatasetCard, preset: str, overrides: Overrides) -> TaskSpec:
    """The task with its parameters. Raises MalformedName if the protocol with these parameters does not suit the
    dataset.
    """
    if preset not in protocol.presets:
        close = suggest(preset, protocol.presets) or tuple(protocol.presets)
        raise UnknownName(f"preset of {protocol.name}", preset, close)
    parameters = apply_overrides(protocol.presets[preset], protocol.family, overrides)
    reason = misfit(protocol, card, parameters)
    if reason is not None:
        offered = ", ".join(suitable_protocols(card)) or "none"
        raise MalformedName(f"{card.name} is not measured by {protocol.name}: {reason}; its protocols are {offered}")
    return TaskSpec(
        name=name,
        protocol=protocol.name,
        protocol_version=protocol.version,
        dataset=card.name,
        preset=preset,
        parameters=as_values(parameters),
    )


__all__ = ["CardNameError", "OverrideError", "TaskCatalog"]
