"""An entry in progress, `<key>.partial`: outputs of one pass over the images, shards and their claims, and its
completion by one rename.

Several processes may write shards of one entry, but only the one that holds the entry's lock begins and completes it.

A claim is a locked file next to the shards. The lock ends with its holder: the kernel releases it when the process
dies, and a file server when the holder's machine does, so no claim has to be judged by a process number, a clock or a
heartbeat, and a dead process's shard can be claimed at once. The shard of a process that runs but makes no progress
(suspended, hanging) is computed by others after a while: shards are complete or absent and named by their content, so
computing one twice is wasteful but harmless.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from backbones.catalog.card import PreprocessingSpec
from backbones.catalog.layer_info import BlockChoice, LayerColumn, LayerRequest, Storage
from backbones.io.file_locks import POLL_S, exclusive_now
from backbones.io.files import sync_folder, write_durably
from backbones.model.cuda_graphs import GraphedForward
from backbones.model.preprocessing import Picture
from tasks.features.extraction import EncoderLike
from tasks.features.manifest import (
    ARRAY,
    MANIFEST,
    PLAN,
    SHARDS,
    ExtractionPlan,
    FeatureManifest,
    NotFiniteError,
    Shard,
)
from tasks.features.shards import (
    DTYPES,
    Bounds,
    boundaries,
    finished_shards,
    intact_shard,
    join,
    shard_name,
    shard_names,
    write_shard,
)
from tasks.reporter import Reporter

AnyFloats = npt.NDArray[np.floating]


class LayerEncoder(EncoderLike, Protocol):
    """An encoder that also pools the outputs of its blocks, as `backbones.model.encoder.Encoder` does."""

    def columns(self, choice: BlockChoice) -> tuple[LayerColumn, ...]:
        """Columns of layer-wise features. Raises WeightsError for a backbone without blocks."""

    def encode_layers(self, batch: Tensor, spec: PreprocessingSpec, choices: Sequence[BlockChoice]) -> Tensor:
        """float32 [b, dimension + widths of the choices' columns]."""


@dataclass(frozen=True)
class ExtractionOutput:
    """One array computed by a pass over the images."""

    dimension: int
    storage: Storage = "float32"
    choice: BlockChoice | None = None
    """Selected blocks; None for pooled features."""
    columns: tuple[LayerColumn, ...] = ()

    def stored(self, rows: AnyFloats, identifiers: Sequence[str], backbone: str) -> AnyFloats:
        """Rows in storage precision.

        Raises NotFiniteError with image and column of a value out of the range of half precision.
        """
        with np.errstate(over="ignore"):
            values = rows.astype(DTYPES[self.storage])
        wrong = np.argwhere(~np.isfinite(values))
        if len(wrong):
            row, place = int(wrong[0][0]), int(wrong[0][1])
            raise NotFiniteError(
                f"{backbone}: {float(rows[row, place]):.4g} in {self.column_at(place)} of {identifiers[row]} does not "
                f"fit {self.storage} ({len(wrong)} values of {len(rows)} images do not): store layers in float32 "
                "(`--set PROTOCOL.storage=float32`)"
            )
        return cast("AnyFloats", values)

    def column_at(self, place: int) -> str:
        """Block and pooling of a column, formatted for messages."""
        ends = np.cumsum([column.width for column in self.columns])
        return str(self.columns[int(np.searchsorted(ends, place, side="right"))]) if self.columns else "its features"


def output_of(encoder: EncoderLike, layers: LayerRequest | None) -> ExtractionOutput:
    """The output of a request. Raises WeightsError for a backbone without blocks."""
    if layers is None:
        return ExtractionOutput(encoder.dimension)
    columns = cast("LayerEncoder", encoder).columns(layers.blocks)
    return ExtractionOutput(sum(column.width for column in columns), layers.storage, layers.blocks, columns)


def encoder_of(encoder: EncoderLike, outputs: Sequence[ExtractionOutput]) -> EncoderLike:
    """An encoder that computes all outputs in one forward pass and concatenates them."""
    if all(output.choice is None for output in outputs):
        return encoder
    return _CombinedEncoder(cast("LayerEncoder", encoder), tuple(outputs))


@dataclass(frozen=True)
class _CombinedEncoder:
    encoder: LayerEncoder
    outputs: tuple[ExtractionOutput, ...]

    @property
    def dimension(self) -> int:
        """Total number of columns."""
        return sum(output.dimension for output in self.outputs)

    @property
    def device(self) -> torch.device | None:
        """Device of the encoder, if it has one."""
        return getattr(self.encoder, "device", None)

    @property
    def forwards(self) -> GraphedForward | None:
        """Forward passes of the encoder, where CUDA graphs may compute them."""
        return getattr(self.encoder, "forwards", None)

    def finish(self) -> str:
        """End a series of batches, as `backbones.model.encoder.Encoder.finish`."""
        finish = getattr(self.encoder, "finish", None)
        return str(finish()) if finish else ""

    def prepare(self, image: Picture, spec: PreprocessingSpec) -> Tensor:
        """Prepare an image as uint8 [3, h, w]."""
        return self.encoder.prepare(image, spec)

    def encode(self, batch: Tensor, spec: PreprocessingSpec) -> Tensor:
        """Encode a batch to float32 [b, dimension]; pooled features, if requested, come first."""
        choices = [output.choice for output in self.outputs if output.choice is not None]
        found = self.encoder.encode_layers(batch, spec, choices)
        return found if self.outputs[0].choice is None else found[:, self.encoder.dimension :]


@dataclass
class UnfinishedEntry:
    """An entry in progress, as known to one of the processes that compute its shards."""

    folder: Path
    plan: ExtractionPlan
    identifiers: Sequence[str]
    """Of all images, for messages."""
    output: ExtractionOutput
    wanted: frozenset[Bounds]
    """Rows of all shards."""
    shards: dict[Bounds, Shard] = field(default_factory=dict)
    """Finished shards that this process has found."""
    _names: set[str] = field(default_factory=set)
    """Names of files that were inspected."""

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


@dataclass
class SharedShards:
    """The missing shards of entries that are extracted in one pass, shared with other processes."""

    entries: Sequence[UnfinishedEntry]
    """All of one split, in order of their columns."""
    reporter: Reporter
    patience_s: float
    """Seconds without a finished shard after which claimed ones are computed by this process too; at least three times
    the duration of its own slowest shard."""
    own_rows: int = 0
    """Number of rows that this process has computed."""
    _held: dict[Bounds, ExitStack] = field(default_factory=dict)
    """Locks of the claimed shards, by rows."""
    _computing: set[Bounds] = field(default_factory=set)
    """Claimed shards that `claimable` has returned."""
    _reserved: list[Bounds] = field(default_factory=list)
    """Claimed shards that `claimable` returns next."""
    _finished: float = field(default_factory=time.monotonic)
    """Time of the last finished shard on the monotonic clock."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        """Release the claims on shards that were not finished."""
        for bounds in list(self._held):
            self._release(bounds)

    @property
    def missing(self) -> set[Bounds]:
        """Rows of all shards that are not finished."""
        return {bounds for entry in self.entries for bounds in entry.missing}

    def claimable(self) -> Iterator[Bounds]:
        """Rows of missing shards, each claimed when it is returned; ends when other processes hold all of them."""
        self.refresh()
        while bounds := self._reserved.pop(0) if self._reserved else self._next_claim():
            self.refresh()
            if bounds in self.missing:
                self._computing.add(bounds)
                yield bounds
            else:
                self._release(bounds)

    def store(self, start: int, rows: AnyFloats) -> None:
        """Write the rows [m, d] of a claimed shard, and release the claim."""
        ends = np.cumsum([entry.output.dimension for entry in self.entries])[:-1]
        for entry, columns in zip(self.entries, np.split(rows, ends, axis=1), strict=True):
            entry.write(start, columns)
        self.own_rows += len(rows)
        self._note_finished(own=True)
        self._release((start, start + len(rows)))

    def refresh(self) -> bool:
        """Report the shards that other processes have finished as progress; return whether there are any."""
        before = self.missing
        for entry in self.entries:
            entry.refresh()
        found = before - self.missing
        if found:
            self.reporter.advance(sum(stop - start for start, stop in found - self._computing))
            self._note_finished()
        return bool(found)

    def reserve(self) -> bool:
        """Claim a shard for `claimable`; False if other processes hold all that are missing."""
        free = self._next_claim()
        self._reserved += [free] if free else []
        return bool(self._reserved)

    def wait(self) -> None:
        """Wait until nothing is missing or `claimable` has a shard: one that its holder has released, or one that is
        overdue."""
        while self.missing and not self.reserve():
            if self.refresh():
                continue
            if time.monotonic() - self._finished > self.patience_s:
                self._reserved = sorted(self.missing)  # those of other processes too, without their claims
                self._held |= {bounds: ExitStack() for bounds in self._reserved}
                return
            time.sleep(POLL_S)

    def _next_claim(self) -> Bounds | None:
        """Claim the first missing shard that no process holds; None if there is none."""
        for bounds in sorted(self.missing - self._held.keys()):
            with ExitStack() as stack:
                if stack.enter_context(exclusive_now(self.entries[0].folder / SHARDS / f"claim-{bounds[0]:09d}")):
                    self._held[bounds] = stack.pop_all()
                    return bounds
        return None

    def _release(self, bounds: Bounds) -> None:
        self._held.pop(bounds).close()

    def _note_finished(self, *, own: bool = False) -> None:
        now = time.monotonic()
        if own:
            self.patience_s = max(self.patience_s, 3 * (now - self._finished))
        self._finished = now
