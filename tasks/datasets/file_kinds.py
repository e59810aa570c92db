"""Recognition of image files: by suffix, or by their first bytes if the suffix is not informative. Needs no numpy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".png", ".apng", ".gif", ".webp", ".bmp", ".dib", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".avifs", ".jp2", ".j2k", ".jpx", ".jpc", ".tga", ".sgi", ".pcx"),
)
"""Suffixes of image formats that Pillow decodes."""
UNREADABLE = (
    *(".heic", ".heif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".svg", ".psd"),
    *(".dcm", ".nii", ".exr", ".hdr", ".npy", ".mat", ".eps", ".pdf", ".ai", ".xcf", ".jxr", ".czi", ".svs", ".ndpi"),
)
"""Suffixes of image formats that Pillow does not decode, or not to 8-bit RGB."""
MAGIC = (
    *(b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM", b"II*\0", b"MM\0*"),
    *(b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51", b"P1\n", b"P2\n", b"P3\n", b"P4\n", b"P5\n", b"P6\n"),
)
LEFTOVER_FOLDERS = frozenset(
    {
        *("@eadir", "__macosx", ".ipynb_checkpoints", "#recycle", "$recycle.bin", "lost+found", "__pycache__"),
        *(".git", ".svn", ".thumbnails", ".trash", ".trashes", ".spotlight-v100", ".fseventsd", ".ds_store"),
    }
)
LEFTOVER_FILES = frozenset({"thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r", ".ds_store"})
HEAD = 32


def is_image_name(name: str) -> bool:
    """Whether the suffix is that of a decodable image format."""
    return os.path.splitext(name)[1].lower() in ENDINGS  # noqa: PTH122 - once per file


def is_leftover(name: str) -> bool:
    """Whether a file or folder was left by a file manager, an archive, a network drive or a notebook."""
    return name.startswith((".", "._")) or name.lower() in LEFTOVER_FOLDERS or name.lower() in LEFTOVER_FILES


def sniffed(head: bytes) -> bool:
    """Whether these first bytes are of an image."""
    webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    avif = head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis")
    return head.startswith(MAGIC) or webp or avif


def kind_of(name: str) -> str:
    """Category in which a left-out file is counted: its suffix, or that it has none."""
    ending = os.path.splitext(name)[1].lower()  # noqa: PTH122 - once per file
    return f"{ending} files" if ending else "files without a suffix"


@dataclass(frozen=True)
class FolderFile:
    """A file below a folder, and the reason why it is not an image; empty for an image."""

    path: Path
    reason: str = ""


def walk(folder: Path) -> Iterator[FolderFile]:
    """All files below a folder in order of path; links to folders are followed once; leftovers are marked by their
    folder."""
    yield from _walk(folder, frozenset())


def _walk(folder: Path, above: frozenset[str]) -> Iterator[FolderFile]:
    place = os.path.realpath(folder)
    if place in above:  # a link to a folder above
        return
    for entry in sorted(os.scandir(folder), key=lambda one: one.name):
        path = folder / entry.name
        if is_leftover(entry.name):
            yield from _leftovers(path, is_folder=entry.is_dir())
        elif entry.is_dir():
            yield from _walk(path, above | {place})
        else:
            yield FolderFile(path, why_not(path))


def _leftovers(path: Path, *, is_folder: bool) -> Iterator[FolderFile]:
    """Files of a leftover folder, counted under its name."""
    if not is_folder:
        yield FolderFile(
            path, f"leftovers such as {path.name}" if path.name.startswith(".") else f"leftovers: {path.name}"
        )
        return
    for _, _, names in os.walk(path):
        for name in names:
            yield FolderFile(path / name, f"files in {path.name}")


def why_not(path: Path) -> str:
    """Reason why a file is not a decodable image; empty for one that is."""
    if path.is_symlink() and not path.exists():
        return "" if is_image_name(path.name) else "broken links"
    if is_image_name(path.name):
        return ""
    try:
        with path.open("rb") as file:
            known = sniffed(file.read(HEAD)) and path.suffix.lower() not in UNREADABLE
    except OSError:
        return f"{kind_of(path.name)} that cannot be read"
    if known:
        return ""
    undecoded = path.suffix.lower() in UNREADABLE
    return f"{kind_of(path.name)}, which cannot be decoded here" if undecoded else kind_of(path.name)
