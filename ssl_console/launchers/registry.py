"""Both launchers as one: a slot's device, and later the worker's name, say whose a worker is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ssl_console.launchers.base import Launcher, Resources, Worker
from ssl_console.launchers.slurm.launcher import SlurmLauncher, is_job
from ssl_console.workspace.run import Attempt


@dataclass
class Launchers:
    """Processes of this machine, and jobs."""

    local: Launcher
    slurm: SlurmLauncher

    def submit(self, run_ids: Sequence[str], resources: Resources) -> str:
        """Start a worker that begins with these runs; its name. Raises OSError when none can be started."""
        launcher = self.slurm if resources.device.kind == "slurm" else self.local
        return launcher.submit(run_ids, resources)

    def adopt(self, attempt: Attempt) -> str | None:
        """Watch and end, from now on, a process that an earlier supervisor started."""
        return self.local.adopt(attempt)

    def hand_over(self, worker: str, run_id: str) -> bool:
        """Give one more run to a worker; False when it takes no more."""
        return self._of(worker).hand_over(worker, run_id)

    def drain(self, worker: str) -> None:
        """No more runs for this worker."""
        self._of(worker).drain(worker)

    def snapshot(self) -> dict[str, Worker]:
        """All workers, by name; one that is gone is told once."""
        return {**self.local.snapshot(), **self.slurm.snapshot()}

    def stop(self, worker: str, *, force: bool = False) -> None:
        """End a worker and all its child processes: politely, or at once."""
        self._of(worker).stop(worker, force=force)

    def show_stacks(self, worker: str) -> None:
        """Have the worker write where its threads stand to its log."""
        self._of(worker).show_stacks(worker)

    def _of(self, worker: str) -> Launcher:
        return self.slurm if is_job(worker) else self.local
