"""Write features with their image names: npy, npz, safetensors or parquet, chosen by the file suffix.

npy          the array alone; names and description are in a JSON file next to it
npz          `features`, `names`, `about` (JSON), and for a dataset `labels`, `splits`, `classes`
safetensors  `features` and, for a dataset, `labels`; names and description in its metadata, as JSON
parquet      one row per image: `name`, `features`, and for a dataset `label`, `split`; the description in its metadata
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backbones.io.files import written_elsewhere
from tasks.datasets.dataset import Labels
from tasks.features.requests import check_format, names_file


@dataclass(frozen=True)
class NamedFeatures:
    """Features with their names, labels and provenance."""

    values: npt.NDArray[np.float32]
    """[n, d]."""
    names: Sequence[str]
    about: Mapping[str, Any]
    """Backbone, weights digest, preprocessing and the like; JSON."""
    labels: Labels | None = None
    """[n] or [n, classes]; None for images without labels."""
    splits: Sequence[str] | None = None
    """Source split of each image; None for image files."""
    classes: Sequence[str] = ()


def write_features(path: Path, features: NamedFeatures) -> None:
    """Write the file atomically. Raises FormatError, OSError."""
    check_format(path)
    with written_elsewhere(path) as partial:
        WRITERS[path.suffix](partial, features)
    if path.suffix == ".npy":
        with written_elsewhere(names_file(path)) as partial:
            partial.write_text(json.dumps(_described(features), indent=1) + "\n")


def _described(features: NamedFeatures) -> dict[str, Any]:
    found = {**features.about, "names": list(features.names)}
    if features.splits is not None:
        found["splits"] = list(features.splits)
    if features.labels is not None:
        found |= {"labels": features.labels.tolist(), "classes": list(features.classes)}
    return found


def _write_npy(path: Path, features: NamedFeatures) -> None:
    np.save(path, features.values)


def _write_npz(path: Path, features: NamedFeatures) -> None:
    arrays: dict[str, npt.NDArray[Any]] = {"features": features.values, "names": np.array(features.names, dtype=str)}
    if features.labels is not None:
        arrays |= {"labels": features.labels, "classes": np.array(features.classes, dtype=str)}
    if features.splits is not None:
        arrays["splits"] = np.array(features.splits, dtype=str)
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, about=np.array(json.dumps(features.about)), **arrays)


def _write_safetensors(path: Path, features: NamedFeatures) -> None:
    from safetensors.numpy import save_file  # noqa: PLC0415 - one format of four

    described = _described(features)
    described.pop("labels", None)
    tensors: dict[str, npt.NDArray[Any]] = {"features": np.ascontiguousarray(features.values)}
    if features.labels is not None:
        tensors["labels"] = features.labels
    metadata = {key: value if isinstance(value, str) else json.dumps(value) for key, value in described.items()}
    save_file(tensors, str(path), metadata)


def _write_parquet(path: Path, features: NamedFeatures) -> None:
    import pyarrow  # noqa: PLC0415 - one format of four, of an optional library
    import pyarrow.parquet  # noqa: PLC0415

    flat = pyarrow.array(np.ascontiguousarray(features.values).reshape(-1))
    columns = {
        "name": pyarrow.array(list(features.names), pyarrow.string()),
        "features": pyarrow.FixedSizeListArray.from_arrays(flat, features.values.shape[1]),
    }
    if features.labels is not None:
        columns["label"] = pyarrow.array(features.labels.tolist())
    if features.splits is not None:
        columns["split"] = pyarrow.array(list(features.splits), pyarrow.string())
    about = {**features.about, "classes": list(features.classes)}
    table = pyarrow.table(columns).replace_schema_metadata({"ssl_console": json.dumps(about)})
    pyarrow.parquet.write_table(table, path)


WRITERS: Mapping[str, Callable[[Path, NamedFeatures], None]] = {
    ".npy": _write_npy,
    ".npz": _write_npz,
    ".safetensors": _write_safetensors,
    ".parquet": _write_parquet,
}
"""Writer of each suffix in `export_request.FORMATS`."""
