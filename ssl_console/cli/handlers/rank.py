"""`results`, `rank` and `rebuild`: the content of the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, get_args

from backbones.io.card_files import match
from backbones.io.errors import counted
from ssl_console.analysis.badged_results import legend, mark_sentences, marked_scores
from ssl_console.analysis.comparability import IncomparableResult, apart_document, kept_apart
from ssl_console.analysis.export import (
    EXPORTS,
    INCOMPLETE,
    NO_TIES,
    SHOW_TIES,
    Format,
    Notes,
    Ties,
    data_notes_of,
    to_text,
)
from ssl_console.analysis.filter_query import (
    COLUMN_FIELDS,
    RANKING_FIELDS,
    ROW_FIELDS,
    Filterable,
    backbone_subject,
    column_subject,
    filter_ranking,
    row_subject,
    task_subject,
)
from ssl_console.analysis.published import PUBLISHED, all_published, published, unmarked, with_published
from ssl_console.analysis.published.tables import VARIANT, published_tasks
from ssl_console.analysis.ranking import (
    ABOUT_CIRCLE,
    CIRCLE,
    ESTIMATE,
    Ranking,
    RankingColumn,
    common_columns,
    judged,
    pick_columns,
    pick_rows,
    sort_rows,
)
from ssl_console.analysis.ranking import rank as make_ranking
from ssl_console.analysis.ranking_cell import size_text, unit_of
from ssl_console.cli.output import stdout
from ssl_console.operations.session import Session
from ssl_console.planning.candidates import identity_of_run
from ssl_console.system.errors import ConsoleError
from ssl_console.workspace.badges import IMPORTED, MARK, marks
from ssl_console.workspace.result import Result
from ssl_console.workspace.results_db import rebuild as rebuild_database
from tasks.datasets.presence import presence

ABOUT_ESTIMATE = (
    "estimate: the backbone's effect in log-odds, of an additive model of backbones and tasks over the scores that "
    "exist, with its 95 % interval; it orders the rows"
)
Origin = Literal["mine", "paper", "both"]


@dataclass(frozen=True)
class RankView:
    """Selection and format of a ranking table."""

    suite: str | None = None
    backbones: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    sort: str | None = None
    format: Format | None = None
    origin: Origin = "mine"
    """Source of the scores: measured here, published, or both side by side."""
    filter: str = ""
    """In the language of `analysis.filter_query`."""
    missing: str = "complete"
    """Treatment of missing cells: only `complete` rows have a mean and a rank, or only `common` tasks are used."""

    @classmethod
    def of(
        cls,
        suite: str | None,
        backbones: Sequence[str] | None,
        tasks: Sequence[str] | None,
        sort: str | None,
        formats: Sequence[str],
        source: str = "mine",
    ) -> RankView:
        """View from option values. Raises ConsoleError for several formats, or an unknown source."""
        if len(formats) > 1:
            raise ConsoleError(f"{' and '.join(f'--{name}' for name in formats)}: one format at a time")
        chosen: Format | None = next((name for name in EXPORTS if name in formats), None)
        return cls(suite, tuple(backbones or ()), tuple(tasks or ()), sort, chosen, origin_of(source))


def origin_of(source: str) -> Origin:
    """Value of the option. Raises ConsoleError for any other word."""
    found: Origin | None = next((origin for origin in get_args(Origin) if origin == source), None)
    if found is None:
        raise ConsoleError(f"--source {source}: choose one of {', '.join(get_args(Origin))}")
    return found


def results(session: Session, *, as_json: bool) -> None:
    """List the results, newest last."""
    found = sorted(session.badged_results(), key=lambda result: result.finished)
    used = legend(result.badges for result in found)
    if as_json:
        stdout.document({"results": [result.model_dump(mode="json") for result in found], "marks": used})
        return
    head = ("run", "backbone", "task", "variant", "seed", "score", "interval", "n", "took", "finished", "doubts")
    stdout.table(head, [_line(result) for result in found], right=frozenset({4, 5, 7, 8}))
    for mark, meaning in used.items():
        stdout.say(f"{mark} {meaning}")


def rank(session: Session, view: RankView) -> None:
    """Print the ranking table."""
    ranking = sort_rows(_kept(ranking_of(session, view), view), view.sort or ESTIMATE)
    if view.format is not None:
        apart = apart_document(_apart(session, ranking)) if view.format == "json" else None
        stdout.data(EXPORTS[view.format](ranking, Notes(ties_of(session, ranking, view.format), apart)))
        return
    if not ranking.rows:
        stdout.say("no results yet: start with `ssl-console demo` or `ssl-console run`")
        return
    stdout.data(to_text(ranking, stdout.terminal_columns()))
    if view.origin == "both" and not any(row.backbone.endswith(PUBLISHED) for row in ranking.rows):
        stdout.say("no published scores for these; `ssl-console rank --source paper` shows all")
    stdout.say(ABOUT_ESTIMATE)
    if circle := [row.backbone for row in ranking.rows if row.circle]:
        stdout.say(f"{CIRCLE} {ABOUT_CIRCLE}: {', '.join(circle)}")
    if ranking.incomplete:
        stdout.say(
            f"{INCOMPLETE} {ranking.incomplete} of {len(ranking.rows)} rows lack a score, and have no mean and no mean "
            "rank; --missing common ranks over the tasks that all rows have, --suite or -t select the columns"
        )
    _say_why_no_means(ranking)
    _say_doubts(ranking)
    for one in _apart(session, ranking):
        stdout.say(f"not comparable: {one.sentence}")


def _apart(session: Session, ranking: Ranking) -> list[IncomparableResult]:
    return kept_apart(session.results(), ranking, lambda run_id: identity_of_run(session.workspace, run_id))


def _kept(ranking: Ranking, view: RankView) -> Ranking:
    """Columns of means and ranks. Raises ConsoleError when there are none, or the choice requires intervals."""
    if view.missing == "complete" or not ranking.rows:
        return ranking
    if view.missing != "common":
        raise ConsoleError(f"--missing {view.missing}: complete or common; with --intervals also drawn")
    labels = common_columns(ranking)
    if not labels:
        raise ConsoleError("--missing common: no task has a score of every backbone; select fewer with -b or -t")
    if gone := [column.label for column in ranking.columns if column.label not in labels]:
        stdout.say(f"common tasks only, {len(labels)} of {len(ranking.columns)}; left out: {', '.join(gone)}")
    return pick_columns(ranking, labels)


def ties_of(session: Session, ranking: Ranking, format: Format) -> Ties:  # noqa: A002 - the word for it
    """Scores not significantly below the best of their column, for formats that show them."""
    if format not in SHOW_TIES:
        return NO_TIES
    from ssl_console.analysis.rank_intervals import ties_with_best

    return ties_with_best(ranking, session.outputs.predictions)


def _say_why_no_means(ranking: Ranking) -> None:
    """Explain complete rows without a mean, which would look like an error."""
    counted = judged(ranking.columns)
    if aside := [column.label for column in ranking.columns if column not in counted]:
        stdout.say(f"descriptive, so not part of means and ranks: {', '.join(aside)}")
    no_shares = [column.label for column in counted if not column.higher_is_better]
    if no_shares and any(row.complete for row in ranking.rows):
        names = ", ".join(no_shares)
        stdout.say(f"no mean and no log-odds: not a percentage: {names}; select other columns with -t or --suite")


def _say_doubts(ranking: Ranking) -> None:
    sentences = mark_sentences(marked_scores(ranking))
    for sentence in sentences:
        stdout.say(sentence)
    if any(sentence.startswith(MARK) for sentence in sentences):
        stdout.say("`ssl-console show RUN` explains them")
    for label, notes in data_notes_of(ranking).items():
        stdout.say(f"{label}: {notes}")


def rank_intervals(session: Session, view: RankView) -> None:
    """Print the ranks with their intervals. Raises ConsoleError for a format without such a table."""
    from ssl_console.cli.handlers.further_scores import show_rank_intervals

    if view.format not in {None, "json"}:
        raise ConsoleError(f"--intervals is a table or --json, not --{view.format}")
    show_rank_intervals(session, ranking_of(session, view), view.missing, as_json=view.format == "json")


def rank_further(session: Session, view: RankView, what: Literal["optimism", "shifts"]) -> None:
    """Print further scores of the selected results. Raises ConsoleError for a format without such a table."""
    from ssl_console.cli.handlers.further_scores import ResultSelection, show_optimism, show_shifts

    if view.format not in {None, "json"}:
        raise ConsoleError(f"--{what} is a table or --json, not --{view.format}")
    show = show_optimism if what == "optimism" else show_shifts
    show(session, ResultSelection(view.suite, view.backbones, view.tasks), as_json=view.format == "json")


def rank_picture(session: Session, view: RankView, path: Path) -> None:
    """Write the critical-difference diagram of the table."""
    from ssl_console.cli.handlers.further_scores import save_diagram

    save_diagram(session, ranking_of(session, view), view.missing, path)


def rebuild(session: Session) -> None:
    """Rebuild the results file from the run folders."""
    workspace = session.workspace.create()
    count = rebuild_database(workspace)
    results = counted(count, "result from the run folders is", "results from the run folders are")
    stdout.lines([f"{results} in {workspace.results}"])


def ranking_of(session: Session, view: RankView) -> Ranking:
    """The selected rows and columns. Raises ConsoleError for names that select nothing."""
    wanted = None
    if view.suite is not None:
        specs = session.tasks.select(suite=view.suite)
        of_paper = [(task, VARIANT) for task in published_tasks([spec.name for spec in specs])]
        wanted = of_paper if view.origin == "paper" else [(spec.name, spec.variant) for spec in specs]
    found = _results(session, view, wanted)
    if view.tasks:
        names = set(match(view.tasks, dict.fromkeys(r.task for r in found), "task with results"))
        found = [result for result in found if result.task in names]
        wanted = None if wanted is None else [place for place in wanted if place[0] in names]
    ranking = make_ranking(found, wanted)
    if view.backbones:
        chosen = match(view.backbones, [row.backbone for row in ranking.rows], "ranked backbone")
        ranking = pick_rows(ranking, [*chosen, *(f"{name}{PUBLISHED}" for name in chosen)])
    return _filtered(session, ranking, view.filter) if view.filter else ranking


def _filtered(session: Session, ranking: Ranking, text: str) -> Ranking:
    """The rows and columns that match. Raises ConsoleError for an unknown field, and when nothing matches."""
    cards, rows = session.backbones.cards, {}
    for row in ranking.rows:
        card = cards.get(unmarked(row.backbone))
        weights = "present" if card and session.weights.state(card).status == "present" else "missing"
        rows[row.backbone] = row_subject(row, backbone_subject(card, weights) if card else None)
    columns = {column.label: column_subject(column, _task(session, column)) for column in ranking.columns}
    found, unknown = filter_ranking(ranking, text, rows, columns)
    if unknown:
        fields = f"{ROW_FIELDS}, {RANKING_FIELDS}; {COLUMN_FIELDS}"
        raise ConsoleError(f"--filter {text!r}: no field {', '.join(unknown)}; the fields are {fields}")
    if not found.rows or not found.columns:
        raise ConsoleError(f"--filter {text!r}: no backbone or no task of the ranking matches")
    return found


def _task(session: Session, column: RankingColumn) -> Filterable | None:
    dataset = session.tasks.datasets.get(column.dataset)
    if dataset is None:
        return None
    data = presence(dataset, session.data_root).status
    return task_subject(column.task, column.protocol, dataset, "present" if data == "present" else "missing")


def _results(session: Session, view: RankView, wanted: Sequence[tuple[str, str]] | None) -> list[Result]:
    if view.origin == "paper":
        return list(published())
    own = session.badged_results()
    if view.origin == "mine":
        return own
    return with_published(own, all_published(), wanted, all_tasks=bool(view.tasks) or not own)


def _line(result: Result) -> tuple[str, ...]:
    return (
        result.run_id,
        result.backbone,
        result.task,
        result.variant,
        str(result.seed),
        f"{result.value:.2f}{marks(result.badges)}",
        f"{result.ci_low:.2f} to {result.ci_high:.2f}",
        size_text(result.n, unit_of(result.protocol_name)),
        f"{result.duration_s:.0f} s",
        datetime.fromtimestamp(result.finished).astimezone().strftime("%Y-%m-%d %H:%M"),
        ", ".join(f"imported: {result.origin}" if name == IMPORTED else name for name in result.badges),
    )
