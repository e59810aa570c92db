"""The results file in pieces: the same rows and bytes as when it is read and written as a whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from ssl_console.workspace import results_file
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.result import Result
from ssl_console.workspace.results_db import ResultStore, StoreError
from ssl_console.workspace.results_file import RowReader, RowWriter
from ssl_console.workspace.tinydb_storage import RESULTS_TABLE, UnreadableError, backup_of, read_document, transaction
from tests.ssl_console.workspace.test_results_db import result

ODD = "ends in },"
"""A text whose end looks like the end of a row."""


@pytest.fixture
def store(workspace: Workspace) -> ResultStore:
    return ResultStore(workspace)


@pytest.fixture(params=[7, 64, 1 << 18])
def _pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces that end everywhere in a row."""
    monkeypatch.setattr(results_file, "CHUNK_BYTES", request.param)


def rows(*numbers: int) -> list[dict[str, object]]:
    return [result(number).model_dump(mode="json") for number in numbers]


def add_as_a_whole(path: Path, *numbers: int) -> None:
    with transaction(path) as database:
        database.table(RESULTS_TABLE).insert_multiple(rows(*numbers))


@pytest.mark.usefixtures("_pieces")
def test_added_rows_leave_the_bytes_that_tinydb_would_write(tmp_path: Path) -> None:
    whole, pieces = tmp_path / "whole.json", tmp_path / "pieces.json"
    writer = RowWriter(pieces)
    for numbers in ((1, 2, 3), (4,), (5, 6)):
        add_as_a_whole(whole, *numbers)
        assert writer.add(rows(*numbers)) == len(numbers)
        assert pieces.read_bytes() == whole.read_bytes()
        assert pieces.stat().st_mode & 0o777 == 0o600
    assert len(read_document(backup_of(pieces))[RESULTS_TABLE]) == 4


@pytest.mark.usefixtures("_pieces")
def test_rows_come_in_pieces_as_they_do_at_once(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    add_as_a_whole(path, *range(40))
    assert list(RowReader(path)) == list(read_document(path)[RESULTS_TABLE].values())


@pytest.mark.parametrize(
    "damage",
    [
        (b'"n":', b'"n":NaN,"m":'),
        (b'"n":', b'"n":-Infinity,"m":'),
        (b'"run_id":', b'"number":'),
        (b'"seed":', b'"seed":"\xff","a":'),
        (b'"seed":', b'"seed" '),
        (b'"2":{', b'"2":[{'),
    ],
)
def test_nothing_is_added_to_a_damaged_file_of_another_process(tmp_path: Path, damage: tuple[bytes, bytes]) -> None:
    path = tmp_path / "results.json"
    add_as_a_whole(path, 1, 2, 3)
    path.write_bytes(path.read_bytes().replace(*damage))
    before = path.read_bytes()
    with pytest.raises((UnreadableError, KeyError, TypeError)):
        RowWriter(path).add(rows(4))
    assert path.read_bytes() == before


@pytest.mark.parametrize("change", [json.dumps, lambda document: json.dumps(document, indent=1)])
def test_a_file_that_another_program_wrote_is_read_and_continued(
    tmp_path: Path, change: Callable[[object], str]
) -> None:
    path = tmp_path / "results.json"
    add_as_a_whole(path, *range(5))
    document = read_document(path)
    path.write_text(change({RESULTS_TABLE: document[RESULTS_TABLE], "schema": document["schema"]}))
    assert len(list(RowReader(path))) == 5
    writer = RowWriter(path)
    assert [writer.add(rows(5, 6)), writer.add(rows(6, 7))] == [2, 1]
    assert [row["run_id"] for row in RowReader(path)] == [f"run{number:05}" for number in range(8)]


def test_texts_that_look_like_the_end_of_a_row_do_not_end_it(
    store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results_file, "CHUNK_BYTES", 100)
    added = [result(number, data_notes=(ODD, "a", ODD)) for number in range(9)]
    store.add(added)
    assert list(store.stream()) == added


def test_the_file_is_not_parsed_again_to_add_to_what_this_process_wrote(
    store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add([result(1)])
    store.add([result(2)])
    monkeypatch.setattr(results_file, "RowReader", lambda *_: pytest.fail("read"))
    assert store.add([result(2), result(3)]) == 1
    monkeypatch.undo()
    assert len(store.results()) == 3


def test_what_another_process_writes_in_between_is_kept(store: ResultStore, workspace: Workspace) -> None:
    other = ResultStore(workspace)
    for number in range(0, 12, 3):
        store.add([result(number)])
        other.add([result(number + 1)])
        other.add([result(number), result(number + 2)])
    other.remove(["run00004", "run00011"])
    store.add([result(4), result(0)])
    found = [one.run_id for one in store.results()]
    assert len(found) == len(set(found)) == 11


def test_only_new_rows_are_validated_when_the_file_has_grown(
    store: ResultStore, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, further, validated = ResultStore(workspace), result(50), list[object]()
    other.add(map(result, range(50)))
    before = store.rows()
    validate = Result.model_validate

    def counted(row: object) -> Result:
        validated.append(row)
        return validate(row)

    monkeypatch.setattr(Result, "model_validate", counted)
    other.add([further])
    after = store.rows()
    assert len(validated) == 1
    assert [one.run_id for one in after] == [f"run{number:05}" for number in range(51)]
    assert all(new is old for new, old in zip(after, before, strict=False))


def test_rows_that_changed_or_went_are_noticed_by_a_reader_that_continues(
    store: ResultStore, workspace: Workspace
) -> None:
    other = ResultStore(workspace)
    other.add(map(result, range(5)))
    assert len(store.rows()) == 5
    other.replace([result(2, value=99.0)])
    assert [one.value for one in store.rows()][2] == 99.0
    other.remove(["run00000"])
    other.add([result(7)])
    assert [one.run_id for one in store.rows()] == [f"run{number:05}" for number in (1, 2, 3, 4, 7)]
    assert store.rows() is store.rows()
    assert store.results() is store.results()


@pytest.mark.parametrize("cut", [1, 2, 3, 40, 400])
def test_a_truncated_file_is_refused_by_a_reader_that_continues_and_by_a_writer(
    store: ResultStore, workspace: Workspace, cut: int
) -> None:
    ResultStore(workspace).add(map(result, range(5)))
    assert len(store.rows()) == 5
    content = store.path.read_bytes()
    store.path.write_bytes(content[:-cut])
    with pytest.raises(StoreError, match="ssl-console rebuild"):
        store.rows()
    with pytest.raises(StoreError, match="ssl-console rebuild"):
        store.add([result(9)])
    assert store.path.read_bytes() == content[:-cut]


def test_rows_with_numbers_out_of_order_are_read_as_a_whole(store: ResultStore) -> None:
    store.add(map(result, range(3)))
    document = read_document(store.path)
    table = document[RESULTS_TABLE]
    document[RESULTS_TABLE] = {name: table[name] for name in ("3", "1", "2")}
    store.path.write_bytes(orjson.dumps(document))
    assert [one.run_id for one in store.stream()] == ["run00002", "run00000", "run00001"]
    store.add([result(7)])
    assert list(read_document(store.path)[RESULTS_TABLE]) == ["3", "1", "2", "4"]


def test_a_missing_file_has_no_rows_and_is_not_made_without_any(store: ResultStore) -> None:
    assert list(store.stream()) == []
    assert store.add([]) == 0
    assert not store.path.exists()
