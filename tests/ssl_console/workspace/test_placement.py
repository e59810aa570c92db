"""Launcher and devices of a run in its files, written and read by this version and earlier ones."""

from __future__ import annotations

import orjson
import pytest

from ssl_console.system.device import Device
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.requests import request_cancel, request_retry, submit
from ssl_console.workspace.run import Placement, Retry, RunSpec
from ssl_console.workspace.run_index import RunIndex
from ssl_console.workspace.supervisor_state import SupervisorState
from tests.ssl_console.workspace_fixture import spec

PLACEMENTS = (
    Placement(),
    Placement("local", ("cuda:0", "cpu")),
    Placement("slurm"),
    Placement("nice", ("cuda:0", "cuda:1")),
)


def read(workspace: Workspace, run_id: str) -> Placement:
    index = RunIndex(workspace)
    index.refresh(2e9)
    return index.entries[run_id].placement


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_placement_is_read_as_it_was_written(placement: Placement, workspace: Workspace) -> None:
    workspace.create()
    run = spec("one", launcher=placement.launcher, devices=placement.devices)
    submit(workspace, "one", run.model_dump_json().encode())
    assert RunSpec.model_validate_json(workspace.run("one").spec.read_bytes()).placement == placement
    assert read(workspace, "one") == placement


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_retry_moves_a_run_to_another_launcher(placement: Placement, workspace: Workspace) -> None:
    workspace.create()
    submit(workspace, "one", spec("one", launcher="slurm").model_dump_json().encode())
    request_cancel(workspace, "one")
    request_retry(workspace, "one", placement=placement)
    assert read(workspace, "one") == placement
    request_cancel(workspace, "one")
    request_retry(workspace, "one")
    assert read(workspace, "one") == placement, "a retry without a placement keeps the last one"


@pytest.mark.parametrize(
    ("stored", "placement"),
    [([], Placement()), (["cuda:1"], Placement("local", ("cuda:1",))), (["slurm"], Placement("slurm"))],
)
def test_records_of_earlier_versions_name_a_launcher_in_place_of_a_device(
    stored: list[str], placement: Placement, workspace: Workspace
) -> None:
    workspace.create()
    old = orjson.loads(spec("one").model_dump_json())
    del old["launcher"]
    submit(workspace, "one", orjson.dumps({**old, "devices": stored}))
    assert RunSpec.model_validate_json(workspace.run("one").spec.read_bytes()).placement == placement
    assert read(workspace, "one") == placement
    assert Retry.model_validate_json(orjson.dumps({"devices": stored})).placement == placement


def test_a_supervisor_of_an_earlier_version_never_starts_a_run_of_another_launcher_as_a_local_process() -> None:
    """It reads `devices` only, and compares each with the names and kinds of this machine's devices."""
    assert orjson.loads(spec("one", launcher="slurm").model_dump_json())["devices"] == ["slurm"]
    stored = orjson.loads(spec("one", launcher="nice", devices=("cuda:0", "cpu")).model_dump_json())["devices"]
    assert stored == ["nice:cuda:0", "nice:cpu"]


def test_the_state_of_an_earlier_version_with_a_launcher_among_its_devices_is_read() -> None:
    state = {
        "version": 1, "host": "h", "pid": 2, "pid_started": 1.0, "started": 1.0,
        "slots": [{"name": "slurm/sslc-a.0", "device": "slurm", "run_id": "one", "job": {"job_id": "3"}}],
        "devices": [{"device": {"name": "slurm", "title": "partition main: 0 jobs run, 1 wait"}}],
    }  # fmt: skip
    read_state = SupervisorState.model_validate_json(orjson.dumps(state))
    assert read_state.devices[0].device == Device("slurm", "partition main: 0 jobs run, 1 wait")
    assert read_state.slots[0].job is not None
    assert read_state.launchers == ()
