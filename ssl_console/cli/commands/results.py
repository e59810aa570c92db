"""Commands about single results: what they are, why they differ, and whether they can be repeated."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssl_console.cli.command_group import EXIT_CODES, CommandGroup

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
ResultName = Annotated[str, typer.Argument(metavar="RESULT", help="A finished run's id, or the beginning of one.")]

results = typer.Typer(cls=CommandGroup, rich_markup_mode=None)


@results.command()
def show(context: typer.Context, result: ResultName, as_json: AsJson = False) -> None:
    """Show everything about a result: intervals, reasons to doubt it, and what it is made of."""
    from ssl_console.cli.handlers.results import show

    show(context.obj, result, as_json=as_json)


@results.command()
def why(
    context: typer.Context,
    first: Annotated[str, typer.Argument(metavar="RESULT1", help="A finished run's id, or the beginning of one.")],
    second: Annotated[str, typer.Argument(metavar="RESULT2", help="Another.")],
    as_json: AsJson = False,
) -> None:
    """Say what differs between two results, and whether it changes the number."""
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
        float, typer.Option("--within", metavar="POINTS", min=0.0, help="How far off still counts as repeated.")
    ] = 0.1,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines on standard output.")] = False,
) -> None:
    """Run a result again, exactly as it was, and compare: exit code 1 when the number differs."""
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
    """Put results with their predictions, manifests and tables into one file that anybody can verify."""
    from ssl_console.cli.handlers.bundle import bundle

    bundle(context.obj, path, suite, tuple(backbone or ()), tuple(task or ()), as_json=as_json)


@results.command(epilog=EXIT_CODES)
def verify(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A bundle.")],
    as_json: AsJson = False,
) -> None:
    """Count every score and table of a bundle again: exit code 1 when one does not agree."""
    from ssl_console.cli.handlers.bundle import verify

    raise typer.Exit(verify(path, as_json=as_json))


@results.command("import", epilog=EXIT_CODES)
def import_results(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A bundle of another workspace.")],
    take_conflicting: Annotated[
        bool,
        typer.Option("--take-conflicting", help="Import results too whose measurement gave another score here."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be imported.")] = False,
    as_json: AsJson = False,
) -> None:
    """Verify a bundle and add its results to this workspace, marked as imported: exit code 1 when some are left out."""
    from ssl_console.cli.handlers.bundle import import_results

    raise typer.Exit(
        import_results(context.obj, path, take_conflicting=take_conflicting, dry_run=dry_run, as_json=as_json)
    )
