"""Backbones, tasks and suites, with their missing weights and data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from backbones.catalog.card import BackboneCard
from ssl_console.analysis.filter_query import Filterable, backbone_subject, task_subject
from ssl_console.planning.plan import Blocker
from tasks.datasets.card import DatasetCard


def protocol_title(protocol: str) -> str:
    """Title of a protocol above a narrow group of columns: `5-shot` for `few-shot-5`."""
    family, _, number = protocol.rpartition("-")
    return f"{number}-shot" if family == "few-shot" else protocol


@dataclass(frozen=True)
class BackboneEntry:
    """One backbone."""

    card: BackboneCard
    missing: Blocker | None = None

    @property
    def name(self) -> str:
        """The card's name."""
        return self.card.name

    @cached_property
    def subject(self) -> Filterable:
        """The words and fields that a filter is matched against."""
        return backbone_subject(self.card, "missing" if self.missing else "present")


@dataclass(frozen=True)
class TaskEntry:
    """One task."""

    name: str
    protocol: str
    dataset: DatasetCard
    missing: Blocker | None = None
    variant: str = "default"
    """Default variant of its results."""

    @property
    def short(self) -> str:
        """The name without the protocol, which is the title of its group."""
        return self.name.removeprefix(f"{self.protocol}/")

    @cached_property
    def subject(self) -> Filterable:
        """The words and fields that a filter is matched against."""
        return task_subject(self.name, self.protocol, self.dataset, "missing" if self.missing else "present")


@dataclass(frozen=True)
class Suite:
    """A named list of tasks, expanded."""

    name: str
    title: str
    tasks: tuple[str, ...]
    backbones: tuple[str, ...] = ()
    columns: tuple[tuple[str, str], ...] = ()
    """(task, variant) of every task with the suite's preset and parameters."""


@dataclass(frozen=True)
class Catalog:
    """All backbones, tasks and suites, and problems of unusable cards."""

    backbones: tuple[BackboneEntry, ...] = ()
    tasks: tuple[TaskEntry, ...] = ()
    """Grouped by protocol."""
    suites: tuple[Suite, ...] = ()
    problems: tuple[str, ...] = ()

    @cached_property
    def backbone(self) -> Mapping[str, BackboneEntry]:
        """By name."""
        return {entry.name: entry for entry in self.backbones}

    @cached_property
    def task(self) -> Mapping[str, TaskEntry]:
        """By name."""
        return {entry.name: entry for entry in self.tasks}

    @cached_property
    def suite(self) -> Mapping[str, Suite]:
        """By name."""
        return {suite.name: suite for suite in self.suites}

    def missing(self, pairs: Iterable[tuple[str, str]]) -> list[Blocker]:
        """Missing inputs of these backbones and tasks, each once; unknown names have none."""
        backbones, tasks = (dict.fromkeys(names) for names in zip(*pairs, strict=True))
        entries = (*map(self.backbone.get, backbones), *map(self.task.get, tasks))
        return list(
            dict.fromkeys(entry.missing for entry in entries if entry is not None and entry.missing is not None)
        )

    def variants(self, suite: str | None = None) -> Mapping[str, str]:
        """The variant by task: that of the suite for its tasks, the default for others."""
        own = {entry.name: entry.variant for entry in self.tasks}
        chosen = self.suite.get(suite or "")
        return {**own, **dict(chosen.columns)} if chosen else own


@dataclass(frozen=True)
class FilteredCatalog:
    """The part of the catalogue selected by a suite and a filter."""

    backbones: tuple[BackboneEntry, ...]
    tasks: tuple[TaskEntry, ...]
    unknown: tuple[str, ...] = field(default=())
    """Fields of the filter that no entry has."""
