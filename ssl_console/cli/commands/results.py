"""Commands about single results, and those that pass results on: bundles, tidy tables, reports, a server for agents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssl_console.cli.command_group import EXIT_CODES, AsJson, Backbones, CommandGroup, Source, Suite, Tasks

ResultName = Annotated[str, typer.Argument(metavar="RESULT", help="Id of a finished run, or a unique prefix.")]

results = typer.Typer(cls=CommandGroup, rich_markup_mode=None)
hand_over = typer.Typer(cls=CommandGroup, rich_markup_mode=None)


@results.command()
def show(context: typer.Context, result: ResultName, as_json: AsJson = False) -> None:
    """Show everything about a result: intervals, warnings, and what produced it."""
    from ssl_console.cli.handlers.results import show

    show(context.obj, result, as_json=as_json)


@results.command()
def why(
    context: typer.Context,
    first: Annotated[str, typer.Argument(metavar="RESULT1", help="Id of a finished run, or a unique prefix.")],
    second: Annotated[str, typer.Argument(metavar="RESULT2", help="Another.")],
    as_json: AsJson = False,
) -> None:
    """Show what differs between two results, and whether it changes the score."""
    from ssl_console.cli.handlers.results import why

    why(context.obj, first, second, as_json=as_json)


@results.command(epilog=EXIT_CODES)
def reproduce(
    context: typer.Context,
    result: ResultName,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Encode the images again, instead of taking stored features.")
    ] = False,
    within: Annotated[
        float, typer.Option("--within", metavar="POINTS", min=0.0, help="Tolerance of a reproduced score.")
    ] = 0.1,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines on standard output.")] = False,
) -> None:
    """Repeat a result from its own specification and compare the scores; exit code 1 when they differ."""
    from ssl_console.cli.handlers.results import reproduce

    raise typer.Exit(reproduce(context.obj, result, fresh=fresh, within=within, as_json=as_json))


@results.command()
def bundle(
    context: typer.Context,
    path: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The zip file to write.")],
    suite: Annotated[str | None, typer.Option("--suite", metavar="S", help="Only the tasks of a suite.")] = None,
    backbone: Annotated[
        list[str] | None, typer.Option("-b", "--backbone", metavar="NAME", help="A backbone or a glob; may repeat.")
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option("-t", "--task", metavar="TASK", help="A task or a glob; may repeat.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write results with their predictions, manifests and tables to one verifiable file."""
    from ssl_console.cli.handlers.bundle import bundle

    bundle(context.obj, path, suite, tuple(backbone or ()), tuple(task or ()), as_json=as_json)


@results.command(epilog=EXIT_CODES)
def verify(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A bundle.")],
    as_json: AsJson = False,
) -> None:
    """Recompute every score and table of a bundle; exit code 1 when one disagrees."""
    from ssl_console.cli.handlers.bundle import verify

    raise typer.Exit(verify(path, as_json=as_json))


@results.command("import", epilog=EXIT_CODES)
def import_results(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A bundle of another workspace.")],
    take_conflicting: Annotated[
        bool,
        typer.Option("--take-conflicting", help="Also import results that conflict with a local score."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report what would be imported.")] = False,
    as_json: AsJson = False,
) -> None:
    """Verify a bundle and add its results to this workspace, marked as imported; exit code 1 when some are skipped."""
    from ssl_console.cli.handlers.bundle import import_results

    raise typer.Exit(
        import_results(context.obj, path, take_conflicting=take_conflicting, dry_run=dry_run, as_json=as_json)
    )


@hand_over.command()
def table(
    context: typer.Context,
    path: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="A new file, .csv or .parquet.")],
    suite: Suite = None,
    backbone: Backbones = None,
    task: Tasks = None,
    as_json: AsJson = False,
) -> None:
    """Write a tidy table: one row for each backbone, task, seed and metric, with provenance."""
    from ssl_console.cli.handlers.further_scores import ResultSelection
    from ssl_console.cli.handlers.hand_over import write_tidy_table

    selection = ResultSelection(suite, tuple(backbone or ()), tuple(task or ()))
    write_tidy_table(context.obj, path, selection, as_json=as_json)


@hand_over.command("model-page")
def model_page(
    context: typer.Context,
    backbone: Annotated[str, typer.Argument(metavar="BACKBONE", help="A backbone with results.")],
    path: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder to write into.")],
    benchmark: Annotated[
        list[str] | None,
        typer.Option(
            "--benchmark",
            metavar="DATASET=ORG/NAME[:TASK]",
            help="Benchmark of the hub for a dataset of this workspace; may repeat.",
        ),
    ] = None,
    source: Annotated[
        str | None, typer.Option("--source-url", metavar="URL", help="Address that documents the results.")
    ] = None,
    suite: Suite = None,
    task: Tasks = None,
    as_json: AsJson = False,
) -> None:
    """Write `.eval_results` files and a table for a model card of the Hugging Face hub. Nothing is uploaded."""
    from ssl_console.cli.handlers.further_scores import ResultSelection
    from ssl_console.cli.handlers.hand_over import write_page

    selection = ResultSelection(suite, (), tuple(task or ()))
    write_page(context.obj, backbone, path, tuple(benchmark or ()), source, selection, as_json=as_json)


@hand_over.command()
def report(
    context: typer.Context,
    path: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="A new file, .html.")],
    title: Annotated[str, typer.Option("--title", metavar="TEXT", help="Heading of the report.")] = "Evaluation",
    suite: Suite = None,
    backbone: Backbones = None,
    task: Tasks = None,
    source: Source = "mine",
    as_json: AsJson = False,
) -> None:
    """Write ranking, intervals, pictures and provenance as one HTML file that needs no network."""
    from ssl_console.cli.handlers.further_scores import ResultSelection
    from ssl_console.cli.handlers.hand_over import write_html_report

    selection = ResultSelection(suite, tuple(backbone or ()), tuple(task or ()))
    write_html_report(context.obj, path, title, selection, source, as_json=as_json)


@hand_over.command()
def mcp(
    context: typer.Context,
    allow_launch: Annotated[
        float | None,
        typer.Option(
            "--allow-launch", metavar="HOURS", min=0.0, help="Also offer run and cancel, up to this expected duration."
        ),
    ] = None,
) -> None:
    """Serve this workspace to an agent over the Model Context Protocol, on standard input and output."""
    from ssl_console.cli.agent_server import serve_agent

    serve_agent(context.obj, allow_launch)
