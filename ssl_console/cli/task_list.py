"""`tasks` and `suites`: which there are, whether their data are here, and if not, how to get them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ssl_console.cli import output
from ssl_console.cli.session import Session
from ssl_console.plain_text import shorten
from tasks.card import DatasetCard, SuiteCard
from tasks.catalog import protocols
from tasks.datasets.presence import presence

UNKNOWN = "—"
ADVICE_COLUMNS = 72


@dataclass(frozen=True)
class TaskLine:
    """One task as the listing has it."""

    task: str
    dataset: str
    title: str
    metric: str
    classes: int | None
    data: str
    missing: tuple[str, ...]
    advice: str | None


@dataclass(frozen=True)
class SuiteLine:
    """One suite as the listing has it."""

    suite: str
    title: str
    preset: str
    tasks: tuple[str, ...]
    backbones: tuple[str, ...]
    missing_data: tuple[str, ...]
    """Those of its tasks whose data are not here."""


def tasks(session: Session, *, as_json: bool) -> None:
    """List all tasks with the presence of their data."""
    rows = list(_tasks(session))
    if as_json:
        problems = [str(problem) for problem in session.tasks.problems]
        output.document({"tasks": [asdict(row) for row in rows], "problems": problems})
        return
    lines = [(row.task, row.title, row.metric, row.data, shorten(row.advice or "", ADVICE_COLUMNS)) for row in rows]
    output.table(("task", "dataset", "metric", "data", "how to get them"), lines)


def suites(session: Session, *, as_json: bool) -> None:
    """List all suites and how many of their tasks have their data."""
    ready = {row.task for row in _tasks(session) if row.data == "present"}
    rows = [_suite(session, card, ready) for card in session.tasks.suites.values()]
    if as_json:
        problems = [str(problem) for problem in session.tasks.problems]
        output.document({"suites": [asdict(row) for row in rows], "problems": problems})
        return
    lines = [
        (
            row.suite,
            str(len(row.tasks)),
            str(len(row.tasks) - len(row.missing_data)),
            " ".join(row.backbones) or UNKNOWN,
            row.title,
        )
        for row in rows
    ]
    output.table(("suite", "tasks", "data present", "backbones", "title"), lines, right=frozenset({1, 2}))


def _suite(session: Session, card: SuiteCard, ready: set[str]) -> SuiteLine:
    names = tuple(spec.name for spec in session.tasks.select(suite=card.name))
    lacking = tuple(name for name in names if name not in ready)
    return SuiteLine(card.name, card.title, card.preset, names, card.backbones, lacking)


def _tasks(session: Session) -> Iterator[TaskLine]:
    root = session.data_root
    for dataset in session.tasks.datasets.values():
        yield from (_task(f"{protocol}/{dataset.name}", dataset, root) for protocol in protocols(dataset))
    for card in session.tasks.task_cards.values():
        yield _task(card.name, session.tasks.dataset(card.dataset), root)


def _task(name: str, dataset: DatasetCard, root: Path) -> TaskLine:
    found = presence(dataset, root)
    return TaskLine(
        task=name,
        dataset=dataset.name,
        title=dataset.title,
        metric=dataset.metric,
        classes=dataset.classes,
        data=found.status,
        missing=tuple(map(str, found.missing)),
        advice=found.advice or None,
    )
