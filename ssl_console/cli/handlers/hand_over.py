"""`table`, `model-page` and `report`: results as files for others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ssl_console.analysis.export import Notes
from ssl_console.analysis.hand_over import HubBenchmark
from ssl_console.analysis.ranking import ESTIMATE, sort_rows
from ssl_console.cli.handlers.further_scores import ResultSelection, selected_results
from ssl_console.cli.handlers.rank import RankView, ranking_of, ties_of
from ssl_console.cli.output import stdout
from ssl_console.operations.hand_over import write_model_page, write_report, write_table
from ssl_console.operations.session import Session, resolve_backbone
from ssl_console.system.errors import ConsoleError

SOURCE_NAME = "Evaluation by ssl-console"
NO_RESULTS = "no results match: `ssl-console results` lists the available ones"


def write_tidy_table(session: Session, path: Path, selection: ResultSelection, *, as_json: bool) -> None:
    """Write the table of the selected results. Raises ConsoleError when there are none."""
    rows = selected_results(session, selection)
    if not rows:
        raise ConsoleError(NO_RESULTS)
    count = write_table(session, rows, path)
    if as_json:
        stdout.document({"path": str(path), "rows": count, "results": len(rows)})
    else:
        stdout.lines([f"{count} rows of {len(rows)} results in {path}"])


def write_page(
    session: Session,
    backbone: str,
    folder: Path,
    benchmarks: Sequence[str],
    source: str | None,
    selection: ResultSelection,
    *,
    as_json: bool,
) -> None:
    """Write the files of a model page. Raises ConsoleError for names and benchmarks that do not exist."""
    every = selected_results(session, selection)
    name = resolve_backbone(backbone, dict.fromkeys(one.backbone for one in every))
    rows = [one for one in every if one.backbone == name]
    rows.sort(key=lambda one: (one.task, one.variant, one.seed))
    named = None if source is None else (source, SOURCE_NAME)
    page = write_model_page(rows, name, folder, parse_benchmarks(benchmarks), named)
    if as_json:
        files = [str(path) for path in page.files]
        stdout.document({"files": files, "without_benchmark": list(page.without_benchmark)})
        return
    stdout.lines([str(path) for path in page.files])
    if page.without_benchmark:
        stdout.say(
            f"in the table alone, as no benchmark of the hub was named (--benchmark DATASET=ORG/NAME): "
            f"{', '.join(page.without_benchmark)}"
        )
    stdout.say("nothing was uploaded; the hub shows an entry only if its dataset is registered as a benchmark")


def parse_benchmarks(texts: Sequence[str]) -> dict[str, HubBenchmark]:
    """`DATASET=ORG/NAME[:TASK]` by dataset. Raises ConsoleError."""
    found: dict[str, HubBenchmark] = {}
    for text in texts:
        dataset, equals, given = text.partition("=")
        if not equals or not dataset:
            raise ConsoleError(f"--benchmark {text}: expected DATASET=ORG/NAME or DATASET=ORG/NAME:TASK")
        try:
            found[dataset] = HubBenchmark.of(given)
        except ValueError as error:
            raise ConsoleError(f"--benchmark {text}: {error}") from error
    return found


def write_html_report(
    session: Session, path: Path, title: str, selection: ResultSelection, source: str, *, as_json: bool
) -> None:
    """Write the report of a ranking. Raises ConsoleError when there are no results."""
    view = RankView.of(selection.suite, selection.backbones, selection.tasks, None, (), source)
    ranking = sort_rows(ranking_of(session, view), ESTIMATE)
    if not ranking.rows:
        raise ConsoleError(NO_RESULTS)
    size = write_report(session, ranking, Notes(ties_of(session, ranking, "markdown")), title, path)
    if as_json:
        stdout.document({"path": str(path), "bytes": size, "backbones": len(ranking.rows)})
    else:
        stdout.lines([f"{path}: {len(ranking.rows)} backbones, {len(ranking.columns)} columns, {size / 1000:.0f} kB"])
