"""Arrays out of an `npz` file from somewhere: numbers alone, no more of them than it says. Never unpickles."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Mapping
from typing import IO

import numpy as np
import numpy.typing as npt

LARGEST = 1 << 32
"""Bytes of all arrays together, unpacked."""
KINDS = "biuf"
"""Booleans, integers, floats."""


def read_arrays(content: bytes) -> Mapping[str, npt.NDArray[np.generic]]:
    """The arrays of an `npz` file by name. Raises ValueError for anything but arrays of numbers."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            members = file.infolist()
            if sum(member.file_size for member in members) > LARGEST:
                raise ValueError(f"its arrays are larger than {LARGEST:,} bytes")
            return {member.filename.removesuffix(".npy"): _array(file, member) for member in members}
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, zlib.error) as error:
        raise ValueError(f"its arrays cannot be read: {error}") from error


def _array(file: zipfile.ZipFile, member: zipfile.ZipInfo) -> npt.NDArray[np.generic]:
    with file.open(member) as stream:
        shape, fortran, kind = _header(stream)
        if kind.kind not in KINDS or kind.hasobject:
            raise ValueError(f"{member.filename} holds {kind}, not numbers")
        data = stream.read()
    if math.prod(shape) * kind.itemsize != len(data):
        raise ValueError(f"{member.filename} says it has shape {shape} of {kind}, and holds {len(data):,} bytes")
    return np.frombuffer(data, kind).reshape(shape, order="F" if fortran else "C")


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    version = np.lib.format.read_magic(stream)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"array format {version} is not read here")
    shape, fortran, kind = read(stream)
    return shape, fortran, kind
