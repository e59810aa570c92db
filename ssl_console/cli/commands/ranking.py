"""Commands about many results: the list, the ranking, comparisons, correlations, similarities, the multiverse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ssl_console.cli.command_group import AsJson, Backbones, CommandGroup, Figure, Source, Suite, Tasks

ranking = typer.Typer(cls=CommandGroup, rich_markup_mode=None)
analyses = typer.Typer(cls=CommandGroup, rich_markup_mode=None)
ledger = typer.Typer(
    cls=CommandGroup, rich_markup_mode=None, no_args_is_help=True, help="Published scores, and boards to add to them."
)


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
            "--missing", metavar="M", help="complete, common or (with --intervals) drawn: the rows and tasks included."
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
    """Test whether A is better than B, on every task (paired by sample) and over all tasks; or compare A with published
    scores.
    """
    from ssl_console.cli.command_group import margins
    from ssl_console.cli.handlers.compare import compare_backbones, needs_second

    if published:
        from ssl_console.cli.handlers.published import show_ledger

        show_ledger(context.obj, first, second, suite, figure, as_json=as_json)
        return
    if second is None or figure is not None:
        raise needs_second(figure)
    compare_backbones(context.obj, first, second, suite, margins(margin or ()), as_json=as_json)


@ledger.command("list")
def ledger_list(
    context: typer.Context, backbone: Backbones = None, task: Tasks = None, as_json: AsJson = False
) -> None:
    """List published scores with protocol, split of selection and source."""
    from ssl_console.cli.handlers.published import list_ledger

    list_ledger(context.obj, tuple(backbone or ()), tuple(task or ()), as_json=as_json)


@ledger.command("add")
def ledger_add(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="results.csv of the attentive board, results-*.csv of timm, or JSON.")
    ],
    as_json: AsJson = False,
) -> None:
    """Add a board to the published scores of this workspace."""
    from ssl_console.cli.handlers.published import add_to_ledger

    add_to_ledger(context.obj, file, as_json=as_json)


@ranking.command()
def rebuild(context: typer.Context) -> None:
    """Rebuild the results file from the run folders."""
    from ssl_console.cli.handlers.rank import rebuild

    rebuild(context.obj)


@analyses.command()
def correlate(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Option("--source", metavar="S", help="mine (measured here), paper (published), or both side by side."),
    ] = "paper",
    score: Annotated[
        str | None,
        typer.Option(
            "--with", metavar="SCORE", help="Own results with logme, rankme, ... or a protocol (knn) instead."
        ),
    ] = None,
    as_json: AsJson = False,
    figure: Annotated[
        Path | None, typer.Option("--figure", metavar="FILE", help="Write a figure (.svg, .png or .pdf) instead.")
    ] = None,
) -> None:
    """Correlate ImageNet accuracy, or a score that needs no training, with transfer."""
    from ssl_console.cli.handlers.analyses import correlate, correlate_score, correlation_picture

    if score is not None:
        correlate_score(context.obj, score, as_json=as_json)
    elif figure is not None:
        correlation_picture(context.obj, source, figure)
    else:
        correlate(context.obj, source, as_json=as_json)


@analyses.command()
def similarity(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="A dataset with stored features.")],
    backbone: Annotated[
        list[str] | None, typer.Option("-b", "--backbone", metavar="NAME", help="A backbone; may repeat. Default: all.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare the stored features of backbones: CKA and mutual nearest neighbours of every pair."""
    from ssl_console.cli.handlers.analyses import similarity

    similarity(context.obj, dataset, tuple(backbone or ()), as_json=as_json)


@analyses.command("patch-maps")
def patch_maps(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="A dataset measured by patch-pca/.")],
    backbone: Annotated[
        list[str] | None, typer.Option("-b", "--backbone", metavar="NAME", help="A backbone; may repeat. Default: all.")
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The PNG file.")] = Path(
        "patch-maps.png"
    ),
    as_json: AsJson = False,
) -> None:
    """Draw principal components of patch features of several backbones next to each other, in colours of one space."""
    from ssl_console.cli.handlers.analyses import show_patch_maps

    show_patch_maps(context.obj, dataset, tuple(backbone or ()), output, as_json=as_json)


@analyses.command("layer-curve")
def layer_curve(
    context: typer.Context,
    dataset: Annotated[
        list[str] | None, typer.Argument(metavar="DATASET", help="Datasets measured by layers/. Default: all.")
    ] = None,
    backbone: Annotated[
        list[str] | None, typer.Option("-b", "--backbone", metavar="NAME", help="A backbone; may repeat. Default: all.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the score by depth and pooling of every backbone measured by layers/."""
    from ssl_console.cli.handlers.analyses import layer_curves

    layer_curves(context.obj, tuple(dataset or ()), tuple(backbone or ()), as_json=as_json)


@analyses.command()
def multiverse(
    context: typer.Context,
    data: Annotated[str, typer.Option("--data", metavar="DATASET", help="A dataset with stored features.")],
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            "-b", "--backbone", metavar="NAME", help="A backbone or a glob; may repeat. Default: all with features."
        ),
    ] = None,
    card: Annotated[
        Path | None,
        typer.Option("--card", metavar="FILE", help="TOML file of poolings, blocks, heads and seeds to combine."),
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option("--seed", metavar="N", min=0, help="A seed; may repeat. Default: 0 to 4.")
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option("--figure", metavar="FILE", help="Also write the specification curve (.svg, .png or .pdf)."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate stored features under all reasonable protocols, and report in how many a backbone is ahead."""
    from ssl_console.cli.handlers.analyses import show_multiverse

    show_multiverse(context.obj, tuple(backbone or ()), data, card, tuple(seed or ()), figure, as_json=as_json)
