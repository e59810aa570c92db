"""Checks of the doctor: whether the cluster would accept the requests of `[slurm]`."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from pydantic import ValidationError

from backbones.io.card_files import suggest
from ssl_console.launchers.slurm.commands import SlurmError, SlurmUnavailable, ask
from ssl_console.system.machine_checks import Check
from ssl_console.workspace.config import Config, JobRequest, SlurmSettings
from ssl_console.workspace.paths import Workspace

NAME = "slurm"


def slurm_checks(workspace: Workspace, settings: SlurmSettings, suites: Collection[str]) -> Iterator[Check]:
    """Version of Slurm, and a test submission for each variant of the settings; `suites` are the names of all
    suites.
    """
    try:
        yield Check(NAME, "good", f"{ask(['sbatch', '--version']).strip()}; nodes must see {workspace.root} too")
        yield from _overrides(workspace, settings, suites)
    except SlurmUnavailable as error:
        yield Check(NAME, "bad", f"{error}: runs wait until it responds")
    except SlurmError as error:
        yield Check(NAME, "bad", str(error))
    except ValidationError as error:
        yield Check(NAME, "bad", f"{workspace.config}: {' '.join(str(error).split())}")


def is_set_up(config: Config) -> bool:
    """Whether config.toml chooses Slurm or has settings for it."""
    return config.launcher == NAME or config.slurm != SlurmSettings()


def _overrides(workspace: Workspace, settings: SlurmSettings, suites: Collection[str]) -> Iterator[Check]:
    for name in settings.suites:
        if name not in suites:
            near = suggest(name, suites)
            hint = f"did you mean {near[0]!r}?" if near else f"available: {', '.join(suites)}"
            yield Check(NAME, "bad", f"{workspace.config}: [slurm.suites] {name}: unknown suite; {hint}")
    for place, request in settings.variants():
        yield _asked(f"{workspace.config}: {place}", request)


def _asked(place: str, request: JobRequest) -> Check:
    """Request the job without submitting it."""
    try:
        words = ask(["sbatch", "--test-only", "--output=/dev/null", *request.arguments(), "--wrap=true"])
    except SlurmUnavailable:
        raise
    except SlurmError as error:
        return Check(NAME, "bad", f"{place}: {error}")
    return Check(NAME, "good", f"{place}: {' '.join(words.split())}")
