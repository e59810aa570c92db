"""Account of every file and line of a dataset: read, or left out with a reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from backbones.io.errors import counted

SHOWN = 3


@dataclass
class Balance:
    """Files and lines that were left out, by reason, in order of first occurrence."""

    left_out: dict[str, list[str]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    """Notes on ambiguous input and its interpretation."""

    def leave_out(self, reason: str, name: str) -> None:
        """Count a left-out file or line; `reason` is a plural, e.g. `.txt files`."""
        self.left_out.setdefault(reason, []).append(name)

    def remark(self, sentence: str) -> None:
        """Add a note once."""
        if sentence not in self.remarks:
            self.remarks.append(sentence)

    def notes(self, read: int) -> Iterator[str]:
        """The remarks, followed by the counts."""
        yield from self.remarks
        total = sum(map(len, self.left_out.values()))
        if total:
            images = counted(read, "image is", "images are")
            yield f"{images} read; {counted(total, 'file or line is', 'files or lines are')} left out:"
        for reason, names in self.left_out.items():
            more = ", ..." if len(names) > SHOWN else ""
            yield f"left out: {reason}: {len(names):,} ({', '.join(names[:SHOWN])}{more})"
