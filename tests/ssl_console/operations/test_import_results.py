"""Results of a bundle are imported into another workspace: verified, joined by key, conflicts named, origin
recorded."""

from __future__ import annotations

import json
import stat
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ssl_console.analysis.export import to_csv, to_json, to_latex, to_markdown, to_text
from ssl_console.analysis.ranking import rank
from ssl_console.analysis.result_diff import difference
from ssl_console.cli.handlers.bundle import import_results
from ssl_console.cli.handlers.rank import results as list_results
from ssl_console.cli.output.progress import outcome_text
from ssl_console.operations.bundle import archive
from ssl_console.operations.bundle.archive import Archive, NotABundle, digest, read_arrays, write
from ssl_console.operations.bundle.import_results import Imported, NotVerified, import_bundle
from ssl_console.operations.bundle.verify import check
from ssl_console.operations.bundle.write import bundle
from ssl_console.operations.progress import RunReader
from ssl_console.operations.session import Session
from ssl_console.system.errors import ExitCode
from ssl_console.tui.style.text import Line
from ssl_console.tui.views.live import details
from ssl_console.tui.views.result import result_lines
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.result import Result, ResultRecord
from ssl_console.workspace.results_db import ResultStore, rebuild
from ssl_console.workspace.run_index import RunIndex
from tests.ssl_console.measured import MANIFEST, filled, measure

Members = dict[str, bytes]
RESULTS = 4


def bundled(path: Path, workspace: Workspace) -> Path:
    bundle(path, workspace, ResultStore(workspace).results(), None, lambda _card: MANIFEST)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("there")
    return bundled(folder / "results.zip", filled(folder / "workspace"))


@pytest.fixture(scope="module")
def members(made: Path) -> Members:
    with zipfile.ZipFile(made) as file:
        return {name: file.read(name) for name in file.namelist()}


@pytest.fixture
def here(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "here").create()


def imported(path: Path, workspace: Workspace, **options: bool) -> Imported:
    return import_bundle(path, workspace, lambda _line: None, **options)


def repacked(path: Path, members: Members, changed: Members) -> Path:
    """A bundle with other content and matching digests."""
    whole = {**members, **changed}
    index = json.loads(whole[archive.INDEX])
    index["files"] = {
        name: {"sha256": digest(content), "bytes": len(content)}
        for name, content in whole.items()
        if name not in {archive.INDEX, archive.README}
    }
    whole[archive.INDEX] = json.dumps(index).encode()
    write(path, whole.items())
    return path


def without_tables(members: Members) -> Members:
    """As format 1, whose tables are compared by their digests only."""
    kept = {name: content for name, content in members.items() if not name.startswith("tables/")}
    index = json.loads(kept[archive.INDEX])
    kept[archive.INDEX] = json.dumps({**index, "format": 1}).encode()
    return kept


def with_record(members: Members, edit: Callable[[Any], None], kind: str = "records/") -> tuple[str, bytes]:
    name = next(name for name in members if name.startswith(kind))
    content = json.loads(members[name])
    edit(content)
    return name, json.dumps(content).encode()


def test_all_results_of_a_verified_bundle_are_runs_and_rows_here(made: Path, here: Workspace) -> None:
    done = imported(made, here)
    assert [one.fate for one in done.results] == ["new"] * RESULTS
    rows = ResultStore(here).results()
    assert len(rows) == RESULTS
    index = RunIndex(here)
    index.refresh(0.0)
    assert {run.status.state.value for run in index.entries.values()} == {"done"}
    assert not index.unreadable
    assert all(here.run(row.run_id).predictions.is_file() for row in rows)
    assert rebuild(here) == RESULTS
    assert ResultStore(here).results() == sorted(rows, key=lambda row: row.finished)
    assert not list(here.runs.glob(".*"))


def test_the_origin_stands_in_every_record_table_and_export(made: Path, here: Workspace) -> None:
    done = imported(made, here)
    rows = ResultStore(here).results()
    record = ResultRecord.model_validate_json(here.run(rows[0].run_id).result.read_bytes())
    assert record.origin is not None
    assert (record.origin.bundle, record.origin.sha256) == ("results.zip", done.digest)
    assert record.badges[-1].name == "imported"
    assert record.host in record.badges[-1].advice
    assert all(row.origin.startswith("results.zip") and "imported" in row.badges for row in rows)
    ranking = rank(rows)
    for text in (to_text(ranking, None), to_markdown(ranking)):
        assert "‡" in text
    assert r"\ddag{}" in to_latex(ranking)
    assert "imported" in to_csv(ranking)
    assert "imported" in to_json(ranking)


