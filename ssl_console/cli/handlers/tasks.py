"""`tasks`, `suites` and `data`: what is available, whether the data are present, and how to get them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from backbones.io.card_files import match
from backbones.io.errors import counted
from ssl_console.cli.output import stdout
from ssl_console.cli.output.progress_bar import Meter
from ssl_console.operations.session import Session
from ssl_console.system.errors import ExitCode
from ssl_console.system.safe_text import shorten
from tasks.catalog.catalog import SCHEME
from tasks.catalog.protocols import suitable_protocols
from tasks.datasets.card import DatasetCard, SuiteCard
from tasks.datasets.download.fetch import CheckReport, FetchError, FetchProgress, check, fetch
from tasks.datasets.presence import presence

UNKNOWN = "—"
ADVICE_COLUMNS = 72


@dataclass(frozen=True)
class TaskLine:
    """One task in the listing."""

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
    """One suite in the listing."""

    suite: str
    title: str
    preset: str
    tasks: tuple[str, ...]
    backbones: tuple[str, ...]
    missing_data: tuple[str, ...]
    """Its tasks with missing data."""


def tasks(session: Session, *, as_json: bool) -> None:
    """List all tasks and whether their data are present."""
    rows = list(_tasks(session))
    if as_json:
        problems = [str(problem) for problem in session.tasks.problems]
        stdout.document({"tasks": [asdict(row) for row in rows], "problems": problems})
        return
    lines = [(row.task, row.title, row.metric, row.data, shorten(row.advice or "", ADVICE_COLUMNS)) for row in rows]
    stdout.table(("task", "dataset", "metric", "data", "how to get them"), lines)


def suites(session: Session, *, as_json: bool) -> None:
    """List all suites and how many of their tasks have their data."""
    ready = {row.task for row in _tasks(session) if row.data == "present"}
    rows = [_suite(session, card, ready) for card in session.tasks.suites.values()]
    if as_json:
        problems = [str(problem) for problem in session.tasks.problems]
        stdout.document({"suites": [asdict(row) for row in rows], "problems": problems})
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
    stdout.table(("suite", "tasks", "data present", "backbones", "title"), lines, right=frozenset({1, 2}))


def _suite(session: Session, card: SuiteCard, ready: set[str]) -> SuiteLine:
    names = tuple(spec.name for spec in session.tasks.select(suite=card.name))
    lacking = tuple(name for name in names if name not in ready)
    return SuiteLine(card.name, card.title, card.preset, names, card.backbones, lacking)


def _tasks(session: Session) -> Iterator[TaskLine]:
    root = session.data_root
    for dataset in session.tasks.datasets.values():
        yield from (_task(f"{protocol}/{dataset.name}", dataset, root) for protocol in suitable_protocols(dataset))
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


@dataclass(frozen=True)
class DataLine:
    """One dataset in the listing."""

    dataset: str
    title: str
    status: str
    path: str
    missing: tuple[str, ...]
    advice: str | None
    download: str
    download_megabytes: float | None


def list_data(session: Session, names: tuple[str, ...], *, as_json: bool) -> None:
    """List which datasets are present, and where."""
    rows = [_line(session, card) for card in _cards(session, names)]
    if as_json:
        stdout.document({"data": [asdict(row) for row in rows], "data_root": str(session.data_root)})
        return
    lines = [(row.dataset, row.status, row.download, row.path, row.advice or "") for row in rows]
    stdout.table(("dataset", "data", "download", "folder", "how to get them"), lines)


def check_data(session: Session, names: tuple[str, ...], *, thorough: bool) -> ExitCode:
    """Open datasets, count and decode; a missing one counts as an error only if it is named.

    With `thorough`, every file is read again, and changed content is a problem.
    """
    code = ExitCode.DONE
    for card in _cards(session, names):
        if not names and presence(card, session.data_root).status == "missing":
            continue
        stdout.say(f"checking {card.name} ...")
        report = check(card, session.data_root, session.workspace.cache, decode=True, thorough=thorough)
        _show(report)
        if not report.ok:
            code = ExitCode.MISSING
    return code


def fetch_data(session: Session, names: tuple[str, ...]) -> ExitCode:
    """Download datasets; a failure does not stop the remaining downloads."""
    code = ExitCode.DONE
    for card in _cards(session, names):
        try:
            with Meter(card.name) as meter:
                base = fetch(card, session.data_root, partial(_advance, meter))
        except FetchError as error:
            stdout.say(f"ssl-console: {error}")
            code = ExitCode.MISSING
        else:
            stdout.lines([f"{card.name}: present, {base}"])
    return code


def _cards(session: Session, names: tuple[str, ...]) -> list[DatasetCard]:
    known = session.tasks.datasets
    if not names:
        return list(known.values())
    own = [name for name in names if name.startswith(SCHEME)]
    chosen = match([name for name in names if name not in own], known, "dataset")
    return [session.tasks.dataset(name) for name in (*chosen, *own)]


def _line(session: Session, card: DatasetCard) -> DataLine:
    found = presence(card, session.data_root)
    missing = tuple(map(str, found.missing))
    return DataLine(
        dataset=card.name,
        title=card.title,
        status=found.status,
        path=str(found.base),
        missing=missing,
        advice=found.advice or None,
        download=card.download,
        download_megabytes=card.download_megabytes,
    )


def _show(report: CheckReport) -> None:
    if report.manifest is None:
        stdout.say(f"ssl-console: {report.name}: {report.error}")
        return
    sizes = ", ".join(f"{name} {split.images:,}" for name, split in report.manifest.splits.items())
    stdout.lines([f"{report.name}: {counted(len(report.manifest.classes), 'class', 'classes')}, images: {sizes}"])
    for problem in (*report.problems, *report.notes):
        stdout.say(f"ssl-console: {report.name}: {problem}")


def _advance(meter: Meter, progress: FetchProgress) -> None:
    number = f" ({progress.number} of {progress.files})" if progress.files > 1 else ""
    meter.rename(f"{progress.step} {progress.filename}{number}")
    meter.update(progress.done, progress.total)
