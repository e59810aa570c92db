"""`rank --optimism` and `rank --shifts`: further scores of results that document them."""

from __future__ import annotations

import json

from ssl_console.workspace.paths import Workspace
from tests.ssl_console.cli.shell import Shell
from tests.ssl_console.cli.test_compare import leave


def test_rank_optimism_shows_both_scores_and_names_what_lacks_it(shell: Shell, workspace: Workspace) -> None:
    run_id = leave(workspace, "own/a", "linear/cars", 0.7)
    leave(workspace, "own/b", "linear/cars", 0.6)
    path = workspace.run(run_id).result
    record = json.loads(path.read_text())
    choice = {"score": 71.5, "selected": 69.5, "choice": "C = 0.1", "candidates": 45}
    path.write_text(json.dumps({**record, "diagnostics": {"chosen_on_test": choice}}))
    document = shell("rank", "--optimism", "--json").document
    (one,), (other,) = document["results"], document["without"]
    assert (one["backbone"], one["value"], one["on_test"], one["inflation"]) == ("own/a", 70.0, 71.5, 2.0)
    assert other["backbone"] == "own/b"
    printed = shell("rank", "--optimism", "-t", "linear/*")
    assert "+2.00" in printed.out
    assert "C = 0.1 (of 45)" in printed.out
    assert "linear: nothing to inflate in 1 result" in printed.err
    assert shell("rank", "--optimism", "--csv").code == 2
    assert shell("rank", "--optimism", "-b", "own/c").code == 2


def test_rank_shifts_has_a_column_for_each_shift_and_the_drop(shell: Shell, workspace: Workspace) -> None:
    run_id = leave(workspace, "own/a", "robustness/cars", 0.6)
    leave(workspace, "own/b", "linear/cars", 0.6)
    path = workspace.run(run_id).result
    record = json.loads(path.read_text())
    scores = {"accuracy": 70.0, "accuracy@sketch": 60.0, "drop@sketch": 10.0, "accuracy@blur": 55.0, "drop": 12.5}
    path.write_text(json.dumps({**record, "metrics": {**record["metrics"], **scores}}))
    (one,) = shell("rank", "--shifts", "--json").document["results"]
    assert (one["backbone"], one["unshifted"], one["drop"]) == ("own/a", 70.0, 12.5)
    assert one["shifts"] == {"sketch": 60.0, "blur": 55.0}
    printed = shell("rank", "--shifts")
    assert printed.out.split()[-6:] == ["own/a", "0", "70.0!", "60.0!", "55.0!", "12.5!"]
    assert "! reason to doubt the score" in printed.err
    assert shell("rank", "--shifts", "--csv").code == 2
    assert "no result has scores by shift" in shell("rank", "--shifts", "-b", "own/b").err
