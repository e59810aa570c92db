"""A bundle is consistent; verification locates every change in it."""

from __future__ import annotations

import io
import json
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssl_console.operations.bundle import archive
from ssl_console.operations.bundle.archive import NotABundle, digest, read_arrays, write
from ssl_console.operations.bundle.verify import Report, check
from ssl_console.operations.bundle.write import bundle
from ssl_console.workspace.results_db import ResultStore
from tests.ssl_console.measured import MANIFEST, filled

Members = dict[str, bytes]
FLIPS = 60


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    workspace = filled(folder / "workspace")
    path = folder / "results.zip"
    bundle(path, workspace, ResultStore(workspace).results(), None, lambda _card: MANIFEST)
    return path


@pytest.fixture(scope="module")
def members(made: Path) -> Members:
    with zipfile.ZipFile(made) as file:
        return {name: file.read(name) for name in file.namelist()}


def only(members: Members, kind: str, word: str = "") -> str:
    """The first member of a kind that contains the word."""
    return next(name for name in members if name.startswith(kind) and word.encode() in members[name])


def repacked(folder: Path, members: Members, **changed: Any) -> Path:
    """A bundle with other content and matching digests: only recomputation detects it."""
    whole = {**members, **{name: content for name, content in changed.items() if content is not None}}
    index = json.loads(whole[archive.INDEX])
    listed = {
        name: {"sha256": digest(whole[name]), "bytes": len(whole[name])} for name in index["files"] if name in whole
    }
    whole[archive.INDEX] = json.dumps({**index, "files": listed}).encode()
    path = folder / "edited.zip"
    write(path, whole.items())
    return path


def edited(members: Members, name: str, edit: Callable[[Any], None]) -> bytes:
    content = json.loads(members[name])
    edit(content)
    return json.dumps(content).encode()


def words(report: Report) -> str:
    return "\n".join(f"{problem.file}: {problem.what}" for problem in report.problems)


def test_a_bundle_agrees_with_itself_and_every_score_is_counted_again(made: Path) -> None:
    report = check(made)
    assert words(report) == ""
    assert (report.results, report.tables, report.not_counted) == (4, 4, [])
    assert report.scores == 10


def test_every_flipped_byte_is_seen_and_its_file_named(made: Path, tmp_path: Path) -> None:
    content = made.read_bytes()
    with zipfile.ZipFile(made) as file:
        starts = {one.header_offset: one.filename for one in file.infolist()}
    path = tmp_path / made.name
    for place in np.linspace(0, len(content) - 1, FLIPS).astype(int).tolist():
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            told = words(check(path))
        except NotABundle as error:
            told = str(error)
        inside = starts[max(start for start in starts if start <= place)]
        assert inside in told or path.name in told, f"byte {place} in {inside}"


def test_an_edited_score_is_named_with_what_the_predictions_give(members: Members, tmp_path: Path) -> None:
    name = only(members, "records/", "knn/digits")

    def better(record: Any) -> None:
        record["metrics"]["mean-per-class"] += 1.5

    told = words(check(repacked(tmp_path, members, **{name: edited(members, name, better)})))
    before = json.loads(members[name])["metrics"]["mean-per-class"]
    assert told == f"{name}: mean-per-class is {before + 1.5}, its predictions give {before}"


def test_an_edited_headline_interval_and_number_are_named(members: Members, tmp_path: Path) -> None:
    name = only(members, "records/", "few-shot-5/digits")

    def changed(record: Any) -> None:
        record["result"] |= {"value": 99.0, "ci_low": 98.0, "ci_high": 99.9, "n": 7, "key": "0" * 64, "seed": 3}

    told = words(check(repacked(tmp_path, members, **{name: edited(members, name, changed)})))
    for word in ("value is 99.0", "ci_low is 98.0", "ci_high is 99.9", "n is 7", "key is 0000", "seed is 3"):
        assert f"{name}: {word}" in told
    assert "tables/ranking.csv: line" in told


def test_an_edited_prediction_is_named(members: Members, tmp_path: Path) -> None:
    name = only(members, "predictions/", "predicted")
    arrays = dict(read_arrays(members[name]))
    flipped = arrays["predicted"].copy()
    flipped[0] = (flipped[0] + 1) % 4
    buffer = io.BytesIO()
    np.savez(buffer, **{**arrays, "predicted": flipped})  # type: ignore[arg-type]
    told = words(check(repacked(tmp_path, members, **{name: buffer.getvalue()})))
    assert f"records/{archive.run_id(name)}.json: accuracy is" in told


