"""Results measured by an earlier version under a task card's own name have the protocol of their run."""

from __future__ import annotations

from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.result import Result
from ssl_console.workspace.results_db import ResultStore
from ssl_console.workspace.tinydb_storage import is_unstated
from tests.ssl_console.measured import measure
from tests.ssl_console.tui.filled import spec

ROW: dict[str, object] = {
    "run_id": "ownname", "key": "k", "backbone": "demo/mae", "task": "mine/spread", "column": "c", "seed": 0,
    "metric": "diffusion", "value": 30.0, "ci_low": 29.0, "ci_high": 31.0, "n": 20, "finished": 1.0, "duration_s": 1.0,
}  # fmt: skip


def test_protocol_and_dataset_are_those_of_the_run(workspace: Workspace) -> None:
    plan = spec("ownname", "demo/mae", "attention/digits")
    folder = workspace.run("ownname")
    folder.path.mkdir(parents=True)
    task = plan.task.model_copy(update={"name": "mine/spread"})
    folder.spec.write_text(plan.model_copy(update={"task": task}).model_dump_json())
    ResultStore(workspace).add([Result.model_validate(ROW)])
    (found,) = ResultStore(workspace).results()
    assert (found.protocol_name, found.dataset_name) == ("attention", "digits")
    assert ResultStore(workspace).rows()[0].protocol == ""


def test_without_the_run_the_row_stays_as_it_is(workspace: Workspace) -> None:
    row = Result.model_validate(ROW)
    ResultStore(workspace).add([row])
    assert ResultStore(workspace).results() == [row]


def test_a_worker_states_both(workspace: Workspace) -> None:
    result = measure(workspace, "demo/mae", "knn/digits", 0.5).result
    assert (result.protocol, result.dataset) == ("knn", "digits")
    assert not is_unstated(result)
