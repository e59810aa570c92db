"""Options that several commands have, with their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
JsonLines = Annotated[bool, typer.Option("--json", help="JSON lines on standard output.")]
Backbones = Annotated[
    list[str] | None, typer.Option("-b", "--backbone", metavar="NAME", help="A backbone or a glob; may repeat.")
]
Tasks = Annotated[list[str] | None, typer.Option("-t", "--task", metavar="TASK", help="A task or a glob; may repeat.")]
Suite = Annotated[str | None, typer.Option("--suite", metavar="S", help="The tasks of a suite.")]
Seeds = Annotated[list[int] | None, typer.Option("--seed", metavar="N", min=0, help="A seed; may repeat. Default: 0.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PROTOCOL.KEY=VALUE", help="Change a parameter: linear.max_iter=500."),
]
TestAlso = Annotated[
    list[str] | None,
    typer.Option("--test-also", metavar="NAME=FOLDER", help="A further test set of robustness tasks; may repeat."),
]
Preset = Annotated[str | None, typer.Option("--preset", metavar="P", help="Named parameters: default, paper.")]
LauncherChoice = Annotated[
    str | None,
    typer.Option("--launcher", metavar="L", help="local, slurm (jobs of a cluster), or a plug-in's name."),
]
Source = Annotated[
    str, typer.Option("--source", metavar="S", help="mine (measured here), paper (published), or both side by side.")
]
Figure = Annotated[
    Path | None, typer.Option("--figure", metavar="FILE", help="Write a figure (.svg, .png or .pdf) instead.")
]
Follow = Annotated[bool, typer.Option("-f", "--follow", help="Print new lines until the run has ended.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run id, or a unique prefix.")]
DevicesChoice = Annotated[
    str | None, typer.Option("--devices", metavar="D", help="Devices to use: cuda:0,cuda:1 or cpu.")
]
PrecisionChoice = Annotated[
    str, typer.Option("--precision", metavar="P", help="float32, bfloat16 or float16 (other results).")
]
DevicesPerRunChoice = Annotated[
    str | None,
    typer.Option(
        "--devices-per-run",
        metavar="N",
        help="Devices that compute the features of one run together while no other run waits: a number, or auto for "
        "every idle one. Default: the setting (1).",
    ),
]
SharingChoice = Annotated[
    str | None,
    typer.Option(
        "--share",
        metavar="S",
        help="When to start on a GPU that other processes use: free-memory (as soon as the need is free), idle "
        "(only next to own runs), never (alone). Default: the setting.",
    ),
]
