"""Every byte of a workspace is assigned to one purpose."""

from __future__ import annotations

from ssl_console.operations.disk_space import size_of, storage_of
from ssl_console.tui.screens.dialogs import storage_lines
from ssl_console.workspace.paths import Workspace


def test_purposes_add_up_to_the_files_of_the_workspace(workspace: Workspace) -> None:
    run = workspace.run("one")
    sizes = {
        run.log(1): 1_000,
        run.events(1): 200,
        run.result: 30,
        run.checkpoint / "state": 4,
        workspace.features / "a" / "0.npy": 50_000,
        workspace.decoded / "b": 6_000,
        workspace.cache / "anatomy": 700,
        workspace.weights / "net.pth": 800_000,
        workspace.supervisor_log: 90,
        workspace.results: 11,
        workspace.results.with_name("results.json.bak"): 10,
    }
    for path, size in sizes.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
    found = {use.title: use.size for use in storage_of(workspace)}
    assert found == {
        "results and predictions of runs": 34,
        "logs and events of runs": 1_200,
        "logs of the supervisor and its workers": 90,
        "stored features": 50_000,
        "decoded images": 6_000,
        "other caches": 700,
        "weights": 800_000,
        "results database": 21,
    }
    assert sum(found.values()) == size_of(workspace.root)


def test_each_command_that_frees_space_is_shown_once(workspace: Workspace) -> None:
    lines = ["".join(span.text for span in line) for line in storage_lines(storage_of(workspace), 5_000_000_000)]
    assert [line for line in lines if "5.0 GB" in line]
    assert sum("ssl-console clean" in line for line in lines) == 1
    assert sum("cache prune" in line for line in lines) == 2
