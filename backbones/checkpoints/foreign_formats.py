"""Files that are not a state dict: recognised by their content, refused by name with a fix."""

from __future__ import annotations

import zipfile
from pathlib import Path

SAVE_STATE = "save its state dict where the network was created: torch.save(model.state_dict(), 'weights.pth')"
_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "is a Git LFS pointer and not the file itself: run `git lfs pull` where it came from"),
    (b"<!DOCTYPE", "is a web page, not a checkpoint: the download needed a login or failed; fetch the file again"),
    (b"<html", "is a web page, not a checkpoint: the download needed a login or failed; fetch the file again"),
    (b"\x89HDF", "is an HDF5 file (Keras): convert it to safetensors or a torch state dict first"),
    (b"\x1f\x8b", "is gzip-compressed: unpack it first (gunzip)"),
    (b"BZh", "is bzip2-compressed: unpack it first (bunzip2)"),
    (b"\xfd7zXZ", "is xz-compressed: unpack it first (unxz)"),
    (b"\x28\xb5\x2f\xfd", "is Zstandard-compressed: unpack it first (unzstd)"),
    (b"GGUF", "is a GGUF file of a language model, not a vision backbone's checkpoint"),
    (b"ftrt", f"is a TensorRT engine, compiled for one GPU, which holds no state dict: {SAVE_STATE}"),
    (b"ptrt", f"is a TensorRT engine, compiled for one GPU, which holds no state dict: {SAVE_STATE}"),
    (b"<?xml", f"is an XML file (e.g. of OpenVINO), which holds no state dict: {SAVE_STATE}"),
)
_INSIDE_TAR = 257
_BY_SUFFIX = {
    ".onnx": "is an ONNX graph, which has no names of a state dict",
    ".engine": "is a TensorRT engine, compiled for one GPU, which holds no state dict",
    ".plan": "is a TensorRT engine, compiled for one GPU, which holds no state dict",
    ".trt": "is a TensorRT engine, compiled for one GPU, which holds no state dict",
    ".tflite": "is a TensorFlow Lite graph, which has no names of a state dict",
    ".pb": "is a TensorFlow graph, which has no names of a state dict",
    ".mlmodel": "is a Core ML model, which has no names of a state dict",
    ".pte": "is an ExecuTorch program, which holds no state dict",
}


def foreign_format(path: Path) -> str | None:
    """Why the file cannot be a checkpoint, as the predicate of a sentence; None when it may be one. Raises OSError."""
    if path.stat().st_size == 0:
        return "is empty: the disk was full, or the writing was interrupted"
    with path.open("rb") as file:
        start = file.read(512)
    if start[:4] == b"PK\x03\x04":
        return _zip_format(path)
    return _by_beginning(start) or _by_name(path, start)


def _by_beginning(start: bytes) -> str | None:
    for beginning, words in _BEGINNINGS:
        if start.lstrip().lower().startswith(beginning.lower()):
            return words
    if start[_INSIDE_TAR : _INSIDE_TAR + 5] == b"ustar":
        return "is a tar archive: unpack it and name the checkpoint inside"
    return f"{_BY_SUFFIX['.tflite']}: {SAVE_STATE}" if start[4:8] == b"TFL3" else None


def _by_name(path: Path, start: bytes) -> str | None:
    if path.suffix in _BY_SUFFIX or _is_onnx(start):
        return f"{_BY_SUFFIX.get(path.suffix, _BY_SUFFIX['.onnx'])}: {SAVE_STATE}"
    return None


def _is_onnx(start: bytes) -> bool:
    """Whether the first protobuf field is ONNX's version of the format, and the second a producer or a graph."""
    return len(start) > 4 and start[0] == 0x08 and start[1] < 0x20 and start[2] in (0x12, 0x3A)


def _zip_format(path: Path) -> str | None:
    """Kind of a zip archive that is not torch's or numpy's."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return None
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner and any(name.startswith("code/") for name in inner):
        return f"is a TorchScript program, not a state dict: {SAVE_STATE}"
    if any(
        "serialized_exported_program" in name or name.endswith(("models/model.json", "archive_format"))
        for name in names
    ):
        return f"is an exported program (torch.export, .pt2), not a state dict: {SAVE_STATE}"
    if "metadata.json" in names and "config.json" in names and any(name.endswith(".h5") for name in names):
        return "is a Keras archive: convert it to safetensors or a torch state dict first"
    if any(
        name.endswith((".pt", ".pth", ".ckpt", ".safetensors", ".bin")) and "data.pkl" not in inner for name in names
    ):
        return "is a zip archive that holds checkpoints: unpack it and name the one inside"
    return None
