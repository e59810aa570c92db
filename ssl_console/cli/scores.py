"""`results`, `rank` and `rebuild`: what the database holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from backbones.cardfile import match
from ssl_console.cli import output
from ssl_console.cli.session import Session
from ssl_console.errors import ConsoleError
from ssl_console.export import EXPORTS, INCOMPLETE, Format, to_text
from ssl_console.ranking import Ranking, pick_rows, sort_rows
from ssl_console.ranking import rank as make_ranking
from ssl_console.reference import PUBLISHED, beside, published
from ssl_console.reference.tables import VARIANT
from ssl_console.result import Result
from ssl_console.store import rebuild as rebuild_database

Origin = Literal["mine", "paper", "both"]


@dataclass(frozen=True)
class View:
    """Which table is wanted, and as what."""

    suite: str | None = None
    backbones: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    sort: str | None = None
    format: Format | None = None
    origin: Origin = "mine"
    """Whose numbers: measured here, published, or the ones beside the others."""

    @classmethod
    def of(
        cls,
        suite: str | None,
        backbones: Sequence[str] | None,
        tasks: Sequence[str] | None,
        sort: str | None,
        formats: Sequence[str],
        source: str = "mine",
    ) -> View:
        """From option values. Raises ConsoleError when several formats are asked for, or the source does not exist."""
        if len(formats) > 1:
            raise ConsoleError(f"{' and '.join(f'--{name}' for name in formats)}: one format at a time")
        chosen: Format | None = next((name for name in EXPORTS if name in formats), None)
        return cls(suite, tuple(backbones or ()), tuple(tasks or ()), sort, chosen, origin_of(source))


def origin_of(source: str) -> Origin:
    """The option's value. Raises ConsoleError for any other word."""
    found: Origin | None = next((origin for origin in get_args(Origin) if origin == source), None)
    if found is None:
        raise ConsoleError(f"--source {source}: it is one of {', '.join(get_args(Origin))}")
    return found


def results(session: Session, *, as_json: bool) -> None:
    """List the results, newest last."""
    found = sorted(session.results(), key=lambda result: result.finished)
    if as_json:
        output.document({"results": [result.model_dump(mode="json") for result in found]})
        return
    head = ("run", "backbone", "task", "variant", "seed", "score", "interval", "n", "took", "finished")
    output.table(head, [_line(result) for result in found], right=frozenset({4, 5, 7, 8}))


def rank(session: Session, view: View) -> None:
    """Print the ranking table."""
    ranking = _ranking(session, view)
    if view.format is not None:
        output.data(EXPORTS[view.format](ranking))
        return
    if not ranking.rows:
        output.say("there are no results yet: `ssl-console demo` makes some, `ssl-console run` others")
        return
    output.data(to_text(ranking, output.terminal_columns()))
    if view.origin == "both" and not any(row.backbone.endswith(PUBLISHED) for row in ranking.rows):
        output.say("nothing is published for these; `ssl-console rank --source paper` shows what is")
    if ranking.incomplete:
        output.say(
            f"{INCOMPLETE} {ranking.incomplete} of {len(ranking.rows)} rows miss a score, and have no mean and no mean "
            "rank; --suite or -t choose the columns to compare on"
        )


def rank_intervals(session: Session, view: View, missing: str) -> None:
    """Print how certain the ranks are. Raises ConsoleError for a format that has no such table."""
    from ssl_console.cli.rank_intervals import show_rank_intervals

    if view.format not in {None, "json"}:
        raise ConsoleError(f"--intervals is a table or --json, not --{view.format}")
    show_rank_intervals(session, _ranking(session, view), missing, as_json=view.format == "json")


def rebuild(session: Session) -> None:
    """Make the results file again from the run folders."""
    workspace = session.workspace.create()
    count = rebuild_database(workspace)
    output.lines([f"{count} results from the run folders are in {workspace.results}"])


def _ranking(session: Session, view: View) -> Ranking:
    wanted = None
    if view.suite is not None:
        specs = session.tasks.select(suite=view.suite)
        wanted = [(spec.name, VARIANT if view.origin == "paper" else spec.variant) for spec in specs]
    found = _results(session, view, wanted)
    if view.tasks:
        names = set(match(view.tasks, dict.fromkeys(r.task for r in found), "task with results"))
        found = [result for result in found if result.task in names]
        wanted = None if wanted is None else [place for place in wanted if place[0] in names]
    ranking = make_ranking(found, wanted)
    if view.backbones:
        chosen = match(view.backbones, [row.backbone for row in ranking.rows], "ranked backbone")
        ranking = pick_rows(ranking, [*chosen, *(f"{name}{PUBLISHED}" for name in chosen)])
    return ranking if view.sort is None else sort_rows(ranking, view.sort)


def _results(session: Session, view: View, wanted: Sequence[tuple[str, str]] | None) -> list[Result]:
    if view.origin == "paper":
        return list(published())
    own = session.results()
    if view.origin == "mine":
        return own
    return beside(own, published(), wanted, all_tasks=bool(view.tasks) or not own)


def _line(result: Result) -> tuple[str, ...]:
    return (
        result.run_id,
        result.backbone,
        result.task,
        result.variant,
        str(result.seed),
        f"{result.value:.2f}",
        f"{result.ci_low:.2f} to {result.ci_high:.2f}",
        f"{result.n:,}",
        f"{result.duration_s:.0f} s",
        datetime.fromtimestamp(result.finished).astimezone().strftime("%Y-%m-%d %H:%M"),
    )
