"""Addition of the user's own backbones and datasets, and their first evaluation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from ssl_console.tui.screens.base import ConsoleScreen
from ssl_console.tui.screens.navigation import Navigation

if TYPE_CHECKING:
    from ssl_console.tui.data.backend import Backend
    from ssl_console.tui.data.catalog import Catalog
    from ssl_console.tui.data.state import AppState, Pair


class Adding(Navigation):
    """Part of the app that adds the user's own backbones and datasets."""

    backend: Backend
    state: AppState
    started: bool

    @abstractmethod
    def set_catalogue(self, catalogue: Catalog) -> None:
        """Show the cards as they are now."""

    @abstractmethod
    def in_background(self, work: Callable[[], Catalog], then: Callable[[Catalog], None], *, group: str) -> None:
        """Run `work` in a thread, then `then` with its result on the event loop."""

    def action_add_backbone(self) -> None:
        """Add a checkpoint of the user as a backbone."""
        from ssl_console.tui.screens.add_backbone import AddBackboneDialog  # noqa: PLC0415 - loaded when it is needed

        if self.started and isinstance(self.screen, ConsoleScreen):
            self.push_screen(AddBackboneDialog(), lambda name: self._added(name, ""))

    def action_add_dataset(self) -> None:
        """Add a dataset of the user."""
        from ssl_console.tui.screens.add_dataset import AddDatasetDialog  # noqa: PLC0415 - loaded when it is needed

        if self.started and isinstance(self.screen, ConsoleScreen):
            self.push_screen(AddDatasetDialog(), lambda name: self._added("", name))

    def _added(self, backbone: str | None, dataset: str | None) -> None:
        """Read the cards again, move Plan's cursor to the new row or column, and offer to evaluate it."""

        def show(catalogue: Catalog) -> None:
            self.set_catalogue(catalogue)
            task = next((one.name for one in catalogue.tasks if one.dataset.name == dataset), None)
            self.go_to_pair(backbone or None, task)
            self.call_after_refresh(self._offer, backbone, dataset)

        if backbone or dataset:
            self.in_background(self.backend.catalogue, show, group="catalogue")

    def _offer(self, backbone: str | None, dataset: str | None) -> None:
        """Offer an evaluation: of a backbone on the shown tasks, or of the shown backbones on a dataset."""
        from ssl_console.tui.screens.dialogs import ConfirmDialog  # noqa: PLC0415 - loaded when it is needed

        pairs = self._pairs_of(backbone, dataset)
        if not pairs:
            return
        what = (
            f"{len(pairs)} task{'s' * (len(pairs) > 1)}"
            if backbone
            else f"{len(pairs)} backbones by k nearest neighbours"
        )
        question = ConfirmDialog(
            f"Evaluate {backbone or dataset} now?", f"On {what}; the next dialog shows what would run."
        )
        self.push_screen(question, lambda yes: self._launch(pairs) if yes else None)

    def _pairs_of(self, backbone: str | None, dataset: str | None) -> tuple[Pair, ...]:
        state = self.state
        suite = state.catalogue.suite.get(state.planned_suite or "")
        if backbone:
            tasks = suite.tasks if suite else [one.name for one in state.catalogue.tasks if one.missing is None]
            return tuple((backbone, task) for task in tasks)
        task = next(
            (one for one in state.catalogue.tasks if one.dataset.name == dataset and one.protocol == "knn"), None
        )
        names = suite.backbones if suite and suite.backbones else [one.name for one in state.catalogue.backbones]
        present = [name for name in names if state.catalogue.backbone[name].missing is None]
        return tuple((name, task.name) for name in present) if task else ()

    def _launch(self, pairs: tuple[Pair, ...]) -> None:
        from ssl_console.tui.data.backend import LaunchRequest  # noqa: PLC0415 - loaded when it is needed
        from ssl_console.tui.screens.launch import LaunchDialog  # noqa: PLC0415

        known = self.state.catalogue.suite.get(self.state.planned_suite or "")
        suite = known.name if known and all(task in known.tasks for _, task in pairs) else None
        self.push_screen(LaunchDialog(LaunchRequest(pairs, suite=suite)))
