"""Commands for choosing a backbone, each with the certainty of its answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, cast

import typer

from ssl_console.cli.command_group import ANSWER_CODES, Backbones, CommandGroup, JsonLines

verdicts = typer.Typer(cls=CommandGroup, rich_markup_mode=None)

Data = Annotated[str, typer.Option("--data", metavar="X", help="A dataset with labels, or a folder of class folders.")]
Preset = Annotated[
    str | None, typer.Option("--preset", metavar="P", help="Parameters by name, for protocols that have them: small.")
]
Devices = Annotated[str | None, typer.Option("--devices", metavar="D", help="Devices to use: cuda:0,cuda:1 or cpu.")]
LauncherChoice = Annotated[
    str | None, typer.Option("--launcher", metavar="L", help="local or slurm. Default: that of config.toml.")
]


@verdicts.command(epilog=ANSWER_CODES)
def ladder(
    context: typer.Context,
    data: Data,
    backbone: Backbones = None,
    rung: Annotated[
        list[str] | None,
        typer.Option("--rung", metavar="PROTOCOL[:PRESET]", help="These rungs only; may repeat. Default: kNN to LoRA."),
    ] = None,
    preset: Preset = None,
    seed: Annotated[
        list[int] | None, typer.Option("--seed", metavar="N", min=0, help="A seed; may repeat. Default: 0.")
    ] = None,
    budget: Annotated[
        float | None, typer.Option("--budget", metavar="H", min=0, help="Time budget in hours. Default: none.")
    ] = None,
    devices: Devices = None,
    launcher: LauncherChoice = None,
    as_json: JsonLines = False,
) -> None:
    """Find the better backbone on a dataset, from kNN up to finetuning, until the order is certain."""
    from ssl_console.cli.handlers.run import RunOptions
    from ssl_console.cli.handlers.verdicts import LadderSelection, ladder

    options = RunOptions.of(devices, launcher, "float32", as_json=as_json)
    seeds = tuple(dict.fromkeys(seed or (0,)))
    selection = LadderSelection(tuple(backbone or ()), data, tuple(rung or ()), preset, seeds)
    raise typer.Exit(ladder(context.obj, selection, budget, options))


@verdicts.command(epilog=ANSWER_CODES)
def judge(
    context: typer.Context,
    checkpoint: Annotated[str, typer.Argument(metavar="CKPT", help="A checkpoint file, or a backbone.")],
    against: Annotated[str, typer.Option("--against", metavar="LEADER", help="The reference backbone.")],
    suite: Annotated[str | None, typer.Option("--suite", metavar="S", help="The tasks of a suite.")] = None,
    task: Annotated[
        list[str] | None, typer.Option("-t", "--task", metavar="TASK", help="A task or a glob; may repeat.")
    ] = None,
    margin: Annotated[
        float, typer.Option("--margin", metavar="POINTS", help="Largest mean difference that does not matter.")
    ] = 0.5,
    like: Annotated[
        str | None, typer.Option("--like", metavar="BACKBONE", help="Load the file in the same way as this backbone.")
    ] = None,
    preset: Preset = None,
    budget: Annotated[
        float | None, typer.Option("--budget", metavar="H", min=0, help="Time budget in hours. Default: none.")
    ] = None,
    devices: Devices = None,
    launcher: LauncherChoice = None,
    override: Annotated[
        bool, typer.Option("--override", help="Run what the doctor refuses, and mark every result.")
    ] = False,
    as_json: JsonLines = False,
) -> None:
    """Judge whether a checkpoint is better than a backbone, dataset by dataset, and stop as soon as it is certain."""

    from ssl_console.cli.handlers.run import RunOptions
    from ssl_console.cli.handlers.verdicts import JudgeSelection, judge

    options = replace(RunOptions.of(devices, launcher, "float32", as_json=as_json), override=override)
    selection = JudgeSelection(checkpoint, against, tuple(task or ()), suite, margin, like, preset)
    raise typer.Exit(judge(context.obj, selection, budget, options))


@verdicts.command(epilog=ANSWER_CODES)
def choose(
    context: typer.Context,
    data: Data,
    hours: Annotated[float, typer.Option("--hours", metavar="H", min=0, help="Time budget in hours.")],
    backbone: Backbones = None,
    goal: Annotated[
        str, typer.Option("--for", metavar="GOAL", help="accuracy; or speed or memory among the nearly best.")
    ] = "accuracy",
    target: Annotated[
        str | None,
        typer.Option(
            "--target", metavar="PROTOCOL[:PRESET]", help="The deciding protocol. Default: LoRA, else finetuning."
        ),
    ] = None,
    preset: Preset = None,
    finalists: Annotated[
        int, typer.Option("--finalists", metavar="N", min=2, help="Backbones that the target protocol measures.")
    ] = 3,
    devices: Devices = None,
    launcher: LauncherChoice = None,
    as_json: JsonLines = False,
) -> None:
    """Choose a backbone for a dataset: cheap protocols prune, the target protocol decides between the finalists."""
    from ssl_console.analysis.race import Goal
    from ssl_console.cli.command_group import one_of
    from ssl_console.cli.handlers.choose import ChooseSelection, choose
    from ssl_console.cli.handlers.run import RunOptions

    options = RunOptions.of(devices, launcher, "float32", as_json=as_json)
    wanted = cast("Goal", one_of("--for", goal, Goal))
    selection = ChooseSelection(data, hours, tuple(backbone or ()), wanted, target, preset, finalists)
    raise typer.Exit(choose(context.obj, selection, options))
