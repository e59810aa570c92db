"""Commands about time: checkpoints of a training, and runs that fit a time budget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backbones.io.files import expand_user
from ssl_console.cli.command_group import (
    EXIT_CODES,
    CommandGroup,
    DevicesChoice,
    JsonLines,
    LauncherChoice,
    SharingChoice,
    Suite,
    Tasks,
)

over_time = typer.Typer(cls=CommandGroup, rich_markup_mode=None)


@over_time.command(epilog=EXIT_CODES)
def watch(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the training's checkpoints.")],
    task: Tasks = None,
    suite: Suite = None,
    every: Annotated[int, typer.Option("--every", metavar="N", min=1, help="Only every N-th checkpoint.")] = 1,
    like: Annotated[
        str | None,
        typer.Option("--like", metavar="BACKBONE", help="Load checkpoints in the same way as this backbone."),
    ] = None,
    arch: Annotated[
        str | None, typer.Option("--arch", metavar="A", help="As for `add backbone`. Default: detected.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="N", help="Default: the folder's name.")] = None,
    container: Annotated[str | None, typer.Option("--container", metavar="C", help="As for `add backbone`.")] = None,
    prefix: Annotated[str | None, typer.Option("--prefix", metavar="P", help="As for `add backbone`.")] = None,
    norm: Annotated[str | None, typer.Option("--norm", metavar="N", help="imagenet, half or none.")] = None,
    size: Annotated[int | None, typer.Option("--size", metavar="PX", help="Input side in pixels.")] = None,
    trust_code: Annotated[bool, typer.Option("--trust-code", help="Let workers run the code in --arch.")] = False,
    devices: DevicesChoice = None,
    poll: Annotated[float, typer.Option("--poll", metavar="S", min=0.05, help="Polling interval in seconds.")] = 1.0,
    idle_stop: Annotated[
        float | None, typer.Option("--idle-stop", metavar="S", min=0, help="Stop after S seconds without changes.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Watch even if the first checkpoint fails its checks.")
    ] = False,
    as_json: JsonLines = False,
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
    hours: Annotated[float, typer.Option("--hours", metavar="H", min=0.001, help="Time budget in hours.")],
    backbone: Annotated[
        list[str] | None, typer.Option("-b", "--backbone", metavar="NAME", help="A backbone or a glob; may repeat.")
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option("-t", "--task", metavar="TASK", help="A task or a glob; may repeat.")
    ] = None,
    suite: Suite = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="K=V", help="A protocol's parameter, linear.max_iter=500.")
    ] = None,
    preset: Annotated[str | None, typer.Option("--preset", metavar="P", help="Parameters by name.")] = None,
    slots: Annotated[
        int | None, typer.Option("--slots", metavar="N", min=1, help="Concurrent runs. Default: as for `run`.")
    ] = None,
    devices: DevicesChoice = None,
    launcher: LauncherChoice = None,
    share: SharingChoice = None,
    run: Annotated[bool, typer.Option("--run", help="Run the fitting runs in this order, and follow them.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document; with --run, JSON lines.")] = False,
) -> None:
    """Select the runs that fit into a time budget, those most informative for the ranking first."""
    from ssl_console.cli.handlers.budget import Limits, budget
    from ssl_console.cli.handlers.run import RunOptions, RunSelection

    selection = RunSelection.of(backbone, task, suite, None, setting, preset)
    options = RunOptions.of(devices, launcher, "float32", share, as_json=as_json)
    raise typer.Exit(budget(context.obj, selection, Limits(hours, slots), options, run=run))
