"""Whether the cluster would take what `[slurm]` asks for, in Slurm's own words."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from pydantic import ValidationError

from backbones.cardfile import suggest
from ssl_console.checks import Check
from ssl_console.config import Config, load_config
from ssl_console.errors import ConsoleError
from ssl_console.slurm.commands import SlurmAway, SlurmError, ask
from ssl_console.slurm.settings import JobRequest, SlurmSettings
from ssl_console.workspace import Workspace

NAME = "slurm"


def slurm_checks(workspace: Workspace, suites: Collection[str]) -> Iterator[Check]:
    """Nothing where Slurm is not set up; `suites` are those that there are."""
    try:
        config = load_config(workspace)
    except ConsoleError:
        return  # told already: the settings cannot be read
    if not is_set_up(config):
        return
    try:
        yield Check(NAME, "good", f"{ask(['sbatch', '--version']).strip()}; nodes must see {workspace.root} too")
        yield from _overrides(workspace, config.slurm, suites)
    except SlurmAway as error:
        yield Check(NAME, "bad", f"{error}: runs wait until it answers")
    except SlurmError as error:
        yield Check(NAME, "bad", str(error))
    except ValidationError as error:
        yield Check(NAME, "bad", f"{workspace.config}: {' '.join(str(error).split())}")


def is_set_up(config: Config) -> bool:
    """Whether config.toml speaks of Slurm."""
    return config.launcher == "slurm" or config.slurm != SlurmSettings()


def _overrides(workspace: Workspace, settings: SlurmSettings, suites: Collection[str]) -> Iterator[Check]:
    for name in settings.suites:
        if name not in suites:
            near = suggest(name, suites)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(suites)}"
            yield Check(NAME, "bad", f"{workspace.config}: [slurm.suites] {name}: there is no such suite; {hint}")
    for place, request in settings.variants():
        yield _asked(f"{workspace.config}: {place}", request)


def _asked(place: str, request: JobRequest) -> Check:
    """Asks for the job without submitting it."""
    try:
        words = ask(["sbatch", "--test-only", "--output=/dev/null", *request.arguments(), "--wrap=true"])
    except SlurmAway:
        raise
    except SlurmError as error:
        return Check(NAME, "bad", f"{place}: {error}")
    return Check(NAME, "good", f"{place}: {' '.join(words.split())}")