def test_the_origin_stands_in_every_view_of_a_run(made: Path, here: Workspace) -> None:
    imported(made, here)
    rows = {row.run_id: row for row in ResultStore(here).results()}
    reader = RunReader(here, rows)
    reader.poll()
    run = reader.runs()[0]
    row = rows[run.run_id]
    record = ResultRecord.model_validate_json(here.run(row.run_id).result.read_bytes())
    assert row.origin in outcome_text(run, row)
    assert row.origin in _text(details(run, row, 0.0, 100))
    assert row.origin in _text(result_lines(row, record, list(rows.values()), "command", 100))
    assert any(change.name == "origin" for change in difference(record, _not_imported(record)).changes)


def _text(lines: Sequence[Line]) -> str:
    return "\n".join("".join(str(getattr(part, "text", part)) for part in line) for line in lines)


def _not_imported(record: ResultRecord) -> ResultRecord:
    return record.model_copy(update={"result": record.result.model_copy(update={"origin": "", "run_id": "other"})})


def test_a_second_import_adds_nothing(made: Path, here: Workspace) -> None:
    imported(made, here)
    again = imported(made, here)
    assert [one.fate for one in again.results] == ["here"] * RESULTS
    assert len(ResultStore(here).results()) == RESULTS


def test_what_was_measured_here_too_is_joined_and_stays_ours(made: Path, here: Workspace) -> None:
    ours = measure(here, "demo/simclr", "knn/digits", 0.7)
    rebuild(here)
    done = imported(made, here)
    (joined,) = done.of("here")
    assert joined.run_id == ours.result.run_id
    assert len(done.of("new")) == RESULTS - 1
    kept = next(row for row in ResultStore(here).results() if row.run_id == ours.result.run_id)
    assert kept.origin == ""


def conflicting(here: Workspace) -> Result:
    """The same measurement with another score."""
    record = measure(here, "demo/simclr", "knn/digits", 0.7)
    row = record.result.model_copy(update={"value": record.result.value - 3})
    changed = record.model_copy(update={"result": row})
    here.run(row.run_id).result.write_text(changed.model_dump_json())
    rebuild(here)
    return row


def test_a_conflict_is_named_with_both_scores_and_left_out(made: Path, here: Workspace) -> None:
    ours = conflicting(here)
    done = imported(made, here)
    (conflict,) = done.of("conflict")
    assert f"gave {ours.value:.2f} here ({ours.run_id}) and {ours.value + 3:.2f} there" in conflict.words
    assert not conflict.taken
    assert len(ResultStore(here).results()) == RESULTS


def test_conflicting_results_can_be_taken_as_further_runs(made: Path, here: Workspace) -> None:
    ours = conflicting(here)
    done = imported(made, here, take_conflicting=True)
    (conflict,) = done.of("conflict")
    assert conflict.run_id == f"{ours.run_id}-2"
    of_key = [row for row in ResultStore(here).results() if row.key == ours.key]
    assert {row.run_id for row in of_key} == {ours.run_id, f"{ours.run_id}-2"}
    assert json.loads(here.run(conflict.run_id).spec.read_bytes())["run_id"] == conflict.run_id


def test_a_dry_run_says_the_same_and_writes_nothing(made: Path, here: Workspace) -> None:
    conflicting(here)
    before = sorted(path.name for path in here.runs.iterdir())
    planned = imported(made, here, dry_run=True)
    assert sorted(path.name for path in here.runs.iterdir()) == before
    assert [one.fate for one in planned.results] == [one.fate for one in imported(made, here).results]


def test_imported_results_can_be_bundled_and_imported_again(made: Path, here: Workspace, tmp_path: Path) -> None:
    imported(made, here)
    onward = bundled(tmp_path / "onward.zip", here)
    assert check(onward).agrees
    third = Workspace(tmp_path / "third").create()
    imported(onward, third)
    row = ResultStore(third).results()[0]
    assert row.origin.startswith("onward.zip")
    assert row.badges.count("imported") == 1


