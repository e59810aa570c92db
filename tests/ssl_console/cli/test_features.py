from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backbones.io.card_files import UnknownName
from ssl_console.operations.export_features import ExportOptions, export_features, export_request
from ssl_console.operations.session import Session
from ssl_console.system.errors import ConsoleError, MissingInputs
from ssl_console.workspace.paths import Workspace
from tasks.features.requests import DatasetSplits, ImageFiles
from tests.ssl_console.cli.shell import Shell


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two images and two other files, one of them in a folder below."""
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name in ("b.png", "below/a.png"):
        Image.fromarray(generator.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_text("no image")
    return folder


@pytest.fixture
def session(workspace: Workspace) -> Session:
    session = Session.of(workspace)
    session.notified = []  # type: ignore[attr-defined]
    session.notify = session.notified.append  # type: ignore[attr-defined]
    return session


def test_a_folder_gives_its_images_by_path_and_counts_what_it_leaves_out(
    session: Session, pictures: Path, tmp_path: Path
) -> None:
    request = export_request(session, "demo/simclr", [str(pictures), "digits"], ExportOptions(tmp_path / "f.npz"))
    first, second = request.sources
    assert isinstance(first, ImageFiles)
    assert first.names == (f"{pictures}/b.png", f"{pictures}/below/a.png")
    assert isinstance(second, DatasetSplits)
    notes = session.notified  # type: ignore[attr-defined]
    assert notes == [f"{pictures}: 1 file is skipped, not images (1 .txt)"]


@pytest.mark.parametrize(
    ("images", "changed", "words"),
    [
        (["digits"], {"output": "f.csv"}, "written as"),
        (["digits"], {"output": "nowhere/f.npy"}, "does not exist"),
        (["digits"], {"pooling": "max"}, "--pooling max: choose avg"),
        (["digits"], {"layers": ("first",)}, "--layers first: numbers of blocks from 1, or all"),
        (["digits"], {"layers": ("3",), "pooling": "avg"}, "--pooling avg: choose cls, mean, registers"),
        (["digits"], {"precision": "int8"}, "--precision int8"),
        (["digits"], {"preprocessing": "none"}, "--preprocessing none"),
        (["pictures"], {"splits": ("test",)}, "files and folders have no splits"),
        (["absent/file.png"], {}, "no such file"),
    ],
)
def test_wrong_usage_is_refused_before_anything_is_computed(
    session: Session,
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
    images: list[str],
    changed: dict[str, Any],
    words: str,
) -> None:
    monkeypatch.chdir(pictures.parent)
    options = ExportOptions(Path(changed.pop("output", "f.npz")), **changed)
    with pytest.raises(ConsoleError, match=words):
        export_request(session, "demo/simclr", images, options)


def test_a_file_is_replaced_only_on_demand(session: Session, tmp_path: Path) -> None:
    (tmp_path / "f.names.json").write_text("{}")
    with pytest.raises(ConsoleError, match=r"f\.names\.json already exists"):
        export_request(session, "demo/simclr", ["digits"], ExportOptions(tmp_path / "f.npy"))
    export_request(session, "demo/simclr", ["digits"], ExportOptions(tmp_path / "f.npy", replace=True))


def test_a_name_that_is_a_dataset_and_a_folder_is_not_guessed(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    with pytest.raises(ConsoleError, match=r"write \./digits"):
        export_request(session, "demo/simclr", ["digits"], ExportOptions(tmp_path / "f.npy"))
    with pytest.raises(MissingInputs, match="no images in this folder"):
        export_request(session, "demo/simclr", ["./digits"], ExportOptions(tmp_path / "f.npy"))
    with pytest.raises(UnknownName, match="did you mean 'digits'"):
        export_request(session, "demo/simclr", ["digit"], ExportOptions(tmp_path / "f.npy"))


def test_missing_weights_and_data_name_the_command_that_gets_them(session: Session, tmp_path: Path) -> None:
    options = ExportOptions(tmp_path / "f.npy")
    with pytest.raises(MissingInputs, match="ssl-console weights fetch paper/moco-v2"):
        export_request(session, "paper/moco-v2", ["digits"], options)
    with pytest.raises(MissingInputs, match="ssl-console data fetch cifar10"):
        export_request(session, "demo/simclr", ["cifar10"], options)


@pytest.mark.slow
def test_the_verb_writes_features_and_reports_progress_and_exit_codes(shell: Shell, pictures: Path) -> None:
    output = pictures.parent / "f.npy"
    done = shell("features", "demo/simclr", str(pictures / "b.png"), str(pictures), "-o", str(output), "--json")
    assert done.code == 0, done.err
    assert (done.document["images"], done.document["dimension"]) == (3, 96)
    assert "encoding: 3 of 3 images, 100 %" in done.err
    assert all(f"warning: {words}" in done.err for words in done.document["warnings"])
    values = np.load(output)
    np.testing.assert_allclose(values[0], values[1], rtol=1e-5)
    assert len(json.loads(output.with_suffix(".names.json").read_text())["names"]) == 3
    assert shell("features", "demo/simclr", str(pictures / "notes.txt"), "-o", str(output), "--replace").code == 3
    assert shell("features", "demo/simcl", "digits", "-o", str(output), "--replace").code == 2


def test_a_process_that_dies_is_reported_in_one_sentence(
    session: Session, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssl_console.operations.export_features.EXPORT", "no.such.module")
    with pytest.raises(ConsoleError, match=r"the extraction subprocess failed: .*no"):
        export_features(session, "demo/simclr", [str(pictures)], ExportOptions(tmp_path / "f.npy"), lambda _one: None)
