"""What a file is that is no checkpoint, told from its first bytes: the sentence that helps more than a parser's."""

from __future__ import annotations

from pathlib import Path

_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "is a Git LFS pointer and not the file itself: run `git lfs pull` where it came from"),
    (b"<!DOCTYPE", "is a web page, not a checkpoint: the download needed a login or failed; fetch the file again"),
    (b"<html", "is a web page, not a checkpoint: the download needed a login or failed; fetch the file again"),
    (b"\x89HDF", "is an HDF5 file (Keras): convert it to safetensors or a torch state dict first"),
    (b"\x1f\x8b", "is gzip-compressed: unpack it first (gunzip)"),
    (b"GGUF", "is a GGUF file of a language model, not a vision backbone's checkpoint"),
)
_INSIDE_TAR = 257


def what_else(path: Path) -> str | None:
    """What to say of a file that cannot be a checkpoint; None when it may be one. Raises OSError."""
    if path.stat().st_size == 0:
        return "is empty: the disk was full, or the writing was interrupted"
    with path.open("rb") as file:
        start = file.read(512)
    for beginning, words in _BEGINNINGS:
        if start.lstrip().lower().startswith(beginning.lower()):
            return words
    if start[_INSIDE_TAR : _INSIDE_TAR + 5] == b"ustar":
        return "is a tar archive: unpack it and name the checkpoint inside"
    return None
