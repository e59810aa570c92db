"""The commands with their options and help. The handler of a command is imported when the command runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ssl_console.cli.command_group import (
    EXIT_CODES,
    AsJson,
    Backbones,
    CommandGroup,
    DevicesChoice,
    DevicesPerRunChoice,
    Follow,
    JsonLines,
    LauncherChoice,
    PrecisionChoice,
    Preset,
    RunName,
    Seeds,
    Settings,
    SharingChoice,
    Suite,
    Tasks,
    TestAlso,
)
from ssl_console.cli.commands.add import add, copy, edit, remove, rename
from ssl_console.cli.commands.over_time import over_time
from ssl_console.cli.commands.ranking import analyses, ledger, ranking
from ssl_console.cli.commands.results import hand_over
from ssl_console.cli.commands.results import results as of_results
from ssl_console.cli.commands.stores import cache, completion_app, data, features_app, listings, weights
from ssl_console.cli.commands.verdicts import verdicts
from ssl_console.operations.session import Session

app = typer.Typer(
    cls=CommandGroup,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Evaluate vision backbones on transfer tasks in worker processes, and rank the results.",
    epilog=EXIT_CODES,
)
app.add_typer(add, name="add")
app.add_typer(weights, name="weights")
app.add_typer(data, name="data")
app.add_typer(cache, name="cache")
app.add_typer(edit, name="edit")
app.add_typer(rename, name="rename")
app.add_typer(copy, name="copy")
app.add_typer(remove, name="remove")
app.add_typer(ledger, name="ledger")
app.add_typer(completion_app)
app.add_typer(listings)
app.add_typer(features_app)
app.add_typer(ranking)
app.add_typer(of_results)
app.add_typer(hand_over)
app.add_typer(over_time)
app.add_typer(analyses)
app.add_typer(verdicts)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    workspace: Annotated[
        Path | None,
        typer.Option(
            "--workspace",
            readable=False,
            metavar="DIR",
            help="Folder of runs and results; also $SSL_CONSOLE_WORKSPACE.",
        ),
    ] = None,
    cards: Annotated[
        list[Path] | None, typer.Option("--cards", metavar="DIR", help="An additional folder of cards; may repeat.")
    ] = None,
    readonly: Annotated[bool, typer.Option("--readonly", help="Open the terminal app read-only.")] = False,
    slow: Annotated[bool, typer.Option("--slow", help="Open the terminal app for a slow link.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Evaluate vision backbones on transfer tasks in worker processes, and rank the results."""
    from ssl_console.cli.output.stdout import say

    context.obj = Session(workspace, tuple(cards or ()), readonly=readonly, slow=slow, notify=say)
    if version:
        from ssl_console._version import __version__
        from ssl_console.cli.output.stdout import lines

        lines([f"ssl-console {__version__}"])
        raise typer.Exit
    if context.invoked_subcommand is None:
        from ssl_console.cli.open_tui import open_terminal

        raise typer.Exit(open_terminal(context.obj, context.get_help()))


@app.command()
def demo(
    context: typer.Context,
    headless: Annotated[bool, typer.Option("--headless", help="Without the terminal app.")] = False,
    launcher: LauncherChoice = None,
) -> None:
    """Evaluate the demo backbones on the demo suite."""
    from ssl_console.cli.handlers.run import demo

    raise typer.Exit(demo(context.obj, launcher, headless=headless))


@app.command()
def serve(
    context: typer.Context,
    host: Annotated[str, typer.Option("--host", metavar="H", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="P", min=1, max=65535, help="Port to listen on.")] = 8000,
    socket: Annotated[
        Path | None,
        typer.Option("--socket", metavar="PATH", help="Unix socket in a private folder, for ssh -L; recommended."),
    ] = None,
    readonly: Annotated[bool, typer.Option("--readonly", help="Serve read-only.")] = False,
    token: Annotated[
        bool, typer.Option("--token/--no-token", help="Require the secret of the printed address.")
    ] = True,
    open_to_all_users: Annotated[
        bool, typer.Option("--open-to-all-users", help="With --no-token: every user of this machine may act as you.")
    ] = False,
) -> None:
    """Show the terminal app in a browser, by default at a secret address on this machine only."""
    from ssl_console.cli.handlers.serve import ServeOptions, serve

    options = ServeOptions(host, port, socket, readonly=readonly, token=token, open_to_all_users=open_to_all_users)
    serve(context.obj, options)


@app.command()
def clean(
    context: typer.Context,
    older: Annotated[
        str, typer.Option("--older", metavar="AGE", help="Minimum time since the end of a run: 90d, 12w or 6h.")
    ],
    keep_best: Annotated[
        bool, typer.Option("--keep-best", help="Also remove results, except each backbone's best on each task.")
    ] = False,
    results: Annotated[bool, typer.Option("--results", help="Also remove all results of that age.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report what would be removed.")] = False,
) -> None:
    """Remove runs that ended long ago. Without further options: failed and cancelled ones."""
    from ssl_console.cli.handlers.cache import clean

    clean(context.obj, older, "best" if keep_best else "none" if results else "all", dry_run=dry_run)


