"""Commands about all results: the list, the ranking, and comparisons of two backbones."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from ssl_console.cli.command_group import CommandGroup
from ssl_console.cli.commands.shared_options import AsJson, Backbones, Figure, Source, Suite, Tasks

ranking = typer.Typer(cls=CommandGroup, rich_markup_mode=None)


@ranking.command()
def results(context: typer.Context, as_json: AsJson = False) -> None:
    """List the results."""
    from ssl_console.cli.handlers.rank import results

    results(context.obj, as_json=as_json)


@ranking.command()
def rank(
    context: typer.Context,
    suite: Suite = None,
    backbone: Backbones = None,
    task: Tasks = None,
    sort: Annotated[
        str | None,
        typer.Option(
            "--sort", metavar="COLUMN", help="A task, backbone, estimate, mean, mean_log_odds, mean_rank or win_rate."
        ),
    ] = None,
    terms: Annotated[
        str,
        typer.Option(
            "--filter", metavar="TERMS", help="Rows and columns, e.g. 'family:dino score:linear/dtd>70 or mae'."
        ),
    ] = "",
    as_json: AsJson = False,
    csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="A Markdown table.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="A LaTeX booktabs table.")] = False,
    source: Source = "mine",
    intervals: Annotated[
        bool, typer.Option("--intervals", help="Confidence intervals of the ranks, and ties.")
    ] = False,
    missing: Annotated[
        str,
        typer.Option(
            "--missing", metavar="M", help="complete, common or (with --intervals) drawn: rows and tasks that count."
        ),
    ] = "complete",
    figure: Figure = None,
    optimism: Annotated[
        bool,
        typer.Option("--optimism", help="How much higher scores would be if settings were chosen on the test images."),
    ] = False,
    shifts: Annotated[
        bool, typer.Option("--shifts", help="Scores of robustness tasks: a column for each shift, and the drop.")
    ] = False,
) -> None:
    """Rank the backbones over the tasks."""
    from ssl_console.cli.handlers.rank import RankView, rank, rank_further, rank_intervals, rank_picture

    formats = {"json": as_json, "csv": csv, "markdown": markdown, "latex": latex}
    chosen = [name for name, wanted in formats.items() if wanted]
    view = replace(RankView.of(suite, backbone, task, sort, chosen, source), missing=missing, filter=terms)
    if figure is not None:
        rank_picture(context.obj, view, figure)
    elif optimism or shifts:
        rank_further(context.obj, view, "optimism" if optimism else "shifts")
    elif intervals:
        rank_intervals(context.obj, view)
    else:
        rank(context.obj, view)


@ranking.command()
def compare(
    context: typer.Context,
    first: Annotated[str, typer.Argument(metavar="A", help="A backbone with results.")],
    second: Annotated[
        str | None, typer.Argument(metavar="B", help="Another, or `published`: the published scores of A.")
    ] = None,
    suite: Suite = None,
    margin: Annotated[
        list[str] | None,
        typer.Option("--margin", metavar="METRIC=SIZE", help="Largest difference that counts as equal."),
    ] = None,
    published: Annotated[
        bool,
        typer.Option(
            "--published", help="Own scores against the published ones of the same protocol; A may be a glob."
        ),
    ] = False,
    figure: Figure = None,
    as_json: AsJson = False,
) -> None:
    """Test whether A is better than B, on every task by its samples and over all tasks; or against published scores."""
    from ssl_console.cli.command_group import margins
    from ssl_console.cli.handlers.compare import compare_backbones, needs_second

    if published:
        from ssl_console.cli.handlers.published import show_ledger

        show_ledger(context.obj, first, second, suite, figure, as_json=as_json)
        return
    if second is None or figure is not None:
        raise needs_second(figure)
    compare_backbones(context.obj, first, second, suite, margins(margin or ()), as_json=as_json)


@ranking.command()
def rebuild(context: typer.Context) -> None:
    """Rebuild the results file from the run folders."""
    from ssl_console.cli.handlers.rank import rebuild

    rebuild(context.obj)
