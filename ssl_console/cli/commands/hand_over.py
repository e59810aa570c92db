"""Commands that pass results on: a tidy table, files of a model page, an HTML report, a server for agents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssl_console.cli.command_group import CommandGroup
from ssl_console.cli.commands.shared_options import AsJson, Backbones, Source, Suite, Tasks

hand_over = typer.Typer(cls=CommandGroup, rich_markup_mode=None)


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
            help="The benchmark of the hub that a dataset here is; may repeat.",
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
    """Serve this workspace to an agent by the Model Context Protocol, on standard input and output."""
    from ssl_console.cli.agent_server import serve_agent

    serve_agent(context.obj, allow_launch)
