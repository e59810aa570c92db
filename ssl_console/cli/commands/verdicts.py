"""Commands for choosing a backbone, each with the certainty of its answer."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import typer

from ssl_console.cli.command_group import ANSWER_CODES, CommandGroup
from ssl_console.cli.options import execution, names, outputs

verdicts = typer.Typer(cls=CommandGroup, rich_markup_mode=None)


@verdicts.command(epilog=ANSWER_CODES)
def ladder(
    context: typer.Context,
    data: names.LabelledData,
    backbone: names.Backbones = None,
    rung: execution.Rungs = None,
    preset: execution.VerdictPreset = None,
    seed: execution.Seeds = None,
    budget: execution.TimeBudget = None,
    devices: execution.Devices = None,
    launcher: execution.VerdictLauncher = None,
    as_json: outputs.JsonLines = False,
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
    checkpoint: execution.JudgedCheckpoint,
    against: execution.Against,
    suite: names.Suite = None,
    task: names.Tasks = None,
    margin: execution.MeanMargin = 0.5,
    like: execution.JudgeLike = None,
    preset: execution.VerdictPreset = None,
    budget: execution.TimeBudget = None,
    devices: execution.Devices = None,
    launcher: execution.VerdictLauncher = None,
    override: execution.Override = False,
    as_json: outputs.JsonLines = False,
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
    data: names.LabelledData,
    hours: execution.RaceHours,
    backbone: names.Backbones = None,
    goal: execution.RaceGoal = "accuracy",
    target: execution.RaceTarget = None,
    preset: execution.VerdictPreset = None,
    finalists: execution.Finalists = 3,
    devices: execution.Devices = None,
    launcher: execution.VerdictLauncher = None,
    as_json: outputs.JsonLines = False,
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
