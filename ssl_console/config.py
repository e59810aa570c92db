"""The user's settings: `<workspace>/config.toml`, every one optional."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backbones.cardfile import suggest
from ssl_console.errors import ConsoleError
from ssl_console.slurm.settings import SlurmSettings
from ssl_console.workspace import Workspace

DATA_VARIABLE = "SSL_CONSOLE_DATA"
Device = Annotated[str, Field(pattern=r"^(cpu|mps|cuda(:\d+)?)$")]


class Config(BaseModel):
    """What `config.toml` may say. A misspelt key is an error, never silently ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data_root: Path | None = None
    """The folder below which datasets lie; `~` and paths relative to the workspace are understood."""
    devices: tuple[Device, ...] = ()
    """Devices to use; empty means every CUDA device, else MPS, else the CPU."""
    slots_per_device: int | None = Field(None, ge=1, le=64)
    """How many workers share one device; by default two on a CPU of several cores, one elsewhere."""
    launcher: Literal["local", "slurm"] = "local"
    """Whether runs are processes of this machine or jobs of a Slurm cluster, unless `--launcher` says otherwise."""
    slurm: SlurmSettings = SlurmSettings()
    """What jobs ask for, and how many there are."""
    retries: int = Field(1, ge=0, le=10)
    """How often a run is tried again by itself after running out of memory."""
    stall_s: float = Field(300, gt=0)
    """Seconds without any sign of life (an event, or use of the processor) after which a run counts as stalled."""
    timeout_s: float | None = Field(None, gt=0)
    """Seconds that one run may take altogether."""
    worker_memory_mb: float | None = Field(None, gt=0)
    """Host memory that one worker and its children may take; None for nine tenths of the machine's."""
    batch_size: int | None = Field(None, ge=1)
    """Images per extraction batch; cannot change a result, only speed and memory."""
    checkpoint_s: float = Field(60, ge=0)
    """Seconds of training after which its state is kept, to carry on from after an interruption."""
    decoded_gb: float = Field(4.0, ge=0)
    """Disk space, in GB, for decoded images that backbones on the same dataset share; 0: each decodes for itself."""
    keys: dict[str, str] = Field(default_factory=dict)
    """Key bindings of the terminal app: name of the action to key."""


def load_config(workspace: Workspace) -> Config:
    """The workspace's settings; defaults when it has no file. Raises ConsoleError naming file, key and value."""
    path = workspace.config
    try:
        return Config.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return Config()
    except OSError as error:
        raise ConsoleError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValidationError as error:
        raise ConsoleError("; ".join(_problems(path, error))) from error
    except ValueError as error:
        raise ConsoleError(f"{path} is not TOML: {error}") from error


def data_root(workspace: Workspace, config: Config) -> Path:
    """Where datasets lie: the setting, else `$SSL_CONSOLE_DATA`, else `data` in the workspace."""
    if config.data_root is not None:
        return workspace.root / config.data_root.expanduser()
    given = os.environ.get(DATA_VARIABLE)
    return Path(given).expanduser().absolute() if given else workspace.root / "data"


def _problems(path: Path, error: ValidationError) -> list[str]:
    problems = []
    for item in error.errors(include_url=False):
        key = ".".join(map(str, item["loc"]))
        if item["type"] == "extra_forbidden":
            near = suggest(key, Config.model_fields)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(Config.model_fields)}"
            problems.append(f"{path}: {key}: unknown key; {hint}")
        else:
            problems.append(f"{path}: {key}: {item['msg'][:1].lower()}{item['msg'][1:]}, not {item['input']!r}")
    return problems
