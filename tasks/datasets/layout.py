"""Declaration of a dataset reader. Needs neither numpy nor torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Layout:
    """A reader: its function, its targets, and its key files relative to the given folder."""

    required: tuple[tuple[str, ...], ...] = ()
    """Required files, each with alternatives. Empty for data without files."""
    optional: tuple[str, ...] = ()
    """Optional files that change the data."""
    bases: tuple[str, ...] = ("",)
    """Folder levels below the dataset's folder at which the required files may be."""
    class_folders: tuple[str, ...] = ()
    """Folders (or globs) whose subfolders are part of the signature: their times show added and removed images."""
    below_root: bool = True
    """Whether the layout is specific enough to be searched for in the data root itself."""
    arguments: Mapping[str, type] = field(default_factory=dict)
    """Names and types of the card's `reader_arguments`."""
    reader: str = ""
    """`module:function` (default `read`) of the reader, imported on use; a plug-in may name it in `READERS` instead."""
    targets: tuple[str, ...] = ("labels",)
    """Targets of every image: `labels`, or kinds of `SourceSplit.targets` such as `masks`."""
    dense_targets: tuple[str, ...] = ()
    """Further targets if the card's `reader_arguments` have `dense = true`."""

    @property
    def embedded(self) -> bool:
        """Whether the data are included in the package or rendered by it."""
        return not self.required

    def targets_for(self, arguments: Mapping[str, object]) -> tuple[str, ...]:
        """Targets of the reader with these `reader_arguments`."""
        return (*self.targets, *self.dense_targets) if arguments.get("dense") else self.targets
