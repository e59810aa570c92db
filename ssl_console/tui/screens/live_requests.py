"""Live's requests to the supervisor: cancel, retry, pause, priority, a stack dump."""

from __future__ import annotations

from ssl_console.tui.host import host
from ssl_console.tui.screens.dialogs import ConfirmDialog
from ssl_console.tui.screens.marking import MarkingScreen
from ssl_console.tui.widgets.virtual_table import LineTable
from ssl_console.workspace.run import RunState
from ssl_console.workspace.run_observer import RunView


class RunRequests(MarkingScreen[str]):
    """A screen with a table of runs and keys for requests about the run under the cursor."""

    MODE = "live"

    @property
    def run(self) -> RunView | None:
        """The run under the cursor."""
        return self.state.runs.get(self.query_one("#runs", LineTable).row or "")

    def show_pane(self, name: str) -> None:
        """Show a pane of the run."""

    def action_cancel(self) -> None:
        """Cancel the run, after a confirmation if results would be lost."""
        run = self.run
        if run is None or run.state.final:
            host(self).notify_user("This run has ended already.")
            return
        if run.state is RunState.QUEUED:
            self._cancel(run.run_id)
            return
        consequence = f"{run.backbone} on {run.task} is {run.state}. Features computed so far stay in the cache."
        dialog = ConfirmDialog("Cancel this run?", consequence)
        self.app.push_screen(dialog, lambda yes: self._cancel(run.run_id) if yes else None)

    def _cancel(self, run_id: str) -> None:
        session = host(self).backend.session
        self._ask(lambda: session.cancel(run_id))
        host(self).undoable(f"cancellation of run {run_id}", lambda: self._ask(lambda: session.retry(run_id)))

    def action_retry(self) -> None:
        run, session = self.run, host(self).backend.session
        if run is not None:
            self._ask(lambda: session.retry(run.run_id))

    def action_pause(self) -> None:
        session, paused = host(self).backend.session, self.state.supervisor.paused
        self._ask(session.resume if paused else session.pause)

    def action_priority(self, by: int) -> None:
        run, session = self.run, host(self).backend.session
        if run is not None:
            self._ask(lambda: session.set_priority(run.run_id, run.priority + by))

    def action_stack(self) -> None:
        """Request a stack dump of the worker."""
        run, backend = self.run, host(self).backend
        if run is not None:
            self._ask(lambda: backend.dump_stack(run.run_id))
            self.show_pane("log")

    def _ask(self, request: object) -> None:
        app = host(self)
        assert callable(request)
        app.in_background(request, lambda _: app.poll_now(), group="request")