@app.command()
def plan(
    context: typer.Context,
    backbone: Backbones = None,
    task: Tasks = None,
    suite: Suite = None,
    seed: Seeds = None,
    setting: Settings = None,
    preset: Preset = None,
    test_also: TestAlso = None,
    launcher: LauncherChoice = None,
    as_json: AsJson = False,
) -> None:
    """Show what `run` would do, and how long it would take."""
    from ssl_console.cli.handlers.run import RunSelection, plan

    selection = RunSelection.of(backbone, task, suite, seed, setting, preset).with_test_sets(context.obj, test_also)
    plan(context.obj, selection, launcher, as_json=as_json)


@app.command(epilog=EXIT_CODES)
def run(
    context: typer.Context,
    backbone: Backbones = None,
    task: Tasks = None,
    suite: Suite = None,
    seed: Seeds = None,
    setting: Settings = None,
    preset: Preset = None,
    test_also: TestAlso = None,
    devices: DevicesChoice = None,
    launcher: LauncherChoice = None,
    share: SharingChoice = None,
    devices_per_run: DevicesPerRunChoice = None,
    precision: PrecisionChoice = "float32",
    detach: Annotated[bool, typer.Option("--detach", help="Start the runs and return at once.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Repeat finished runs.")] = False,
    override: Annotated[
        bool, typer.Option("--override", help="Run what the doctor refuses, and mark every result.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Both: --again and --override.")] = False,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Skip runs with missing weights or data.")
    ] = False,
    as_json: JsonLines = False,
) -> None:
    """Start the runs that are not done yet, and follow them. Ctrl-C stops following, not the runs."""
    from ssl_console.cli.handlers.run import RunOptions, RunSelection, run

    selection = RunSelection.of(backbone, task, suite, seed, setting, preset).with_test_sets(context.obj, test_also)
    chosen = RunOptions.of(devices, launcher, precision, share, devices_per_run, detach=detach, as_json=as_json)
    options = replace(chosen, skip_missing=skip_missing, again=again or force, override=override or force)
    raise typer.Exit(run(context.obj, selection, options))


@app.command()
def runs(
    context: typer.Context,
    state: Annotated[
        str | None,
        typer.Option("--state", metavar="S", help="queued, starting, running, done, failed or cancelled."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the runs and their states."""
    from ssl_console.cli.handlers.runs import runs

    runs(context.obj, state, as_json=as_json)


@app.command()
def logs(context: typer.Context, run: RunName, follow: Follow = False) -> None:
    """Print the log of a run."""
    from ssl_console.cli.handlers.runs import logs

    logs(context.obj, run, follow=follow)


@app.command()
def events(context: typer.Context, run: RunName, follow: Follow = False) -> None:
    """Print a run's events as JSON lines."""
    from ssl_console.cli.handlers.runs import events

    events(context.obj, run, follow=follow)


@app.command()
def cancel(
    context: typer.Context,
    run: Annotated[list[str] | None, typer.Argument(metavar="RUN", help="Run ids.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every unfinished run.")] = False,
) -> None:
    """Cancel queued or active runs."""
    from ssl_console.cli.handlers.runs import cancel

    cancel(context.obj, tuple(run or ()), every=every)


@app.command()
def retry(
    context: typer.Context,
    run: Annotated[list[str] | None, typer.Argument(metavar="RUN", help="Run ids.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Every failed run.")] = False,
) -> None:
    """Repeat failed or cancelled runs."""
    from ssl_console.cli.handlers.runs import retry

    retry(context.obj, tuple(run or ()), failed=failed)


@app.command()
def pause(context: typer.Context) -> None:
    """Start no more runs; active ones continue."""
    from ssl_console.cli.handlers.runs import pause

    pause(context.obj)


@app.command()
def resume(context: typer.Context) -> None:
    """Start runs again after `pause`."""
    from ssl_console.cli.handlers.runs import resume

    resume(context.obj)


@app.command(epilog=EXIT_CODES)
def doctor(
    context: typer.Context,
    name: Annotated[
        list[str] | None, typer.Argument(metavar="BACKBONE|TASK", help="Backbones, tasks or datasets to examine.")
    ] = None,
    published: Annotated[
        bool, typer.Option("--published", help="Fetch three backbones and a dataset, and reproduce published scores.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check the installation, the devices and the workspace; or examine backbones and tasks."""
    from ssl_console.cli.handlers.doctor import doctor, examine

    if published:
        from ssl_console.cli.handlers.published import check_published

        raise typer.Exit(check_published(context.obj, as_json=as_json))
    code = examine(context.obj, tuple(name), as_json=as_json) if name else doctor(context.obj, as_json=as_json)
    raise typer.Exit(code)
