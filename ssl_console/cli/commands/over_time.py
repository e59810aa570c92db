"""Commands about time: checkpoints of a training, and runs that fit a time budget."""

from __future__ import annotations

import typer

from backbones.io.files import expand_user
from ssl_console.cli.command_group import EXIT_CODES, CommandGroup
from ssl_console.cli.options import cards, execution, names, outputs

over_time = typer.Typer(cls=CommandGroup, rich_markup_mode=None)


@over_time.command(epilog=EXIT_CODES)
def watch(
    context: typer.Context,
    folder: cards.CheckpointFolder,
    task: names.Tasks = None,
    suite: names.Suite = None,
    every: cards.EveryNth = 1,
    like: cards.WatchLike = None,
    arch: cards.WatchArchitecture = None,
    name: cards.WatchName = None,
    container: cards.WatchContainer = None,
    prefix: cards.WatchPrefix = None,
    norm: cards.WatchNormalisation = None,
    size: cards.InputSize = None,
    trust_code: cards.WatchTrustCode = False,
    devices: execution.Devices = None,
    poll: cards.PollInterval = 1.0,
    idle_stop: cards.IdleStop = None,
    force: cards.WatchAnyway = False,
    as_json: outputs.JsonLines = False,
) -> None:
    """Evaluate checkpoints as a training writes them, and report when transfer has peaked. Ctrl-C stops; the same
    command continues.
    """
    from ssl_console.cli.handlers.watch import WatchRequest, watch
    from ssl_console.operations.add_backbone import BackboneOptions

    place = expand_user(folder).absolute()
    options = BackboneOptions(
        path=place,
        architecture=arch,
        name=name,
        container=container,
        prefix=prefix,
        normalisation=norm,
        size=size,
        trust_code=trust_code,
    )
    request = WatchRequest(
        folder=place,
        options=options,
        tasks=tuple(task or ()),
        suite=suite,
        like=like,
        every=every,
        poll_s=poll,
        idle_stop_s=idle_stop,
        devices=devices,
        force=force,
        as_json=as_json,
    )
    raise typer.Exit(watch(context.obj, request))


@over_time.command(epilog=EXIT_CODES)
def budget(
    context: typer.Context,
    hours: execution.Hours,
    backbone: names.Backbones = None,
    task: names.Tasks = None,
    suite: names.Suite = None,
    setting: execution.BudgetSettings = None,
    preset: execution.BudgetPreset = None,
    slots: execution.Slots = None,
    devices: execution.Devices = None,
    launcher: execution.LauncherName = None,
    share: execution.Sharing = None,
    run: execution.RunSelected = False,
    as_json: outputs.BudgetJson = False,
) -> None:
    """Select the runs that fit into a time budget, those most informative for the ranking first."""
    from ssl_console.cli.handlers.budget import Limits, budget
    from ssl_console.cli.handlers.run import RunOptions, RunSelection

    selection = RunSelection.of(backbone, task, suite, None, setting, preset)
    options = RunOptions.of(devices, launcher, "float32", share, as_json=as_json)
    raise typer.Exit(budget(context.obj, selection, Limits(hours, slots), options, run=run))
