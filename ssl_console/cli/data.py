"""`data list|check|fetch`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial

from backbones.cardfile import match
from ssl_console.cli import output
from ssl_console.cli.meter import Meter
from ssl_console.cli.session import Session
from ssl_console.errors import ExitCode
from tasks.card import DatasetCard
from tasks.datasets.fetch import CheckReport, FetchError, FetchProgress, check, fetch
from tasks.datasets.presence import presence


@dataclass(frozen=True)
class DataLine:
    """One dataset as the listing has it."""

    dataset: str
    title: str
    status: str
    path: str
    missing: tuple[str, ...]
    advice: str | None
    download: str
    download_megabytes: float | None


def list_data(session: Session, names: tuple[str, ...], *, as_json: bool) -> None:
    """Say which datasets are here, and where."""
    rows = [_line(session, card) for card in _cards(session, names)]
    if as_json:
        output.document({"data": [asdict(row) for row in rows], "data_root": str(session.data_root)})
        return
    lines = [(row.dataset, row.status, row.download, row.path, row.advice or "") for row in rows]
    output.table(("dataset", "data", "download", "folder", "how to get them"), lines)


def check_data(session: Session, names: tuple[str, ...]) -> ExitCode:
    """Open datasets, count and decode; a missing one counts only if it was asked for by name."""
    code = ExitCode.DONE
    for card in _cards(session, names):
        if not names and presence(card, session.data_root).status == "missing":
            continue
        output.say(f"checking {card.name} ...")
        report = check(card, session.data_root, decode=True)
        _show(report)
        if not report.ok:
            code = ExitCode.MISSING
    return code


def fetch_data(session: Session, names: tuple[str, ...]) -> ExitCode:
    """Download datasets; one that fails does not keep the others from being fetched."""
    code = ExitCode.DONE
    for card in _cards(session, names):
        try:
            with Meter(card.name) as meter:
                base = fetch(card, session.data_root, partial(_advance, meter))
        except FetchError as error:
            output.say(f"ssl-console: {error}")
            code = ExitCode.MISSING
        else:
            output.lines([f"{card.name}: here, {base}"])
    return code


def _cards(session: Session, names: tuple[str, ...]) -> list[DatasetCard]:
    known = session.tasks.datasets
    if not names:
        return list(known.values())
    own = [name for name in names if name.startswith("imagefolder:")]
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
        output.say(f"ssl-console: {report.name}: {report.error}")
        return
    sizes = ", ".join(f"{name} {split.images:,}" for name, split in report.manifest.splits.items())
    output.lines([f"{report.name}: {len(report.manifest.classes)} classes, images: {sizes}"])
    for problem in (*report.problems, *report.notes):
        output.say(f"ssl-console: {report.name}: {problem}")


def _advance(meter: Meter, progress: FetchProgress) -> None:
    number = f" ({progress.number} of {progress.files})" if progress.files > 1 else ""
    meter.rename(f"{progress.step} {progress.filename}{number}")
    meter.update(progress.done, progress.total)
