"""Commands about many results: the list, the ranking, comparisons, correlations, similarities, the multiverse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import typer

from ssl_console.cli.command_group import CommandGroup
from ssl_console.cli.options import analysis, execution, names, outputs

ranking = typer.Typer(cls=CommandGroup, rich_markup_mode=None)
analyses = typer.Typer(cls=CommandGroup, rich_markup_mode=None)
ledger = typer.Typer(
    cls=CommandGroup, rich_markup_mode=None, no_args_is_help=True, help="Published scores, and boards to add to them."
)


@ranking.command()
def results(context: typer.Context, as_json: outputs.AsJson = False) -> None:
    """List the results."""
    from ssl_console.cli.handlers.rank import results

    results(context.obj, as_json=as_json)


@ranking.command()
def rank(
    context: typer.Context,
    suite: names.Suite = None,
    backbone: names.Backbones = None,
    task: names.Tasks = None,
    sort: analysis.SortColumn = None,
    terms: analysis.FilterTerms = "",
    as_json: outputs.AsJson = False,
    csv: outputs.AsCsv = False,
    markdown: outputs.AsMarkdown = False,
    latex: outputs.AsLatex = False,
    source: analysis.Source = "mine",
    intervals: analysis.Intervals = False,
    missing: analysis.MissingScores = "complete",
    figure: analysis.Figure = None,
    optimism: analysis.Optimism = False,
    shifts: analysis.Shifts = False,
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
    first: names.ComparedBackbone,
    second: names.OtherBackbone = None,
    suite: names.Suite = None,
    margin: analysis.Margins = None,
    published: analysis.AgainstPublished = False,
    figure: analysis.Figure = None,
    as_json: outputs.AsJson = False,
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
    context: typer.Context, backbone: names.Backbones = None, task: names.Tasks = None, as_json: outputs.AsJson = False
) -> None:
    """List published scores with protocol, split of selection and source."""
    from ssl_console.cli.handlers.published import list_ledger

    list_ledger(context.obj, tuple(backbone or ()), tuple(task or ()), as_json=as_json)


@ledger.command("add")
def ledger_add(context: typer.Context, file: outputs.BoardFile, as_json: outputs.AsJson = False) -> None:
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
    source: analysis.Source = "paper",
    score: analysis.OwnScore = None,
    as_json: outputs.AsJson = False,
    figure: analysis.Figure = None,
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
    dataset: names.DatasetWithFeatures,
    backbone: names.MeasuredBackbones = None,
    as_json: outputs.AsJson = False,
) -> None:
    """Compare the stored features of backbones: CKA and mutual nearest neighbours of every pair."""
    from ssl_console.cli.handlers.analyses import similarity

    similarity(context.obj, dataset, tuple(backbone or ()), as_json=as_json)


@analyses.command("patch-maps")
def patch_maps(
    context: typer.Context,
    dataset: names.PatchMapDataset,
    backbone: names.MeasuredBackbones = None,
    output: outputs.PngFile = Path("patch-maps.png"),
    as_json: outputs.AsJson = False,
) -> None:
    """Draw principal components of patch features of several backbones next to each other, in colours of one space."""
    from ssl_console.cli.handlers.analyses import show_patch_maps

    show_patch_maps(context.obj, dataset, tuple(backbone or ()), output, as_json=as_json)


@analyses.command("layer-curve")
def layer_curve(
    context: typer.Context,
    dataset: names.LayerCurveDatasets = None,
    backbone: names.MeasuredBackbones = None,
    as_json: outputs.AsJson = False,
) -> None:
    """Show the score by depth and pooling of every backbone measured by layers/."""
    from ssl_console.cli.handlers.analyses import layer_curves

    layer_curves(context.obj, tuple(dataset or ()), tuple(backbone or ()), as_json=as_json)


@analyses.command()
def multiverse(
    context: typer.Context,
    data: names.MultiverseData,
    backbone: names.BackbonesWithFeatures = None,
    card: analysis.MultiverseCard = None,
    seed: execution.MultiverseSeeds = None,
    figure: analysis.MultiverseFigure = None,
    as_json: outputs.AsJson = False,
) -> None:
    """Evaluate stored features under all reasonable protocols, and report in how many a backbone is ahead."""
    from ssl_console.cli.handlers.analyses import show_multiverse

    show_multiverse(context.obj, tuple(backbone or ()), data, card, tuple(seed or ()), figure, as_json=as_json)
