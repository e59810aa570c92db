"""`rank --optimism`: scores next to the choice on test images, for results that document it."""

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
