"""Files that appear whole or not at all: a temporary name, the disk, then their own name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from tasks.features.durable import sync_folder


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write into, which becomes `path` when the block has ended well. Raises OSError that names `path`, and
    leaves nothing then.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)  # half a file takes the room that the disk does not have
    sync_folder(path.parent)


def write_array(path: Path, values: npt.NDArray[Any]) -> None:
    """Write an array of any shape as a `.npy`. Raises OSError with its number, which numpy's own writing loses."""
    whole = np.ascontiguousarray(values)
    with whole_file(path) as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(whole))
        file.write(whole.reshape(-1).view(np.uint8).data)
