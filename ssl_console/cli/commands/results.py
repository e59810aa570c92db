"""Commands about single results: their origin, their differences, and their reproduction."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssl_console.cli.command_group import EXIT_CODES, CommandGroup
from ssl_console.cli.commands.shared_options import AsJson

ResultName = Annotated[str, typer.Argument(metavar="RESULT", help="Id of a finished run, or a unique prefix.")]

results = typer.Typer(cls=CommandGroup, rich_markup_mode=None)


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
