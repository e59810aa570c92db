"""The results file: several writers, kills, damage, full disks, versions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from tinydb import TinyDB

from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.result import Result, ResultRecord
from ssl_console.workspace.results_db import ResultStore, StoreError, rebuild
from ssl_console.workspace.tinydb_storage import (
    SCHEMA_VERSION,
    Document,
    NewerSchemaError,
    backup_of,
    keep_backup,
    migrate,
    read_document,
)
from tests.ssl_console.workspace_fixture import ROOT, eventually

OLD_FILE = Path(__file__).parent / "data" / "results-schema-1.json"


def result(number: int, **others: object) -> Result:
    about = {
        "run_id": f"run{number:05}",
        "key": f"{number:064x}",
        "backbone": f"demo/b{number % 6}",
        "task": f"linear/t{number % 10}",
        "column": "c" * 64,
        "seed": 0,
        "metric": "accuracy",
        "value": 50.0 + number % 50,
        "ci_low": 45.0,
        "ci_high": 55.0,
        "n": 1000,
        "finished": float(number),
        "duration_s": 2.0,
    }
    return Result.model_validate(about | others)


@pytest.fixture
def store(workspace: Workspace) -> ResultStore:
    return ResultStore(workspace)


def test_results_come_back_in_the_order_they_were_added(store: ResultStore) -> None:
    added = [result(number) for number in (3, 1, 2)]
    assert store.results() == []
    assert store.add(added[:2]) == 2
    assert store.add(added[2:]) == 1
    assert store.results() == added


def test_result_of_a_run_is_added_once(store: ResultStore) -> None:
    assert store.add([result(1), result(1)]) == 1
    assert store.add([result(1, value=99.0), result(2)]) == 1
    assert [found.value for found in store.results()] == [51.0, 52.0]


def test_file_is_private_and_plain_tinydb_can_read_it(store: ResultStore) -> None:
    store.add([result(1)])
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert TinyDB(store.path).table("results").all()[0]["backbone"] == "demo/b1"


def test_what_another_process_writes_is_seen(store: ResultStore, workspace: Workspace) -> None:
    store.add([result(1)])
    assert len(store.results()) == 1
    ResultStore(workspace).add([result(2)])
    assert len(store.results()) == 2


def test_unchanged_file_is_not_parsed_again(store: ResultStore) -> None:
    store.add([result(1)])
    first = store.results()
    assert store.results()[0] is first[0]


def test_state_before_the_last_write_is_the_backup(store: ResultStore) -> None:
    store.add([result(1)])
    store.add([result(2)])
    rows = read_document(backup_of(store.path))["results"]
    assert [row["run_id"] for row in rows.values()] == ["run00001"]


def writer(workspace: Workspace, first: int, count: int) -> subprocess.Popen[bytes]:
    """A process that adds results one by one."""
    program = (
        "import sys; from pathlib import Path\n"
        "from ssl_console.workspace.results_db import ResultStore\n"
        "from ssl_console.workspace.paths import Workspace\n"
        "from tests.ssl_console.workspace.test_results_db import result\n"
        "store = ResultStore(Workspace(Path(sys.argv[1])))\n"
        "for number in range(int(sys.argv[2]), int(sys.argv[2]) + int(sys.argv[3])): store.add([result(number)])"
    )
    arguments = [sys.executable, "-c", program, str(workspace.root), str(first), str(count)]
    return subprocess.Popen(arguments, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_writers_at_once_lose_nothing(store: ResultStore, workspace: Workspace) -> None:
    processes = [writer(workspace, 100 * number, 25) for number in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert len({found.run_id for found in store.results()}) == 75
    assert len(store.results()) == 75


def test_kill_in_the_middle_of_writing_damages_nothing(store: ResultStore, workspace: Workspace) -> None:
    store.add(result(number) for number in range(200))
    for attempt in range(1, 5):
        before = len(store.results())
        process = writer(workspace, 1000 * attempt, 10_000)
        eventually(lambda least=before + attempt: len(store.results()) > least, "it writes")  # type: ignore[misc]
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert len(store.results()) > before
    store.add([result(999_999)])
    assert [path.name for path in workspace.root.glob(".results*")] == []


def test_backup_interrupted_before_the_new_file_came_is_no_obstacle(store: ResultStore, workspace: Workspace) -> None:
    store.add([result(1)])
    keep_backup(store.path)
    store.add([result(2)])
    assert len(store.results()) == 2
    assert [path.name for path in workspace.root.glob(".results*")] == []


def test_full_disk_leaves_the_file_as_it_was_and_says_so(store: ResultStore, workspace: Workspace) -> None:
    store.add(result(number) for number in range(100))
    size = store.path.stat().st_size
    program = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from ssl_console.workspace.results_db import ResultStore\n"
        "from ssl_console.workspace.paths import Workspace\n"
        "from tests.ssl_console.workspace.test_results_db import result\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))\n"
        "try: ResultStore(Workspace(Path(sys.argv[1]))).add([result(1000)])\n"
        "except OSError as error: sys.exit(f'refused: {error}')"
    )
    arguments = [sys.executable, "-c", program, str(workspace.root), str(size)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, env=environment)
    assert "refused: [Errno 27] File too large" in done.stderr
    assert len(store.results()) == 100
    store.add([result(1000)])
    assert len(store.results()) == 101


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'{"results": {"1"', "it is not JSON"),
        (b"[1, 2]", "it contains no tables"),
        (b'{"_default": {}}', "it has no schema version"),
        (b"", "it is not JSON"),
    ],
)
def test_damaged_file_is_an_error_with_the_way_out_and_rebuild_sets_it_aside(
    store: ResultStore, workspace: Workspace, content: bytes, why: str
) -> None:
    store.path.write_bytes(content)
    with pytest.raises(StoreError, match=rf"results\.json cannot be read: {why}.*ssl-console rebuild"):
        store.results()
    with pytest.raises(StoreError, match=why):
        store.add([result(1)])
    assert store.path.read_bytes() == content
    assert rebuild(workspace) == 0
    assert store.results() == []
    aside = list(workspace.root.glob("results.unreadable-*.json"))
    assert [path.read_bytes() for path in aside] == [content]


def test_row_that_is_no_result_is_an_error_that_names_it(store: ResultStore) -> None:
    store.path.write_bytes(b'{"schema": {"1": {"version": 1}}, "results": {"1": {"run_id": "x"}}}')
    with pytest.raises(StoreError, match="contains a row that is not a result"):
        store.results()


def test_rebuild_makes_the_same_database_from_the_run_folders(store: ResultStore, workspace: Workspace) -> None:
    results = [result(number) for number in range(20)]
    for found in results:
        folder = workspace.run(found.run_id)
        folder.path.mkdir()
        record = ResultRecord(result=found, metrics={"accuracy": found.value}, interval_method="wilson", samples={})
        folder.result.write_text(record.model_dump_json())
    (workspace.runs / "broken").mkdir()
    (workspace.runs / "broken" / "result.json").write_text("{")
    store.add(results[:3])
    assert rebuild(workspace) == 20
    assert store.results() == results


def test_newer_file_is_refused_and_left_alone(store: ResultStore, workspace: Workspace) -> None:
    content = orjson.dumps({"schema": {"1": {"version": SCHEMA_VERSION + 1}}, "results": {}})
    store.path.write_bytes(content)
    for use in (store.results, lambda: store.add([result(1)]), lambda: rebuild(workspace)):
        with pytest.raises(StoreError, match=r"its schema version is 2, this program supports up to 1: upgrade"):
            use()
    assert store.path.read_bytes() == content


def test_file_of_every_schema_so_far_can_be_read(store: ResultStore) -> None:
    store.path.write_bytes(OLD_FILE.read_bytes())
    assert [found.run_id for found in store.results()] == ["run00001", "run00002"]


def test_migrations_are_applied_in_order() -> None:
    def rename(document: Document) -> Document:
        return {**document, "results": {n: {"b": row["a"]} for n, row in document["results"].items()}}

    def double(document: Document) -> Document:
        return {**document, "results": {n: {"b": 2 * row["b"]} for n, row in document["results"].items()}}

    old = {"schema": {"1": {"version": 1}}, "results": {"1": {"a": 4}}}
    new = migrate(old, {1: rename, 2: double}, target=3)
    assert new == {"schema": {"1": {"version": 3}}, "results": {"1": {"b": 8}}}
    with pytest.raises(NewerSchemaError):
        migrate(new, {}, target=2)
