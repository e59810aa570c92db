"""Data that would exhaust memory, block or mislead a reader: images, links, pipes, and folders outside the dataset."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_console.system.errors import OperationFailed
from ssl_console.workspace.ownership import check_ownership
from ssl_console.workspace.paths import Workspace
from tasks.catalog.catalog import folder_card
from tasks.catalog.describe_main import describe
from tasks.datasets.card import DatasetCard
from tasks.datasets.dataset import DataError
from tasks.datasets.download.safe_unpack import ArchiveError, unpack
from tasks.datasets.images import FileImages, decode
from tasks.datasets.manifest import Manifest, Unreadable
from tasks.features.cache_report import CacheEntry, Pruning, entries, prune
from tests.faults.conftest import MakeStage
from tests.faults.tally import Tally
from tests.ssl_console.cli.shell import Shell
from tests.ssl_console.cli.test_compare import leave

GROUP = "hostile data"


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def huge_png(side: int) -> bytes:
    """A complete PNG of one bit per pixel: 50,000 x 50,000 pixels are 300 MB unpacked, and 7.5 GB as RGB."""
    packer = zlib.compressobj(1)
    line = bytes(1 + (side + 7) // 8)
    content = b"".join(packer.compress(line) for _ in range(side)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def header_of(form: str, side: int) -> bytes:
    """The smallest file of a format, with another size in its header."""
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, form)
    content = buffer.getvalue()
    match form:
        case "BMP":
            return content[:18] + struct.pack("<ii", side, side) + content[26:]
        case "TIFF":
            width, height = struct.pack("<HHII", 256, 4, 1, 16), struct.pack("<HHII", 257, 4, 1, 16)
            assert content.count(width) == content.count(height) == 1
            larger = struct.pack("<I", side)
            return content.replace(width, width[:-4] + larger).replace(height, height[:-4] + larger)
        case _:
            return content.replace(b"P6\n16 16\n", b"P6\n%d %d\n" % (side, side))


def photos(root: Path, count: int = 12) -> Path:
    """A folder of class folders."""
    chance = np.random.default_rng(0)
    for number in range(count):
        folder = root / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(chance.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return root


# -- images -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM"])
def test_an_image_of_fifty_thousand_pixels_a_side_is_refused_by_name(form: str, tmp_path: Path, tally: Tally) -> None:
    path = tmp_path / f"x.{form.lower()}"
    path.write_bytes(huge_png(50_000) if form == "PNG" else header_of(form, 50_000))
    with pytest.raises(DataError, match=f"{path} is too large an image to decode .*: make it smaller or remove it"):
        decode(path, "things", path.read_bytes())
    with pytest.raises(DataError, match="too large"):
        FileImages("things", tmp_path, (path.name,)).size(0)
    tally.add(f"an image of 50,000 x 50,000 pixels ({form}, {path.stat().st_size:,} bytes)", 1, "refused by name")


@pytest.mark.slow
def test_a_run_over_an_image_of_fifty_thousand_pixels_a_side_names_it(make_stage: MakeStage, tmp_path: Path) -> None:
    stage = make_stage(SSL_CONSOLE_PROTOCOLS="")
    root = photos(tmp_path / "photos")
    (root / "cat" / "huge.png").write_bytes(huge_png(50_000))
    added = stage("add", "dataset", str(root), "--name", "photos")
    assert f"1 image cannot be read: {root}/cat/huge.png is too large an image to decode" in added.out + added.err
    done = stage("run", "-b", "demo/random", "-t", "knn/photos")
    assert done.code == 1
    (row,) = stage("runs", "--json").document["runs"]
    assert (row["state"], row["kind"]) == ("failed", "data")
    assert f"{root}/cat/huge.png is too large an image to decode" in row["reason"]


# -- links and pipes ----------------------------------------------------------------------------------------------


def test_images_that_are_links_out_of_the_dataset_are_followed_and_told(tmp_path: Path) -> None:
    root = photos(tmp_path / "data" / "photos")
    Image.new("RGB", (9, 9)).save(tmp_path / "secret.png")
    (root / "cat" / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "cat" / "inside.png").symlink_to(root / "dog" / "1.png")
    found = describe(folder_card(f"imagefolder:{root}"), tmp_path / "data")
    assert isinstance(found, Manifest)
    assert found.notes[-1] == (
        f"1 image of all is a link that leads out of {root}: cat/link.png is {tmp_path / 'secret.png'}"
    )


def test_a_folder_that_is_a_link_is_told_by_its_images_and_a_linked_data_root_is_not(tmp_path: Path) -> None:
    photos(tmp_path / "elsewhere" / "more", 4)
    root = photos(tmp_path / "disk" / "photos")
    (root / "bird").symlink_to(tmp_path / "elsewhere" / "more" / "cat")
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    found = describe(folder_card(f"imagefolder:{tmp_path / 'data' / 'photos'}"), tmp_path / "data")
    assert isinstance(found, Manifest)
    assert next(note for note in found.notes if "lead out" in note).startswith("2 images of all are links")


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_is_no_file_is_refused_before_anything_waits_for_it(kind: str, tmp_path: Path) -> None:
    root = photos(tmp_path / "photos")
    place = root / "cat" / "odd.png"
    if kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to("/dev/zero")
    found = describe(folder_card(f"imagefolder:{root}"), tmp_path)
    assert isinstance(found, Unreadable)
    assert f"{place} is not a file but a device, a pipe or a folder: remove it" in found.error


def test_features_that_are_a_link_are_forgotten_and_what_they_point_to_stays(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("years of work")
    store = tmp_path / "features"
    store.mkdir()
    (store / ("0" * 64)).symlink_to(precious)
    damaged: list[CacheEntry] = entries(store)
    prune(store, Pruning(unused_for_s=0.0, partials=True, keep_bytes=0), now=1e12)
    assert (precious / "thesis.tex").read_text() == "years of work"
    assert len(entries(store)) < len(damaged) or not damaged


# -- cards --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["../outside", "a/../../outside", "/etc", ".."])
def test_a_card_cannot_place_its_data_outside_of_the_data_root(folder: str) -> None:
    with pytest.raises(ValueError, match="must be below the data root"):
        DatasetCard.model_validate(
            {
                "name": "x",
                "title": "X",
                "reader": "dtd",
                "protocols": ["knn"],
                "folder": folder,
                "download": "automatic",
            }
        )


def test_cards_of_absurd_size_are_named_and_hide_no_others(shell_in: Shell) -> None:
    folder = shell_in.workspace.backbones
    with (folder / "large.toml").open("wb") as file:
        file.truncate(3 << 30)
    (folder / "deep.toml").write_text(f"a = {'[' * 50_000}{']' * 50_000}\n")
    (folder / "many.toml").write_text("".join(f"key{number} = 1\n" for number in range(10_000)))
    (folder / "numbers.toml").write_text(f"title = {'9' * 100_000}\n")
    listed = shell_in("backbones", "--json")
    assert listed.code == 0
    assert "demo/simclr" in [row["backbone"] for row in listed.document["backbones"]]
    assert "problems with cards (`ssl-console doctor` lists them)" in listed.err
    assert max(map(len, listed.err.splitlines())) < 2_000
    examined = shell_in("doctor").out
    for name, words in (("large", "3,221,225,472 bytes, but a card has at most"), ("deep", "nested too deeply")):
        assert f"{folder / name}.toml" in examined
        assert words in examined
    assert f"{folder / 'numbers'}.toml" in examined


@pytest.fixture
def shell_in(workspace: Workspace) -> Shell:
    """The command line in an empty workspace."""
    return Shell(workspace, dict(os.environ))


# -- archives -----------------------------------------------------------------------------------------------------


def ignore(_done: int, _total: int) -> None:
    """Ignore the progress."""


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_tar_archive_whose_names_take_gigabytes_is_refused_before_they_are_read(kind: bytes, tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, 8 << 30
    (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    with pytest.raises(ArchiveError, match="8,589,934,592 bytes: not unpacked"):
        unpack(tmp_path / "x.tar", tmp_path / "out", ignore)


def test_an_archive_with_a_name_that_no_file_can_have_is_refused_by_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(f"a/{'x' * 10_000}", b"x")
    with pytest.raises(ArchiveError, match=r"holds what cannot be unpacked, 'xxx.*File name too long") as raised:
        unpack(tmp_path / "x.zip", tmp_path / "out", ignore)
    assert len(str(raised.value)) < 400


def test_an_archive_in_which_a_name_is_a_file_and_a_folder_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a", b"x")
        archive.writestr("a/b", b"x")
    with pytest.raises(ArchiveError, match="holds what cannot be unpacked"):
        unpack(tmp_path / "x.zip", tmp_path / "out", ignore)


def test_a_tar_archive_that_is_broken_in_its_middle_is_no_shorter_archive(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name in "abc":
            info = tarfile.TarInfo(name)
            info.size = 600
            archive.addfile(info, io.BytesIO(bytes(600)))
    content = bytearray((tmp_path / "x.tar").read_bytes())
    content[512 + 1024 + 5] ^= 0xFF
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(ArchiveError, match="no valid entry at byte 1,536"):
        unpack(tmp_path / "x.tar", tmp_path / "out", ignore)


# -- pipes and devices, which a reader would wait for without end -----------------------------------------------------

VERBS = (
    ("add", "dataset", "{place}", "--name", "odd"),
    ("add", "backbone", "{place}", "--name", "odd"),
    ("features", "demo/random", "{place}", "-o", "{out}"),
    ("features", "demo/random", "{folder}", "-o", "{out}"),
    ("verify", "{place}"),
    ("import", "{place}"),
)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_pipes_and_devices_named_on_the_command_line_are_refused_by_name(
    kind: str, shell_in: Shell, tmp_path: Path, tally: Tally
) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    place = folder / "odd.png"
    os.mkfifo(place) if kind == "pipe" else place.symlink_to("/dev/zero")
    for verb in VERBS:
        words = [word.format(place=place, folder=folder, out=tmp_path / "out.npz") for word in verb]
        done = shell_in(*words)
        assert done.code in (2, 3), (words, done.err)
        assert str(place) in done.err, (words, done.err)
        assert "Traceback" not in done.err, words
    assert not (tmp_path / "out.npz").exists()
    tally.add("pipes and devices named as a dataset, a checkpoint, images or a bundle", len(VERBS), "refused by name")


@pytest.mark.parametrize("name", ["config.toml", "results.json", "supervisor/log", "supervisor/state.json"])
def test_a_pipe_or_a_device_in_place_of_a_file_of_the_workspace_is_refused_by_name(
    name: str, workspace: Workspace, tally: Tally
) -> None:
    place = workspace.root / name
    os.mkfifo(place)
    with pytest.raises(OperationFailed, match=f"{place} is a pipe or a device instead of a file: rm {place}"):
        check_ownership(workspace)
    place.unlink()
    check_ownership(workspace)
    workspace.config.symlink_to("/dev/zero")
    with pytest.raises(OperationFailed, match=r"config\.toml is a pipe or a device instead of a file"):
        check_ownership(workspace)
    tally.add("pipes and devices in place of settings, the database, a log or a state", 2, "refused by name")


EXPORTS = (
    ("table", "-o", "out.csv"),
    ("table", "-o", "out.parquet"),
    ("report", "-o", "out.html"),
    ("bundle", "-o", "out.zip"),
    ("model-page", "own/a", "-o", "."),
)
NAMES = ("out.csv", "out.parquet", "out.html", "out.zip", "evaluation.md")


@pytest.mark.slow
def test_exports_are_not_written_through_a_link_that_waits_in_their_place(
    shell_in: Shell, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    leave(workspace, "own/a", "linear/cars", 0.7, protocol="linear", dataset="cars", identified_by="content")
    folder, victim = tmp_path / "theirs", tmp_path / "victim"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in NAMES:
        (folder / name).symlink_to(victim)
    for verb in EXPORTS:
        done = shell_in(*verb)
        assert done.code == 0, (verb, done.err)
    assert not victim.exists()
    for name in NAMES:
        assert not (folder / name).is_symlink()
        assert (folder / name).stat().st_mode & 0o077 == 0, name
    tally.add("exports to a name at which a link waits", len(EXPORTS), "the link is replaced; its target is not made")
