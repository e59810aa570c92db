"""How runs are executed: parameters, devices, launchers, time budgets, rules for stopping."""

from __future__ import annotations

from typing import Annotated

import typer

Seeds = Annotated[list[int] | None, typer.Option("--seed", metavar="N", min=0, help="A seed; may repeat. Default: 0.")]
MultiverseSeeds = Annotated[
    list[int] | None, typer.Option("--seed", metavar="N", min=0, help="A seed; may repeat. Default: 0 to 4.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PROTOCOL.KEY=VALUE", help="Change a parameter: linear.max_iter=500."),
]
BudgetSettings = Annotated[
    list[str] | None, typer.Option("--set", metavar="K=V", help="A protocol's parameter, linear.max_iter=500.")
]
Preset = Annotated[str | None, typer.Option("--preset", metavar="P", help="Named parameters: default, paper.")]
BudgetPreset = Annotated[str | None, typer.Option("--preset", metavar="P", help="Parameters by name.")]
VerdictPreset = Annotated[
    str | None, typer.Option("--preset", metavar="P", help="Parameters by name, for protocols that have them: small.")
]
TestAlso = Annotated[
    list[str] | None,
    typer.Option("--test-also", metavar="NAME=FOLDER", help="A further test set of robustness tasks; may repeat."),
]
Devices = Annotated[str | None, typer.Option("--devices", metavar="D", help="Devices to use: cuda:0,cuda:1 or cpu.")]
DevicesPerRun = Annotated[
    str | None,
    typer.Option(
        "--devices-per-run",
        metavar="N",
        help="Devices that compute the features of one run together while no other run waits: a number, or auto for "
        "every idle one. Default: the setting (1).",
    ),
]
LauncherName = Annotated[
    str | None,
    typer.Option("--launcher", metavar="L", help="local, slurm (jobs of a cluster), or a plug-in's name."),
]
VerdictLauncher = Annotated[
    str | None, typer.Option("--launcher", metavar="L", help="local or slurm. Default: that of config.toml.")
]
Precision = Annotated[
    str, typer.Option("--precision", metavar="P", help="float32, bfloat16 or float16; results differ.")
]
Sharing = Annotated[
    str | None,
    typer.Option(
        "--share",
        metavar="S",
        help="When to start on a GPU that other processes use: free-memory (as soon as enough memory is free), idle "
        "(only next to own runs), never (alone). Default: the setting.",
    ),
]
Detach = Annotated[bool, typer.Option("--detach", help="Start the runs and return at once.")]
Again = Annotated[bool, typer.Option("--again", help="Repeat finished runs.")]
Override = Annotated[bool, typer.Option("--override", help="Run what the doctor refuses, and mark every result.")]
Force = Annotated[bool, typer.Option("--force", help="Both: --again and --override.")]
SkipMissing = Annotated[bool, typer.Option("--skip-missing", help="Skip runs with missing weights or data.")]
Follow = Annotated[bool, typer.Option("-f", "--follow", help="Print new lines until the run has ended.")]
CheckPublished = Annotated[
    bool, typer.Option("--published", help="Fetch three backbones and a dataset, and reproduce published scores.")
]
Hours = Annotated[float, typer.Option("--hours", metavar="H", min=0.001, help="Time budget in hours.")]
Slots = Annotated[
    int | None, typer.Option("--slots", metavar="N", min=1, help="Concurrent runs. Default: as for `run`.")
]
RunSelected = Annotated[bool, typer.Option("--run", help="Run the fitting runs in this order, and follow them.")]
TimeBudget = Annotated[
    float | None, typer.Option("--budget", metavar="H", min=0, help="Time budget in hours. Default: none.")
]
Rungs = Annotated[
    list[str] | None,
    typer.Option("--rung", metavar="PROTOCOL[:PRESET]", help="These rungs only; may repeat. Default: kNN to LoRA."),
]
JudgedCheckpoint = Annotated[str, typer.Argument(metavar="CKPT", help="A checkpoint file, or a backbone.")]
Against = Annotated[str, typer.Option("--against", metavar="LEADER", help="The reference backbone.")]
MeanMargin = Annotated[
    float, typer.Option("--margin", metavar="POINTS", help="Largest mean difference that does not matter.")
]
JudgeLike = Annotated[
    str | None, typer.Option("--like", metavar="BACKBONE", help="Load the file in the same way as this backbone.")
]
RaceHours = Annotated[float, typer.Option("--hours", metavar="H", min=0, help="Time budget in hours.")]
RaceGoal = Annotated[
    str, typer.Option("--for", metavar="GOAL", help="accuracy; or speed or memory among the nearly best.")
]
RaceTarget = Annotated[
    str | None,
    typer.Option(
        "--target", metavar="PROTOCOL[:PRESET]", help="The deciding protocol. Default: LoRA, else finetuning."
    ),
]
Finalists = Annotated[
    int, typer.Option("--finalists", metavar="N", min=2, help="Backbones that the target protocol measures.")
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Encode the images again, instead of taking stored features.")]
Within = Annotated[float, typer.Option("--within", metavar="POINTS", min=0.0, help="Tolerance of a reproduced score.")]
