"""Run specifications name the layer-wise features that other runs of the launch need from the same images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from backbones.catalog.layer_info import LayerRequest
from ssl_console.planning.plan import Candidate, PlannedRun
from ssl_console.planning.submit import submit_runs
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.run import RunSpec
from tests.ssl_console.tui.filled import spec


def planned(run_id: str, backbone: str, task: str, layers: LayerRequest | None = None) -> PlannedRun:
    made = spec(run_id, backbone, task)
    candidate = Candidate(made.backbone, made.task, made.dataset, 0, "key")
    return PlannedRun(replace(candidate, layers=layers), "new", run_id)


def test_runs_on_the_same_images_store_the_layers_that_one_of_them_reads(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "w")
    half = LayerRequest()
    runs = [
        planned("aaaaaaaaaaaa", "demo/mae", "knn/digits"),
        planned("bbbbbbbbbbbb", "demo/mae", "linear-heads/digits", half),
        planned("cccccccccccc", "demo/mae", "knn/shapes"),
        planned("dddddddddddd", "demo/simclr", "knn/digits"),
        planned("eeeeeeeeeeee", "demo/mae", "attention/digits"),
    ]
    submit_runs(workspace, runs)
    stored = {
        run.run_id: RunSpec.model_validate_json(workspace.run(str(run.run_id)).spec.read_bytes()).store_layers
        for run in runs
    }
    assert [stored[run.run_id] for run in runs] == [(half,), (half,), (), (), ()]
