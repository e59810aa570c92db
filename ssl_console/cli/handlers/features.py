"""`features`: export of features of images, folders or datasets to a file."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from ssl_console.cli.output import stdout
from ssl_console.cli.output.progress_bar import Meter
from ssl_console.operations.export_features import ExportedFile, ExportOptions, export_features
from ssl_console.operations.session import Session
from tasks.features.requests import Advance, Phase, Report


def features(session: Session, backbone: str, images: Sequence[str], options: ExportOptions, *, as_json: bool) -> None:
    """Write the file; progress and warnings go to standard error. Raises as `export_features` does."""
    with ExitStack() as stack:
        done = export_features(session, backbone, images, options, PhaseMeter(stack))
    for words in done.warnings:
        stdout.say(f"warning: {words}")
    if as_json:
        stdout.document(_document(done))
        return
    found, names = done.exported, f", names in {done.names}" if done.names else ""
    stored = f", {found.images - found.encoded:,} of them already stored" if found.encoded < found.images else ""
    stdout.lines([f"{done.path}: {found.images:,} images{stored}, {found.dimension} dimensions{names}"])


@dataclass
class PhaseMeter:
    """A progress meter for each phase with a known number of images."""

    stack: ExitStack
    meter: Meter | None = None
    total: int = 0
    done: int = 0

    def __call__(self, report: Report) -> None:
        """Show a new phase or progress."""
        if isinstance(report, Phase):
            self.total, self.done = report.total or 0, 0
            if self.total:
                self._begin(report.name)
        elif isinstance(report, Advance) and self.meter is not None:
            self.done += report.count
            self.meter.update(self.done, self.total)

    def _begin(self, title: str) -> None:
        if self.meter is None:
            self.meter = self.stack.enter_context(Meter(title, unit="images"))
        self.meter.rename(title)
        self.meter.update(0, self.total)


def _document(done: ExportedFile) -> dict[str, object]:
    return {
        "path": str(done.path),
        "names": None if done.names is None else str(done.names),
        "backbone": done.backbone,
        "images": done.exported.images,
        "dimension": done.exported.dimension,
        "encoded": done.exported.encoded,
        "weights_digest": done.exported.weights_digest,
        "warnings": list(done.warnings),
    }
