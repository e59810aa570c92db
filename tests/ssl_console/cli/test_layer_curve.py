"""`layer-curve` prints what results of `layers` hold, and names the way to measure them where there are none."""

from __future__ import annotations

import json

from ssl_console.workspace.paths import Workspace
from tests.ssl_console.cli.shell import Shell
from tests.ssl_console.cli.test_compare import leave


def test_every_place_is_printed_and_the_chosen_one_marked(shell: Shell, workspace: Workspace) -> None:
    run_id = leave(workspace, "own/a", "layers/cars", 0.5, protocol="layers", dataset="cars")
    path = workspace.run(run_id).result
    record = json.loads(path.read_text())
    place = {"pooling": "mean", "low": 40.0, "high": 60.0, "validation_score": 51.0}
    record["diagnostics"] = {
        "blocks": 2,
        "curve": [{"block": block, "score": 49.0 + block, **place} for block in (1, 2)],
    }
    record["hyperparameters"] = {"block": 2, "pooling": "mean"}
    path.write_text(json.dumps(record))
    (curve,) = shell("layer-curve", "cars", "--json").document["curves"]
    assert (curve["backbone"], curve["block"], [point["depth"] for point in curve["points"]]) == (
        "own/a",
        2,
        [50.0, 100.0],
    )
    lines = shell("layer-curve").out.splitlines()
    assert [line.endswith("chosen") for line in lines[1:]] == [False, True]
    failed = shell("layer-curve", "pets")
    assert failed.code != 0
    assert "`ssl-console run -b BACKBONE -t layers/DATASET`" in failed.err
