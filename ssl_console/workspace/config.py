"""The user's settings: `<workspace>/config.toml`; all are optional."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from backbones.io.card_files import suggest
from backbones.io.files import expand_user
from ssl_console.system.errors import ConsoleError
from ssl_console.workspace.paths import Workspace

Time = Annotated[str, Field(pattern=r"^\d+(-\d+(:\d+){0,2}|(:\d+){1,2})?$")]
Gpus = Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=r"^[\w.-]+:\d+$")]
LOCAL = "local"
"""Name of the launcher of worker processes on this machine."""
WARNING_S = 120
"""Seconds before its time limit at which a job is warned, so that it can write a checkpoint."""
HookEvent = Literal["run-failed", "queue-ended"]
VARIABLE = re.compile(r"\$\{(\w+)\}")
SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key"})


def _without_login(address: str) -> str:
    """Validate a web address without a login."""
    if VARIABLE.match(address):
        return address
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("write an http or https address, or one from an environment variable, ${NAME}")
    secret = parts.password if parts.password is not None else parts.username
    if secret and not VARIABLE.fullmatch(secret):
        raise ValueError("a password or token belongs in an environment variable: write ${NAME} in its place")
    return address


def _without_secrets(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Validate headers without literal secrets."""
    for name, value in headers.items():
        if name.lower() in SECRET_HEADERS and not VARIABLE.search(value):
            raise ValueError(f"{name} contains a secret, which belongs in an environment variable: write ${{NAME}}")
    return headers


def _dotted(keys: object) -> object:
    """Ids of actions by their dotted names: without quotes, TOML reads `plan.tick = "t"` as a table `plan`."""
    if not isinstance(keys, Mapping):
        return keys
    tables = {name: value for name, value in keys.items() if isinstance(value, Mapping)}
    inner = {f"{name}.{action}": key for name, table in tables.items() for action, key in table.items()}
    return {name: value for name, value in keys.items() if name not in tables} | inner


class HookSettings(BaseModel):
    """`[hooks]`. `${NAME}` in the webhook and in headers is replaced by an environment variable of the supervisor."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    command: tuple[str, ...] = ()
    """Program and arguments; it receives one JSON object on standard input."""
    webhook: Annotated[str, AfterValidator(_without_login)] | None = None
    """Address to which the object is posted."""
    headers: Annotated[Mapping[str, str], AfterValidator(_without_secrets)] = Field(default_factory=dict)
    """Further headers of the post."""
    events: tuple[HookEvent, ...] = ("run-failed", "queue-ended")
    timeout_s: float = Field(10.0, gt=0, le=600)
    """Seconds after which the command is killed, or the request cancelled."""


class NotificationSettings(BaseModel):
    """`[notifications]`: sequences that an open app sends to its terminal."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    terminal: Literal["none", "bell", "osc9", "osc777"] = "none"
    """The bell, or a desktop notification of iTerm2, kitty and WezTerm (OSC 9) or of urxvt, foot and VTE (OSC 777)."""


class JobRequest(BaseModel):
    """Resources of one job. None leaves the choice to the cluster."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    time: Time | None = None
    """In Slurm's format: minutes, `HH:MM:SS` or `D-HH:MM:SS`."""
    gpus: Gpus = 1
    """GPUs per job: a number, or type and number, e.g. `a100:1`; 0 for the CPU."""
    cpus: int | None = Field(None, ge=1)
    memory: str | None = Field(None, pattern=r"^\d+[KMGT]?$")
    """In Slurm's format, e.g. `32G`."""
    constraint: str | None = None
    extra: tuple[str, ...] = ()
    """Further arguments of sbatch."""
    setup: tuple[str, ...] = ()
    """Shell lines at the beginning of a job, e.g. `module load cuda`."""

    @property
    def device(self) -> str:
        return "cpu" if self.gpus == 0 else "cuda:0"

    def arguments(self) -> list[str]:
        given = {
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "time": self.time,
            "gres": f"gpu:{self.gpus}" if self.gpus != 0 else None,
            "cpus-per-task": self.cpus,
            "mem": self.memory,
            "constraint": self.constraint,
        }
        return [*(f"--{name}={value}" for name, value in given.items() if value is not None), *self.extra]


