"""Declaration of a dataset reader. Needs neither numpy nor torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Layout:
    """One reader: its function, the targets it has, and its key files relative to the folder that it is given."""

    required: tuple[tuple[str, ...], ...] = ()
    """What must be there; of several ways to write one, any will do. Empty for data that need no files."""
    optional: tuple[str, ...] = ()
    """Files that change the data if they are there."""
    bases: tuple[str, ...] = ("",)
    """Folder levels below the dataset's folder where the required files may begin."""
    class_folders: tuple[str, ...] = ()
    """Folders (or globs) whose subfolders belong to the signature: their times tell when an image came or went."""
    below_root: bool = True
    """Whether the layout is so particular that it may also begin in the data root itself."""
    arguments: Mapping[str, type] = field(default_factory=dict)
    """The card's `reader_arguments` that the reader takes."""
    reader: str = ""
    """`module:function` (`read` unless named) of the reader, imported on use; of a plug-in, `READERS` may name it."""
    targets: tuple[str, ...] = ("labels",)
    """What it gives for every image: `labels`, or kinds of `SourceSplit.targets` such as `masks`."""
    dense_targets: tuple[str, ...] = ()
    """Targets that it has besides where the card's `reader_arguments` have `dense = true`."""

    @property
    def embedded(self) -> bool:
        """Whether the data come with the package, or are drawn by it."""
        return not self.required

    def targets_for(self, arguments: Mapping[str, object]) -> tuple[str, ...]:
        """The targets that the reader has with these `reader_arguments`."""
        return (*self.targets, *self.dense_targets) if arguments.get("dense") else self.targets
