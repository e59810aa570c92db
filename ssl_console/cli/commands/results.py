"""Commands about single results, and those that pass results on: bundles, tidy tables, reports, a server for agents."""

from __future__ import annotations

import typer

from ssl_console.cli.command_group import EXIT_CODES, CommandGroup
from ssl_console.cli.options import analysis, execution, names, outputs, program

results = typer.Typer(cls=CommandGroup, rich_markup_mode=None)
hand_over = typer.Typer(cls=CommandGroup, rich_markup_mode=None)


@results.command()
def show(context: typer.Context, result: names.ResultName, as_json: outputs.AsJson = False) -> None:
    """Show everything about a result: intervals, warnings, and what produced it."""
    from ssl_console.cli.handlers.results import show

    show(context.obj, result, as_json=as_json)


@results.command()
def why(
    context: typer.Context,
    first: names.FirstResult,
    second: names.SecondResult,
    as_json: outputs.AsJson = False,
) -> None:
    """Show what differs between two results, and whether it changes the score."""
    from ssl_console.cli.handlers.results import why

    why(context.obj, first, second, as_json=as_json)


@results.command(epilog=EXIT_CODES)
def reproduce(
    context: typer.Context,
    result: names.ResultName,
    fresh: execution.Fresh = False,
    within: execution.Within = 0.1,
    as_json: outputs.JsonLines = False,
) -> None:
    """Repeat a result from its own specification and compare the scores; exit code 1 when they differ."""
    from ssl_console.cli.handlers.results import reproduce

    raise typer.Exit(reproduce(context.obj, result, fresh=fresh, within=within, as_json=as_json))


@results.command()
def bundle(
    context: typer.Context,
    path: outputs.ZipFile,
    suite: names.BundleSuite = None,
    backbone: names.Backbones = None,
    task: names.Tasks = None,
    as_json: outputs.AsJson = False,
) -> None:
    """Write results with their predictions, manifests and tables to one verifiable file."""
    from ssl_console.cli.handlers.bundle import bundle

    bundle(context.obj, path, suite, tuple(backbone or ()), tuple(task or ()), as_json=as_json)


@results.command(epilog=EXIT_CODES)
def verify(path: outputs.BundleFile, as_json: outputs.AsJson = False) -> None:
    """Recompute every score and table of a bundle; exit code 1 when one disagrees."""
    from ssl_console.cli.handlers.bundle import verify

    raise typer.Exit(verify(path, as_json=as_json))


@results.command("import", epilog=EXIT_CODES)
def import_results(
    context: typer.Context,
    path: outputs.ForeignBundle,
    take_conflicting: outputs.TakeConflicting = False,
    dry_run: outputs.ImportDryRun = False,
    as_json: outputs.AsJson = False,
) -> None:
    """Verify a bundle and add its results to this workspace, marked as imported; exit code 1 when some are skipped."""
    from ssl_console.cli.handlers.bundle import import_results

    raise typer.Exit(
        import_results(context.obj, path, take_conflicting=take_conflicting, dry_run=dry_run, as_json=as_json)
    )


@hand_over.command()
def table(
    context: typer.Context,
    path: outputs.TableFile,
    suite: names.Suite = None,
    backbone: names.Backbones = None,
    task: names.Tasks = None,
    as_json: outputs.AsJson = False,
) -> None:
    """Write a tidy table: one row for each backbone, task, seed and metric, with provenance."""
    from ssl_console.cli.handlers.further_scores import ResultSelection
    from ssl_console.cli.handlers.hand_over import write_tidy_table

    selection = ResultSelection(suite, tuple(backbone or ()), tuple(task or ()))
    write_tidy_table(context.obj, path, selection, as_json=as_json)


@hand_over.command("model-page")
def model_page(
    context: typer.Context,
    backbone: names.MeasuredBackbone,
    path: outputs.PageFolder,
    benchmark: outputs.Benchmarks = None,
    source: outputs.SourceUrl = None,
    suite: names.Suite = None,
    task: names.Tasks = None,
    as_json: outputs.AsJson = False,
) -> None:
    """Write `.eval_results` files and a table for a model card of the Hugging Face hub. Nothing is uploaded."""
    from ssl_console.cli.handlers.further_scores import ResultSelection
    from ssl_console.cli.handlers.hand_over import write_page

    selection = ResultSelection(suite, (), tuple(task or ()))
    write_page(context.obj, backbone, path, tuple(benchmark or ()), source, selection, as_json=as_json)


@hand_over.command()
def report(
    context: typer.Context,
    path: outputs.HtmlFile,
    title: outputs.ReportTitle = "Evaluation",
    suite: names.Suite = None,
    backbone: names.Backbones = None,
    task: names.Tasks = None,
    source: analysis.Source = "mine",
    as_json: outputs.AsJson = False,
) -> None:
    """Write ranking, intervals, pictures and provenance as one HTML file that needs no network."""
    from ssl_console.cli.handlers.further_scores import ResultSelection
    from ssl_console.cli.handlers.hand_over import write_html_report

    selection = ResultSelection(suite, tuple(backbone or ()), tuple(task or ()))
    write_html_report(context.obj, path, title, selection, source, as_json=as_json)


@hand_over.command()
def mcp(context: typer.Context, allow_launch: program.AllowLaunch = None) -> None:
    """Serve this workspace to an agent over the Model Context Protocol, on standard input and output."""
    from ssl_console.cli.agent_server import serve_agent

    serve_agent(context.obj, allow_launch)