@pytest.mark.parametrize("table", ["tables/ranking.csv", "tables/ranking.md", "tables/ranking.json"])
def test_an_edited_number_in_a_table_is_named(table: str, members: Members, tmp_path: Path) -> None:
    score = json.loads(members["tables/ranking.json"])["rows"][0]["scores"]["knn/digits"]["value"]
    old = f"{score:.1f}" if table.endswith("md") else repr(score)
    content = members[table].replace(old.encode(), b"77.7", 1)
    assert content != members[table]
    told = words(check(repacked(tmp_path, members, **{table: content})))
    assert told.startswith(f"{table}: ")
    assert re.search(r"is \**77\.7.*, its records give", told)


def test_a_table_of_a_version_that_said_less_still_agrees(members: Members, tmp_path: Path) -> None:
    def without_win_rates(table: Any) -> None:
        for row in table["rows"]:
            del row["win_rate"]

    content = edited(members, "tables/ranking.json", without_win_rates)
    assert words(check(repacked(tmp_path, members, **{"tables/ranking.json": content}))) == ""


def test_edited_classes_do_not_fit_the_digest_of_the_data(members: Members, tmp_path: Path) -> None:
    name = only(members, "manifests/")
    content = edited(members, name, lambda manifest: manifest["classes"].reverse())
    assert f"{name}: declares digest" in words(check(repacked(tmp_path, members, **{name: content})))


def test_members_that_are_gone_or_were_added_are_named(members: Members, tmp_path: Path) -> None:
    gone, path = only(members, "records/"), tmp_path / "other.zip"
    kept = {name: content for name, content in members.items() if name != gone}
    write(path, {**kept, "records/more.json": members[gone]}.items())
    told = words(check(path))
    assert f"{gone}: is listed but missing" in told
    assert "records/more.json: is not listed" in told


# -- malicious files --------------------------------------------------------------------------------------------


class Trap:
    """Runs when unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return Path.write_text, (Path("sprung"), "")  # type: ignore[return-value]


def test_a_pickle_among_the_arrays_is_refused_and_never_opened(
    members: Members, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name, buffer = only(members, "predictions/"), io.BytesIO()
    np.savez(buffer, label=np.array([Trap()], dtype=object))
    told = words(check(repacked(tmp_path, members, **{name: buffer.getvalue()})))
    assert f"{name}: label.npy holds object, not numbers" in told
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("label.npy", pickle.dumps(Trap()))
    assert f"{name}: " in words(check(repacked_again(tmp_path, members, name, buffer.getvalue())))
    assert not Path("sprung").exists()


def repacked_again(folder: Path, members: Members, name: str, content: bytes) -> Path:
    (folder / "edited.zip").unlink()
    return repacked(folder, members, **{name: content})


def test_an_array_that_says_it_is_larger_than_its_file_is_refused() -> None:
    buffer = io.BytesIO()
    np.savez(buffer, label=np.zeros(4))
    lying = buffer.getvalue().replace(b"(4,)", b"(4,)".replace(b"4", b"9"))
    with zipfile.ZipFile(io.BytesIO(lying)) as file:
        header = file.infolist()[0]
    repaired = io.BytesIO()
    with zipfile.ZipFile(repaired, "w") as file:
        raw = lying[lying.index(b"\x93NUMPY") :][: header.file_size]
        file.writestr("label.npy", raw)
    with pytest.raises(ValueError, match=r"declares shape \(9,\)"):
        read_arrays(repaired.getvalue())


@pytest.mark.parametrize("name", ["../outside.json", "/etc/passwd", "records/../../x.json", "run.sh"])
def test_a_zip_with_a_strange_name_is_not_read_at_all(name: str, tmp_path: Path) -> None:
    path = tmp_path / "strange.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(name, b"x")
    with pytest.raises(NotABundle, match="has a member"):
        check(path)


def test_a_compressed_zip_is_not_read_so_nothing_can_swell(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(archive.INDEX, b"0" * 10_000_000)
    with pytest.raises(NotABundle, match="is compressed"):
        check(path)


def test_what_is_no_zip_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "text.zip"
    path.write_text("no")
    with pytest.raises(NotABundle, match="cannot be read as a zip file"):
        check(path)


def test_a_bundle_never_replaces_a_file(made: Path) -> None:
    workspace = filled(made.parent / "again")
    with pytest.raises(FileExistsError):
        bundle(made, workspace, ResultStore(workspace).results(), None, lambda _card: None)
