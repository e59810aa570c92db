"""Names of backbones, tasks, datasets, runs and results."""

from __future__ import annotations

from typing import Annotated

import typer

Backbones = Annotated[
    list[str] | None, typer.Option("-b", "--backbone", metavar="NAME", help="A backbone or a glob; may repeat.")
]
MeasuredBackbones = Annotated[
    list[str] | None, typer.Option("-b", "--backbone", metavar="NAME", help="A backbone; may repeat. Default: all.")
]
BackbonesWithFeatures = Annotated[
    list[str] | None,
    typer.Option(
        "-b", "--backbone", metavar="NAME", help="A backbone or a glob; may repeat. Default: all with features."
    ),
]
BackboneNames = Annotated[
    list[str] | None, typer.Argument(metavar="BACKBONE", help="Backbones or globs. Default: all.")
]
RequiredBackboneNames = Annotated[list[str], typer.Argument(metavar="BACKBONE", help="Backbones or globs.")]
BackboneName = Annotated[str, typer.Argument(metavar="BACKBONE", help="A backbone.")]
AnyBackbone = Annotated[str, typer.Argument(metavar="NAME", help="Any backbone, built-in or own, also timm:...")]
OwnBackbone = Annotated[str, typer.Argument(metavar="NAME", help="A backbone of your own.")]
NewName = Annotated[str, typer.Argument(metavar="NEW", help="The new name.")]
MeasuredBackbone = Annotated[str, typer.Argument(metavar="BACKBONE", help="A backbone with results.")]
ComparedBackbone = Annotated[str, typer.Argument(metavar="A", help="A backbone with results.")]
OtherBackbone = Annotated[
    str | None, typer.Argument(metavar="B", help="Another, or `published`: the published scores of A.")
]
Examined = Annotated[
    list[str] | None, typer.Argument(metavar="BACKBONE|TASK", help="Backbones, tasks or datasets to examine.")
]
Tasks = Annotated[list[str] | None, typer.Option("-t", "--task", metavar="TASK", help="A task or a glob; may repeat.")]
TaskOrDataset = Annotated[str, typer.Argument(metavar="TASK", help="A task, or a dataset.")]
Suite = Annotated[str | None, typer.Option("--suite", metavar="S", help="The tasks of a suite.")]
BundleSuite = Annotated[str | None, typer.Option("--suite", metavar="S", help="Only the tasks of a suite.")]
DatasetNames = Annotated[list[str] | None, typer.Argument(metavar="DATASET", help="Datasets or globs. Default: all.")]
RequiredDatasetNames = Annotated[list[str], typer.Argument(metavar="DATASET", help="Datasets or globs.")]
DatasetWithFeatures = Annotated[str, typer.Argument(metavar="DATASET", help="A dataset with stored features.")]
PatchMapDataset = Annotated[str, typer.Argument(metavar="DATASET", help="A dataset measured by patch-pca/.")]
LayerCurveDatasets = Annotated[
    list[str] | None, typer.Argument(metavar="DATASET", help="Datasets measured by layers/. Default: all.")
]
MultiverseData = Annotated[str, typer.Option("--data", metavar="DATASET", help="A dataset with stored features.")]
LabelledData = Annotated[
    str, typer.Option("--data", metavar="X", help="A dataset with labels, or a folder of class folders.")
]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run id, or a unique prefix.")]
RunNames = Annotated[list[str] | None, typer.Argument(metavar="RUN", help="Run ids.")]
EveryUnfinished = Annotated[bool, typer.Option("--all", help="Every unfinished run.")]
EveryFailed = Annotated[bool, typer.Option("--failed", help="Every failed run.")]
StateOfRuns = Annotated[
    str | None,
    typer.Option("--state", metavar="S", help="queued, starting, running, done, failed or cancelled."),
]
ResultName = Annotated[str, typer.Argument(metavar="RESULT", help="Id of a finished run, or a unique prefix.")]
FirstResult = Annotated[str, typer.Argument(metavar="RESULT1", help="Id of a finished run, or a unique prefix.")]
SecondResult = Annotated[str, typer.Argument(metavar="RESULT2", help="Another.")]
