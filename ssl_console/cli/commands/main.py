"""The commands with their options and help. The handler of a command is imported when the command runs."""

from __future__ import annotations

from dataclasses import replace

import typer

from ssl_console.cli.command_group import EXIT_CODES, CommandGroup
from ssl_console.cli.commands.add import add, copy, edit, remove, rename
from ssl_console.cli.commands.over_time import over_time
from ssl_console.cli.commands.ranking import analyses, ledger, ranking
from ssl_console.cli.commands.results import hand_over
from ssl_console.cli.commands.results import results as of_results
from ssl_console.cli.commands.stores import cache, completion_app, data, features_app, listings, weights
from ssl_console.cli.commands.verdicts import verdicts
from ssl_console.cli.options import execution, names, outputs, program, stores
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
    workspace: program.WorkspaceFolder = None,
    cards: program.CardFolders = None,
    readonly: program.ReadOnly = False,
    slow: program.SlowLink = False,
    version: program.ShowVersion = False,
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
def demo(context: typer.Context, headless: program.Headless = False, launcher: execution.LauncherName = None) -> None:
    """Evaluate the demo backbones on the demo suite."""
    from ssl_console.cli.handlers.run import demo

    raise typer.Exit(demo(context.obj, launcher, headless=headless))


@app.command()
def serve(
    context: typer.Context,
    host: program.Host = "127.0.0.1",
    port: program.Port = 8000,
    socket: program.Socket = None,
    readonly: program.ServeReadOnly = False,
    token: program.RequireToken = True,
    open_to_all_users: program.OpenToAllUsers = False,
) -> None:
    """Show the terminal app in a browser, by default at a secret address on this machine only."""
    from ssl_console.cli.handlers.serve import ServeOptions, serve

    options = ServeOptions(host, port, socket, readonly=readonly, token=token, open_to_all_users=open_to_all_users)
    serve(context.obj, options)


@app.command()
def clean(
    context: typer.Context,
    older: stores.OlderThan,
    keep_best: stores.KeepBest = False,
    results: stores.RemoveResults = False,
    dry_run: stores.RemovalDryRun = False,
) -> None:
    """Remove runs that ended long ago. Without further options: failed and cancelled ones."""
    from ssl_console.cli.handlers.cache import clean

    clean(context.obj, older, "best" if keep_best else "none" if results else "all", dry_run=dry_run)


@app.command()
def plan(
    context: typer.Context,
    backbone: names.Backbones = None,
    task: names.Tasks = None,
    suite: names.Suite = None,
    seed: execution.Seeds = None,
    setting: execution.Settings = None,
    preset: execution.Preset = None,
    test_also: execution.TestAlso = None,
    launcher: execution.LauncherName = None,
    as_json: outputs.AsJson = False,
) -> None:
    """Show what `run` would do, and how long it would take."""
    from ssl_console.cli.handlers.run import RunSelection, plan

    selection = RunSelection.of(backbone, task, suite, seed, setting, preset).with_test_sets(context.obj, test_also)
    plan(context.obj, selection, launcher, as_json=as_json)


@app.command(epilog=EXIT_CODES)
def run(
    context: typer.Context,
    backbone: names.Backbones = None,
    task: names.Tasks = None,
    suite: names.Suite = None,
    seed: execution.Seeds = None,
    setting: execution.Settings = None,
    preset: execution.Preset = None,
    test_also: execution.TestAlso = None,
    devices: execution.Devices = None,
    launcher: execution.LauncherName = None,
    share: execution.Sharing = None,
    devices_per_run: execution.DevicesPerRun = None,
    precision: execution.Precision = "float32",
    detach: execution.Detach = False,
    again: execution.Again = False,
    override: execution.Override = False,
    force: execution.Force = False,
    skip_missing: execution.SkipMissing = False,
    as_json: outputs.JsonLines = False,
) -> None:
    """Start the runs that are not done yet, and follow them. Ctrl-C stops following, not the runs."""
    from ssl_console.cli.handlers.run import RunOptions, RunSelection, run

    selection = RunSelection.of(backbone, task, suite, seed, setting, preset).with_test_sets(context.obj, test_also)
    chosen = RunOptions.of(devices, launcher, precision, share, devices_per_run, detach=detach, as_json=as_json)
    options = replace(chosen, skip_missing=skip_missing, again=again or force, override=override or force)
    raise typer.Exit(run(context.obj, selection, options))


@app.command()
def runs(context: typer.Context, state: names.StateOfRuns = None, as_json: outputs.AsJson = False) -> None:
    """List the runs and their states."""
    from ssl_console.cli.handlers.runs import runs

    runs(context.obj, state, as_json=as_json)


@app.command()
def logs(context: typer.Context, run: names.RunName, follow: execution.Follow = False) -> None:
    """Print the log of a run."""
    from ssl_console.cli.handlers.runs import logs

    logs(context.obj, run, follow=follow)


@app.command()
def events(context: typer.Context, run: names.RunName, follow: execution.Follow = False) -> None:
    """Print a run's events as JSON lines."""
    from ssl_console.cli.handlers.runs import events

    events(context.obj, run, follow=follow)


@app.command()
def cancel(context: typer.Context, run: names.RunNames = None, every: names.EveryUnfinished = False) -> None:
    """Cancel queued or active runs."""
    from ssl_console.cli.handlers.runs import cancel

    cancel(context.obj, tuple(run or ()), every=every)


@app.command()
def retry(context: typer.Context, run: names.RunNames = None, failed: names.EveryFailed = False) -> None:
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
    name: names.Examined = None,
    published: execution.CheckPublished = False,
    as_json: outputs.AsJson = False,
) -> None:
    """Check the installation, the devices and the workspace; or examine backbones and tasks."""
    from ssl_console.cli.handlers.doctor import doctor, examine

    if published:
        from ssl_console.cli.handlers.published import check_published

        raise typer.Exit(check_published(context.obj, as_json=as_json))
    code = examine(context.obj, tuple(name), as_json=as_json) if name else doctor(context.obj, as_json=as_json)
    raise typer.Exit(code)
