"""Accuracy of a run on each class, computed from `predictions.npz` without numpy, which the console never imports."""

from __future__ import annotations

import ast
import zipfile
from array import array
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from ssl_console.workspace.paths import RunFolder
from ssl_console.workspace.run import RunSpec
from tasks.datasets.manifest import known_manifest

LARGEST = 1 << 28
"""Maximum size in bytes of one array: more than the labels of any test set."""
_MAGIC = b"\x93NUMPY"
_CODES = {"<i4": "i", "<i8": "q", "|u1": "B", "|i1": "b", "<i2": "h", "<u2": "H", "<u4": "I", "<u8": "Q"}
"""Integer types of numpy and their type codes in `array`."""


@dataclass(frozen=True)
class ClassScore:
    """Number of recognised test images of one class."""

    label: int
    correct: int
    total: int

    @property
    def percent(self) -> float:
        """Recall, 0 to 100."""
        return 100 * self.correct / self.total


def per_class(path: Path) -> tuple[ClassScore, ...]:
    """Scores of every class in the test images, by number; empty when the file has no labels and predictions, one
    per image.

    Raises ValueError naming the file when it was not written by a worker.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            if not {"label.npy", "predicted.npy"} <= names:
                return ()
            labels, predicted = _integers(archive, "label.npy"), _integers(archive, "predicted.npy")
    except FileNotFoundError:
        return ()
    except (zipfile.BadZipFile, ValueError, SyntaxError, KeyError, OSError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not labels or not predicted:
        return ()
    if len(labels) != len(predicted):
        raise ValueError(f"{path} holds {len(labels)} labels and {len(predicted)} predictions")
    totals = Counter(labels)
    correct = Counter(label for label, guess in zip(labels, predicted, strict=True) if label == guess)
    return tuple(ClassScore(label, correct[label], total) for label, total in sorted(totals.items()))


NamedClassScore = tuple[str, float, int]
"""Name of a class, recall in percent, and number of its test images."""


def named_class_scores(folder: RunFolder, data_root: Path, cache: Path) -> list[NamedClassScore]:
    """Class scores of a run with the class names of its dataset; empty when its files contain none.

    Raises ValueError naming the file when it was not written by a worker.
    """
    scores = per_class(folder.predictions)
    try:
        dataset = RunSpec.model_validate_json(folder.spec.read_bytes()).dataset
    except (FileNotFoundError, ValidationError):
        return []
    manifest = known_manifest(dataset, data_root, cache)
    names = manifest.classes if manifest else ()
    return [
        (names[one.label] if 0 <= one.label < len(names) else f"class {one.label}", one.percent, one.total)
        for one in scores
    ]


def _integers(archive: zipfile.ZipFile, name: str) -> array[int]:
    """One-dimensional array of integers; empty for more dimensions (several labels per image)."""
    if archive.getinfo(name).file_size > LARGEST:
        raise ValueError(f"{name} is larger than {LARGEST} bytes")
    data = archive.read(name)
    if not data.startswith(_MAGIC):
        raise ValueError(f"{name} is not an array")
    wide = data[6] >= 2
    start = 12 if wide else 10
    end = start + int.from_bytes(data[8:start], "little")
    header = ast.literal_eval(data[start:end].decode("latin-1"))
    found = array(_CODES[header["descr"]])
    if len(header["shape"]) == 1:
        found.frombytes(data[end:])
    return found
