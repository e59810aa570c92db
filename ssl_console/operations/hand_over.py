"""Files for handing over results: a tidy table, files of a model page, and an HTML report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from backbones.io.files import write_atomically
from ssl_console._version import __version__
from ssl_console.analysis.comparability import kept_apart
from ssl_console.analysis.export import Notes
from ssl_console.analysis.further_scores import audit, by_protocol
from ssl_console.analysis.hand_over import (
    HubBenchmark,
    by_benchmark,
    eval_results,
    model_card_table,
    tidy_csv,
    tidy_rows,
    write_parquet,
)
from ssl_console.analysis.html_report import ReportFacts, ReportPicture, html_report
from ssl_console.analysis.ranking import Ranking
from ssl_console.operations.session import Session
from ssl_console.planning.candidates import identity_of_run
from ssl_console.system.errors import ConsoleError, OperationFailed
from ssl_console.workspace.pictures import picture_files
from ssl_console.workspace.result import Result, ResultRecord

TABLE_SUFFIXES = (".csv", ".parquet")
PICTURES = 12
"""Maximum number of pictures in a report."""
PICTURE_BYTES = 400_000
"""Maximum number of bytes of one picture."""
EVAL_RESULTS = ".eval_results"
CARD_TABLE = "evaluation.md"


def check_new_file(path: Path, suffixes: Sequence[str]) -> None:
    """Raise ConsoleError for another ending, an existing file, or a missing folder."""
    if path.suffix not in suffixes:
        raise ConsoleError(f"{path}: the name ends in {' or '.join(suffixes)}")
    if path.exists():
        raise ConsoleError(f"{path} already exists: choose another name, nothing is replaced")
    if not path.absolute().parent.is_dir():
        raise ConsoleError(f"{path}: folder {path.absolute().parent} does not exist")


def write_table(session: Session, results: Sequence[Result], path: Path) -> int:
    """Write the tidy table; return its number of rows. Raises ConsoleError, OperationFailed."""
    check_new_file(path, TABLE_SUFFIXES)
    rows = tidy_rows(results, records_of(session, results))
    try:
        if path.suffix == ".csv":
            write_atomically(path, tidy_csv(rows).encode())
        else:
            write_parquet(rows, path)
    except ImportError as error:
        raise ConsoleError("parquet needs pyarrow: pip install 'ssl-console[parquet]'; or write .csv") from error
    except OSError as error:
        raise OperationFailed(f"{path} cannot be written: {error.strerror or error}") from error
    return len(rows)


@dataclass(frozen=True)
class ModelPage:
    """Files written for a model page."""

    files: tuple[Path, ...]
    without_benchmark: tuple[str, ...]
    """Datasets without a named benchmark of the hub, which are only in the table."""


def write_model_page(
    results: Sequence[Result],
    backbone: str,
    folder: Path,
    benchmarks: Mapping[str, HubBenchmark],
    source: tuple[str, str] | None,
) -> ModelPage:
    """Write `.eval_results/*.yaml` and the table of the model card. Raises ConsoleError, OperationFailed."""
    files, missing = by_benchmark(results, benchmarks)
    known = {one.dataset_name for one in results}
    if unknown := sorted(set(benchmarks) - known):
        raise ConsoleError(
            f"--benchmark {unknown[0]}: no result on this dataset; results are on {', '.join(sorted(known))}"
        )
    texts = {folder / CARD_TABLE: model_card_table(backbone, results, __version__)}
    for name, rows in files.items():
        texts[folder / EVAL_RESULTS / name] = eval_results(rows, benchmarks[rows[0].dataset_name], source)
    if taken := [path for path in texts if path.exists()]:
        raise ConsoleError(f"{taken[0]} already exists: choose another folder, nothing is replaced")
    try:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, text.encode())
    except OSError as error:
        raise OperationFailed(f"{folder} cannot be written: {error.strerror or error}") from error
    return ModelPage(tuple(texts), tuple(missing))


def write_report(session: Session, ranking: Ranking, notes: Notes, title: str, path: Path) -> int:
    """Write the HTML report; return its size in bytes. Raises ConsoleError, OperationFailed."""
    check_new_file(path, (".html",))
    runs = {cell.run_id for row in ranking.rows for cell in row.cells.values() if cell.source == "mine"}
    rows = [one for one in session.badged_results() if one.run_id in runs]
    records = records_of(session, rows)
    pictures, left_out = _pictures(session, rows)
    apart = kept_apart(session.results(), ranking, lambda run_id: identity_of_run(session.workspace, run_id))
    facts = ReportFacts(
        title=title,
        made=f"{datetime.now(UTC).date().isoformat()}, ssl-console {__version__}",
        records={name: record for name, record in records.items() if record is not None},
        notes=notes,
        optimism=by_protocol(*audit(rows, records)),
        apart=[f"not comparable: {one.sentence}" for one in apart],
        pictures=pictures,
        left_out=left_out,
    )
    text = html_report(ranking, facts).encode()
    try:
        write_atomically(path, text)
    except OSError as error:
        raise OperationFailed(f"{path} cannot be written: {error.strerror or error}") from error
    return len(text)


def records_of(session: Session, results: Sequence[Result]) -> dict[str, ResultRecord | None]:
    """Records by run, with the displayed badges; None if a run folder is missing."""
    shown = {one.run_id: one for one in results}
    found: dict[str, ResultRecord | None] = {}
    for run_id, row in shown.items():
        record = session.outputs.record(run_id)
        found[run_id] = None if record is None else record.model_copy(update={"result": row})
    return found


def _pictures(session: Session, results: Sequence[Result]) -> tuple[list[ReportPicture], int]:
    """PNG files of the runs within the size limit, the first of each run first."""
    files = [
        (number, one, path)
        for one in results
        for number, path in enumerate(picture_files(session.workspace.run(one.run_id)))
    ]
    files.sort(key=lambda found: found[0])
    small = [(one, path) for _, one, path in files if path.stat().st_size <= PICTURE_BYTES][:PICTURES]
    pictures = [ReportPicture(f"{one.backbone} on {one.task}: {path.stem}", path.read_bytes()) for one, path in small]
    return pictures, len(files) - len(pictures)
