"""An entry in progress, `<key>.partial`: its plan, its finished shards, and its completion by one rename.

Several processes may write shards of one entry, but only the one that holds the entry's lock begins and completes it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from backbones.io.files import sync_folder, write_durably
from tasks.features.extraction_outputs import ExtractionOutput
from tasks.features.manifest import ARRAY, MANIFEST, PLAN, SHARDS, ExtractionPlan, FeatureManifest, Shard
from tasks.features.shards import (
    Bounds,
    boundaries,
    finished_shards,
    intact_shard,
    join,
    shard_name,
    shard_names,
    write_shard,
)

AnyFloats = npt.NDArray[np.floating]


@dataclass
class UnfinishedEntry:
    """An entry in progress, as seen by one of the processes that compute its shards."""

    folder: Path
    plan: ExtractionPlan
    identifiers: Sequence[str]
    """Of all images, for messages."""
    output: ExtractionOutput
    wanted: frozenset[Bounds]
    """Rows of all shards."""
    shards: dict[Bounds, Shard] = field(default_factory=dict)
    """Finished shards, as far as this process has seen them."""
    _names: set[str] = field(default_factory=set)
    """Names of files that were looked at."""

    @classmethod
    def begin(
        cls,
        folder: Path,
        plan: ExtractionPlan,
        identifiers: Sequence[str],
        output: ExtractionOutput,
        shard_rows: int,
    ) -> Self:
        """Write the plan and collect the shards of earlier attempts; invalid ones are removed."""
        (folder / SHARDS).mkdir(mode=0o700, parents=True, exist_ok=True)
        write_durably(folder / PLAN, [plan.model_dump_json(indent=1).encode()])
        wanted = boundaries(plan.rows, shard_rows)
        found = finished_shards(folder / SHARDS, output.dimension, wanted, output.storage)
        entry = cls(folder, plan, identifiers, output, frozenset(wanted))
        for shard in found:
            entry._note(shard)
        return entry

    @classmethod
    def join_in(
        cls,
        folder: Path,
        plan: ExtractionPlan,
        identifiers: Sequence[str],
        output: ExtractionOutput,
        shard_rows: int,
    ) -> Self:
        """The entry that another process has begun. Raises FileNotFoundError if it is complete."""
        entry = cls(folder, plan, identifiers, output, frozenset(boundaries(plan.rows, shard_rows)))
        entry.refresh()
        return entry

    @property
    def missing(self) -> frozenset[Bounds]:
        """Rows of the shards that are not finished."""
        return self.wanted - self.shards.keys()

    def refresh(self) -> None:
        """Find the shards that other processes have finished since the last call; damaged ones are removed.

        Raises FileNotFoundError if another process has completed the entry.
        """
        new = shard_names(self.folder / SHARDS) - self._names
        self._names |= new
        for path in (self.folder / SHARDS / name for name in sorted(new)):
            shard = intact_shard(path, self.output.dimension, self.output.storage)
            if shard is None:
                path.unlink(missing_ok=True)
                self._names.discard(path.name)  # the same content may be written again
            else:
                self._note(shard)

    def write(self, start: int, rows: AnyFloats) -> None:
        """Store rows that are missing. Raises NotFiniteError for values out of the range of half precision."""
        if (start, start + len(rows)) in self.missing:
            identifiers = self.identifiers[start : start + len(rows)]
            stored = self.output.stored(rows, identifiers, self.plan.backbone)
            self._note(write_shard(self.folder / SHARDS, start, stored, self.output.storage))

    def complete(self, final: Path, images_per_s: float | None) -> None:
        """Write everything before the rename to `final`, and remove the shards after it."""
        shards = [self.shards[bounds] for bounds in sorted(self.shards)]
        output = self.output
        array_bytes = join(self.folder / SHARDS, shards, self.folder / ARRAY, output.dimension, output.storage)
        manifest = FeatureManifest(
            **self.plan.model_dump(),
            dimension=output.dimension,
            shards=tuple(shards),
            images_per_s=images_per_s,
            array_bytes=array_bytes,
            storage=output.storage,
            columns=output.columns,
        )
        write_durably(self.folder / MANIFEST, [manifest.model_dump_json(indent=1).encode()])
        self.folder.rename(final)
        sync_folder(final.parent)
        shutil.rmtree(final / SHARDS, ignore_errors=True)

    def _note(self, shard: Shard) -> None:
        """Add a finished shard; one of other rows is ignored, and of two with the same rows the second."""
        self._names.add(shard_name(shard))
        bounds = shard.start, shard.stop
        if bounds in self.missing:
            self.shards[bounds] = shard


def split_columns(rows: AnyFloats, entries: Iterable[UnfinishedEntry]) -> list[AnyFloats]:
    """Columns of each entry, of rows [m, d] of all."""
    ends = np.cumsum([one.output.dimension for one in entries])[:-1]
    return np.split(rows, ends, axis=1)
