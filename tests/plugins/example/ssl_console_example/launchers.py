"""The launcher `nice`: local workers with the lowest priority."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from ssl_console.launchers.base import Resources
from ssl_console.launchers.local.launcher import LocalLauncher
from ssl_console.workspace.config import Config
from ssl_console.workspace.paths import Workspace


@dataclass
class NiceLauncher(LocalLauncher):
    """Starts workers by `nice`, which becomes the worker."""

    name: ClassVar[str] = "nice"
    summary: ClassVar[str] = "processes of this machine with a low priority"
    niceness: int = 10

    @classmethod
    def open(cls, workspace: Workspace, config: Config) -> Self:
        """A launcher with `niceness` of `[launchers.nice]` in config.toml. Raises ValueError for other settings."""
        settings = dict(config.launchers.get(cls.name, {}))
        niceness = settings.pop("niceness", 10)
        if settings or not isinstance(niceness, int):
            raise ValueError(
                f"[launchers.nice] has one setting, niceness, a whole number, not {settings or niceness!r}"
            )
        return cls(workspace, niceness=niceness)

    def command(self, resources: Resources, run_ids: Sequence[str]) -> list[str]:
        """The command line of a worker."""
        return ["nice", "-n", str(self.niceness), *super().command(resources, run_ids)]


LAUNCHERS = (NiceLauncher,)