def test_a_bundle_that_does_not_agree_is_not_imported_at_all(members: Members, here: Workspace, tmp_path: Path) -> None:
    name, content = with_record(members, lambda record: record["metrics"].update(accuracy=99.0))
    path = repacked(tmp_path / "edited.zip", members, {name: content})
    with pytest.raises(NotVerified, match="nothing was imported"):
        imported(path, here)
    assert not list(here.runs.iterdir())


@pytest.mark.parametrize(
    ("kind", "edit", "words"),
    [
        ("records/", lambda one: one.update(version=99), "version 99"),
        ("records/", lambda one: one["result"].update(source="paper"), "declares its source"),
        ("specs/", lambda one: one["backbone"].update(name="other/one"), "specification is of other/one"),
        ("specs/", lambda one: one.update(version=99), "specification cannot be read"),
    ],
)
def test_results_that_cannot_be_used_are_left_out_by_name(
    members: Members, here: Workspace, tmp_path: Path, kind: str, edit: Callable[[Any], None], words: str
) -> None:
    old = without_tables(members)
    name, content = with_record(old, edit, kind)
    done = imported(repacked(tmp_path / "edited.zip", old, {name: content}), here)
    (unusable,) = done.of("unusable")
    assert words in unusable.words
    assert len(ResultStore(here).results()) == RESULTS - 1


@pytest.mark.parametrize(
    "name",
    ["../evil.json", "/etc/evil.json", "records/../../evil.json", "records/...json", "records/.hidden.json", "evil.sh"],
)
def test_members_that_would_leave_their_place_are_refused(
    members: Members, here: Workspace, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "hostile.zip"
    write(path, {**members, name: b"{}"}.items())
    with pytest.raises(NotABundle, match="it has a member"):
        imported(path, here)
    assert not (tmp_path / "evil.json").exists()


def test_links_compressed_members_and_bombs_are_refused(members: Members, here: Workspace, tmp_path: Path) -> None:
    link = tmp_path / "link.zip"
    with zipfile.ZipFile(link, "w") as file:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            file.writestr(info, content)
    with pytest.raises(NotABundle, match="is a link"):
        imported(link, here)
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("records/bomb.json", b"\0" * (1 << 20))
    with pytest.raises(NotABundle, match="is compressed"):
        imported(bomb, here)


def test_arrays_that_unpack_to_far_more_than_their_size_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import io  # noqa: PLC0415

    import numpy as np  # noqa: PLC0415

    buffer = io.BytesIO()
    np.savez_compressed(buffer, label=np.zeros(1 << 20, dtype=np.int64))
    monkeypatch.setattr(archive, "LARGE", 1 << 20)
    with pytest.raises(ValueError, match="200 times their size"):
        read_arrays(buffer.getvalue())


def test_a_file_that_changes_after_it_was_verified_is_refused(
    made: Path, here: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.zip"
    path.write_bytes(made.read_bytes())
    real = Archive.open.__func__  # type: ignore[attr-defined]
    opened: list[Path] = []

    def swapped(kind: type[Archive], given: Path) -> Any:
        opened.append(given)
        if len(opened) == 2:
            content = bytearray(given.read_bytes())
            place = content.index(b'"accuracy"')
            content[place + 1] ^= 1
            given.write_bytes(content)
        return real(kind, given)

    monkeypatch.setattr(Archive, "open", classmethod(swapped))
    with pytest.raises((NotABundle, ValueError), match=r"changed|Bad CRC"):
        imported(path, here)
    assert not list(here.runs.iterdir())


def test_the_verb_prints_a_document_and_ends_with_one_where_something_is_left_out(
    made: Path, here: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    session = Session.of(here)
    conflicting(here)
    code = import_results(session, made, take_conflicting=False, dry_run=True, as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert code is ExitCode.RUN_FAILED
    assert sorted(row["fate"] for row in document["results"]) == ["conflict", "new", "new", "new"]
    assert not any(row["imported"] for row in document["results"])
    assert import_results(session, made, take_conflicting=True, dry_run=False, as_json=False) is ExitCode.DONE
    assert "4 results imported, 0 already present, 1 in conflict" in capsys.readouterr().out
    list_results(Session.of(here), as_json=False)
    assert "imported: results.zip" in capsys.readouterr().out
