"""Where every file and every line of a dataset went: read, or left out for a reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

SHOWN = 3


@dataclass
class Balance:
    """What was left out, by reason, in the order in which the reasons came up."""

    left_out: dict[str, list[str]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    """What was understood in one of several ways."""

    def leave_out(self, reason: str, name: str) -> None:
        """Count one file or line; `reason` is a plural, `.txt files` say."""
        self.left_out.setdefault(reason, []).append(name)

    def remark(self, sentence: str) -> None:
        """Note once how something was understood."""
        if sentence not in self.remarks:
            self.remarks.append(sentence)

    def notes(self, read: int) -> Iterator[str]:
        """The remarks, then the balance."""
        yield from self.remarks
        total = sum(map(len, self.left_out.values()))
        if total:
            yield f"{read:,} images are read; {total:,} files or lines are left out:"
        for reason, names in self.left_out.items():
            more = ", ..." if len(names) > SHOWN else ""
            yield f"left out: {len(names):,} {reason} ({', '.join(names[:SHOWN])}{more})"
