"""Archives from the network are unpacked safely."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.datasets.download import safe_unpack
from tasks.datasets.download.safe_unpack import ArchiveError, unpack


def ignore(done: int, total: int) -> None:
    pass


def tar_with(path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tar_archives_of_every_compression_are_unpacked(mode: str, tmp_path: Path) -> None:
    members = (entry("set/a/1.jpg"), b"one"), (entry("set/a/2.jpg"), b"two" * 1000)
    unpack(tar_with(tmp_path / "set.tar", *members, mode=mode), tmp_path / "out", ignore)
    assert (tmp_path / "out/set/a/1.jpg").read_bytes() == b"one"
    assert (tmp_path / "out/set/a/2.jpg").stat().st_size == 3000


def test_zip_archives_are_unpacked_and_progress_reaches_the_archives_size(tmp_path: Path) -> None:
    path, seen = tmp_path / "set.zip", list[tuple[int, int]]()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as whole:
        whole.mkdir("2750")
        whole.writestr("2750/Forest/1.jpg", b"one")
    unpack(path, tmp_path / "out", lambda done, total: seen.append((done, total)))
    assert (tmp_path / "out/2750/Forest/1.jpg").read_bytes() == b"one"
    assert {total for _, total in seen} == {path.stat().st_size}
    assert all(done <= total for done, total in seen)


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "a/../../outside", "..\\outside", "C:/outside", "a\\b"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_path_that_leads_out_of_the_folder_is_refused(kind: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / f"evil.{kind}"
    if kind == "tar":
        tar_with(path, (entry(name), b"x"))
    else:
        info = zipfile.ZipInfo("placeholder")
        info.filename = name
        with zipfile.ZipFile(path, "w") as whole:
            whole.writestr(info, b"x")
    with pytest.raises(ArchiveError, match="leads out of the folder"):
        unpack(path, tmp_path / "in" / "out", ignore)
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == [path]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar_archive_are_refused(kind: bytes, tmp_path: Path) -> None:
    members = (entry("a", kind, link="/etc"), b""), (entry("a/passwd"), b"x")
    with pytest.raises(ArchiveError, match="'a', a link or device"):
        unpack(tar_with(tmp_path / "evil.tar.gz", *members), tmp_path / "out", ignore)
    assert not (tmp_path / "out" / "a").is_symlink()


def test_a_symbolic_link_in_a_zip_archive_is_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as whole:
        whole.writestr(info, "/etc/passwd")
    with pytest.raises(ArchiveError, match="'link', a link or device"):
        unpack(tmp_path / "evil.zip", tmp_path / "out", ignore)


def bomb_tar(path: Path) -> None:
    tar_with(path, (entry("zeros"), bytes(150_000_000)), mode="w:xz")


def bomb_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as whole:
        whole.writestr("zeros", bytes(150_000_000))


@pytest.mark.parametrize("make", [bomb_tar, bomb_zip])
def test_an_archive_that_grows_absurdly_is_given_up(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "bomb")
    with pytest.raises(ArchiveError, match="more than 20 times its size"):
        unpack(tmp_path / "bomb", tmp_path / "out", ignore)
    assert (tmp_path / "out" / "zeros").stat().st_size < 150_000_000


def test_an_archive_of_too_many_entries_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_unpack, "MOST_ENTRIES", 10)
    members = [(entry(f"{number}"), b"") for number in range(20)]
    with pytest.raises(ArchiveError, match="more than 10 entries: unpacking stopped"):
        unpack(tar_with(tmp_path / "many.tar", *members), tmp_path / "out", ignore)


def test_a_password_is_refused_and_not_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "secret.zip"
    with zipfile.ZipFile(path, "w") as whole:
        whole.writestr("1.jpg", b"x")
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match="password"):
        unpack(path, tmp_path / "out", ignore)


@pytest.mark.parametrize("ending", [".tar.gz", ".tar.xz", ".tar", ".zip"])
def test_an_archive_that_is_cut_short_is_an_error_that_names_it(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"set{ending}"
    content = bytes(range(256)) * 400
    if ending == ".zip":
        with zipfile.ZipFile(path, "w") as whole:
            whole.writestr("1.jpg", content)
    else:
        tar_with(path, (entry("1.jpg"), content), mode=f"w:{ending[5:]}" if len(ending) > 4 else "w")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ArchiveError, match=f"{path} is not a complete archive"):
        unpack(path, tmp_path / "out", ignore)


def test_a_web_page_in_place_of_an_archive_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "set.tar.gz").write_text("<html>Please log in</html>" * 50)
    with pytest.raises(ArchiveError, match=r"set.tar.gz is not a complete archive"):
        unpack(tmp_path / "set.tar.gz", tmp_path / "out", ignore)