class SlurmSettings(JobRequest):
    """`[slurm]`: resources of jobs, and their number."""

    jobs: int = Field(100, ge=1)
    """Maximum number of queued and running jobs."""
    runs_per_job: int = Field(4, ge=1)
    """Runs of one backbone that share a job, one after another, and so load it once."""
    warning_s: int = Field(WARNING_S, ge=1)
    """Seconds before its time limit at which a job is warned to write a checkpoint and exit."""
    restarts: int = Field(3, ge=0)
    """Number of automatic restarts of a run without a checkpoint after Slurm took its node away; one with a
    checkpoint always continues.
    """
    poll_s: float = Field(5.0, ge=0.2)
    """Seconds between two polls of Slurm's queue; longer while Slurm is slow or does not respond."""
    suites: Mapping[str, Mapping[str, object]] = Field(default_factory=dict)
    """Overrides for the tasks of a suite."""
    tasks: Mapping[str, Mapping[str, object]] = Field(default_factory=dict)
    """Overrides for tasks by name or glob; they take precedence over those of suites."""

    def request(self, task: str, suites: Collection[str] = ()) -> JobRequest:
        """Request of a job for this task; `suites` are those that contain the task. Raises ValidationError."""
        values = {name: getattr(self, name) for name in JobRequest.model_fields}
        for other in self._overrides(task, suites):
            values |= other
        return JobRequest.model_validate(values)

    def variants(self) -> Iterator[tuple[str, JobRequest]]:
        """The plain request and every override separately, each with its place in config.toml. Raises
        ValidationError.
        """
        plain = {name: getattr(self, name) for name in JobRequest.model_fields}
        yield "[slurm]", JobRequest.model_validate(plain)
        for kind, tables in (("suites", self.suites), ("tasks", self.tasks)):
            for name, table in tables.items():
                yield f'[slurm.{kind}."{name}"]', JobRequest.model_validate(plain | dict(table))

    def _overrides(self, task: str, suites: Collection[str]) -> Iterator[Mapping[str, object]]:
        yield from (table for name, table in self.suites.items() if name in suites)
        yield from (table for pattern, table in self.tasks.items() if fnmatchcase(task, pattern))


DATA_VARIABLE = "SSL_CONSOLE_DATA"
Share = Literal["idle", "free-memory", "never"]
AUTO: Literal["auto"] = "auto"
MOST_DEVICES = 1024
DevicesPerRun = Annotated[int, Field(ge=1, le=MOST_DEVICES)] | Literal["auto"]
"""Devices that compute the features of one run: a number, or every idle one."""
Device = Annotated[str, Field(pattern=r"^(cpu|mps|cuda(:\d+)?)$")]


class Config(BaseModel):
    """Content of `config.toml`. An unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data_root: Path | None = None
    """Parent folder of datasets; `~` and paths relative to the workspace are expanded."""
    devices: tuple[Device, ...] = ()
    """Devices to use; empty means every CUDA device, else MPS, else the CPU."""
    slots_per_device: int | None = Field(None, ge=1, le=64)
    """Number of workers that share one device; by default two on a CPU of several cores, one elsewhere."""
    share: Share = "free-memory"
    """When a run starts on a CUDA device that other processes use: `free-memory`, as soon as its need is free; `idle`,
    next to runs of this workspace alone; `never`, only on an unused one."""
    devices_per_run: DevicesPerRun = 1
    """Maximum number of devices that compute the features of one run together, while no other run waits; `auto` means
    every idle device of this machine."""
    launcher: str = LOCAL
    """Name of the launcher that starts workers, unless `--launcher` names another: local, slurm, or a plug-in's."""
    slurm: SlurmSettings = SlurmSettings()
    """Resources and number of Slurm jobs."""
    launchers: Mapping[str, Mapping[str, object]] = Field(default_factory=dict)
    """`[launchers.NAME]`: settings of launchers from plug-ins."""
    retries: int = Field(1, ge=0, le=10)
    """Number of automatic retries after running out of memory."""
    stall_s: float = Field(300, gt=0)
    """Seconds without any sign of life (an event, or use of the processor) after which a run counts as stalled."""
    timeout_s: float | None = Field(None, gt=0)
    """Maximum duration of one run in seconds."""
    worker_memory_mb: float | None = Field(None, gt=0)
    """Host memory in MB that one worker and its children may use; None for nine tenths of the machine's."""
    batch_size: int | None = Field(None, ge=1)
    """Images per extraction batch; affects speed and memory only, never a result."""
    margins: Mapping[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """`[margins]`: by metric, in its own unit, the largest difference of two scores that counts as equal."""
    checkpoint_s: float = Field(60, ge=0)
    """Seconds of training between checkpoints, from which an interrupted run continues."""
    decoder: Literal["cpu", "nvjpeg"] = "cpu"
    """Engine that decodes JPEG files for GPUs. nvJPEG decodes to slightly different pixels, so it has separate
    features and a warning on every result; it is not used by default, as it has not been measured.
    """
    cuda_graphs: Literal["auto", "off"] = "auto"
    """Forward passes of frozen backbones on GPUs: `auto` replays CUDA graphs where this device computes the same
    features with them, bit for bit, in less time, which every extraction of many batches measures; `off` never does.
    """
    decoded_gb: float = Field(4.0, ge=0)
    """Disk space, in GB, for decoded images that backbones on the same dataset share; 0 disables sharing."""
    shared: Literal["group"] | None = None
    """`group`: members of the workspace's group may read it, and folders that the group can write are accepted; see
    `ssl_console.workspace.ownership`. Settings and cards are writable by the owner only.
    """
    hooks: HookSettings = HookSettings()
    """Command or webhook that is called when a run has failed or the queue has ended."""
    notifications: NotificationSettings = NotificationSettings()
    """Notifications that an open terminal app sends to its terminal."""
    keys: Annotated[dict[str, str], BeforeValidator(_dotted)] = Field(default_factory=dict)
    """Key bindings of the terminal app: id of the action to key, as `"plan.tick" = "t"` or `plan.tick = "t"`."""


def load_config(workspace: Workspace) -> Config:
    """Settings of the workspace; defaults without a file. Raises ConsoleError naming file, key and value."""
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
        raise ConsoleError(f"{path} is not valid TOML: {error}") from error


def data_root(workspace: Workspace, config: Config) -> Path:
    """Parent folder of datasets: the setting, else `$SSL_CONSOLE_DATA`, else `data` in the workspace."""
    if config.data_root is not None:
        return workspace.root / expand_user(config.data_root)
    given = os.environ.get(DATA_VARIABLE)
    return expand_user(given).absolute() if given else workspace.root / "data"


def _problems(path: Path, error: ValidationError) -> list[str]:
    problems = []
    for item in error.errors(include_url=False):
        key = ".".join(map(str, item["loc"]))
        if item["type"] == "extra_forbidden":
            near = suggest(key, Config.model_fields)
            hint = f"did you mean {near[0]!r}?" if near else f"available: {', '.join(Config.model_fields)}"
            problems.append(f"{path}: {key}: unknown key; {hint}")
        else:
            given = "" if key.startswith("hooks.") else f", not {item['input']!r}"  # that may be a secret
            problems.append(f"{path}: {key}: {item['msg'][:1].lower()}{item['msg'][1:]}{given}")
    return problems


def expand(text: str, environment: Mapping[str, str]) -> str:
    """`text` with its variables replaced. Raises KeyError with the name of an unset one."""
    return VARIABLE.sub(lambda match: environment[match[1]], text)
