"""The core behind the screens: the workspace's files, the cards, the planner and the requests to the supervisor."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from backbones.catalog.catalog import BackboneCatalog
from backbones.catalog.weights_folder import WeightsFolder
from backbones.inspection.proposal import Inspection
from backbones.io.canonical_json import canonical
from backbones.io.card_files import CardNameError
from backbones.io.errors import WeightsError
from ssl_console.analysis.published import published
from ssl_console.launchers.placement import resolve_placement, slots_for
from ssl_console.operations.add_backbone import BackboneOptions, card_of, card_path, check, look_into, write_card
from ssl_console.operations.check_backbone import BackboneChecker, exclude_failing
from ssl_console.operations.checkpoints.record import WatchedTraining, trainings
from ssl_console.planning.candidates import LookupContext, identity_of_run, resolve_candidates
from ssl_console.planning.disk_usage import Disk, disk_for
from ssl_console.planning.plan import Blocker, Candidate, Plan, make_plan
from ssl_console.planning.submit import submit_runs
from ssl_console.supervisor.client import SupervisorOptions, ensure_supervisor
from ssl_console.system.command_hints import fetch_data, fetch_weights_command
from ssl_console.system.device import Device
from ssl_console.system.devices import all_devices, choose_devices
from ssl_console.system.errors import ConsoleError
from ssl_console.tui.data.backend import LaunchRequest, RunFiles
from ssl_console.tui.data.catalog import BackboneEntry, Catalog, Suite, TaskEntry
from ssl_console.tui.data.poller import WorkspacePoller
from ssl_console.tui.data.state import Pair, Preferences, StateUpdate, read_preferences, write_preferences
from ssl_console.workspace import requests
from ssl_console.workspace.config import Config, data_root, load_config
from ssl_console.workspace.events import Curve
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.per_class_accuracy import per_class
from ssl_console.workspace.pictures import Picture, open_picture, picture_files
from ssl_console.workspace.result import ResultRecord
from ssl_console.workspace.run import RunSpec
from tasks.catalog.catalog import TaskCatalog
from tasks.catalog.protocols import PROTOCOLS
from tasks.catalog.spec import TaskSpec
from tasks.datasets.manifest import known_manifest
from tasks.datasets.presence import presence

if TYPE_CHECKING:
    from ssl_console.workspace.predictions import Arrays, RunOutputs


class OwnThings:
    """The part of the core that brings in what is the user's own."""

    workspace: Workspace

    def trainings(self) -> Sequence[WatchedTraining]:
        """The trainings that are or were watched."""
        return tuple(trainings(self.workspace))

    def check_backbone(self, said: BackboneOptions) -> None:
        """What can be told of a checkpoint at once. Raises ConsoleError."""
        if not said.path.exists():
            raise ConsoleError(f"{said.path} is not there")
        check(said)
        card_path(self.workspace, said.card_name, replace=said.replace)

    def inspect_backbone(self, said: BackboneOptions) -> Inspection:
        """Look into a checkpoint. Raises ConsoleError."""
        try:
            return look_into(said)
        except WeightsError as error:
            raise ConsoleError(str(error)) from error

    def add_backbone(self, said: BackboneOptions, found: Inspection) -> str:
        """Write its card, and have all cards read again; the card's name. Raises ConsoleError."""
        card = card_of(said, found)
        write_card(self.workspace, card, replace=said.replace)
        kept: dict[str, Any] = self.__dict__
        kept.pop("_backbones", None)
        return card.name


HABITS = "console.json"


@dataclass
class LocalBackend(OwnThings):
    """The core on this machine's workspace."""

    workspace: Workspace
    card_folders: tuple[Path, ...] = ()

    @property
    def root(self) -> Path:
        """The workspace's folder."""
        return self.workspace.root

    @cached_property
    def config(self) -> Config:
        """The user's settings."""
        return load_config(self.workspace)

    @cached_property
    def _backbones(self) -> BackboneCatalog:
        folders = [self.workspace.backbones, *(folder / "backbones" for folder in self.card_folders)]
        return BackboneCatalog.load(folders, self.workspace.cache / "timm")

    @cached_property
    def _tasks(self) -> TaskCatalog:
        return TaskCatalog.load([self.workspace.tasks, *(folder / "tasks" for folder in self.card_folders)])

    @cached_property
    def _watch(self) -> WorkspacePoller:
        return WorkspacePoller(self.workspace, self.config)

    @property
    def _around(self) -> LookupContext:
        weights = WeightsFolder(self.workspace.weights)
        return LookupContext(self.workspace, data_root(self.workspace, self.config), weights, self._tasks)

    def preferences(self) -> Preferences:
        """What was chosen last here."""
        return read_preferences(self.root / HABITS)

    def save_preferences(self, preferences: Preferences) -> None:
        """Keep that for the next start."""
        write_preferences(self.root / HABITS, preferences)

    # -- the catalogue ------------------------------------------------------------------------------------------

    def catalogue(self) -> Catalog:
        """Backbones, tasks and suites, and which weights and data are there."""
        published()  # read here, in a thread, so that the rankings need not wait for it
        around = self._around
        problems = (*self._backbones.problems, *self._tasks.problems)
        return Catalog(
            tuple(self._backbone_entry(name, around) for name in self._backbones.cards),
            tuple(self._task_entries(around)),
            tuple(self._suite(name) for name in self._tasks.suites),
            tuple(map(str, problems)),
        )

    def _backbone_entry(self, name: str, around: LookupContext) -> BackboneEntry:
        card = self._backbones.cards[name]
        state = around.weights.state(card)
        if state.status == "present":
            return BackboneEntry(card)
        by_command = card.weights.kind in {"url", "timm"} and not getattr(card.weights, "manual", None)
        way_out = f"run `{fetch_weights_command(name)}`" if by_command else state.advice or ""
        return BackboneEntry(card, Blocker("weights", name, f"its weights are {state.status}: {way_out}"))

    def _task_entries(self, around: LookupContext) -> list[TaskEntry]:
        """Tasks by protocol, so that a protocol's columns stand together; task cards of the user's own among them."""
        lacking = {name: self._lacking_data(name, around) for name in self._tasks.datasets}
        entries = []
        for name in self._tasks.task_names:
            spec = self._tasks.resolve(name)
            dataset = self._tasks.datasets[spec.dataset]
            entries.append(TaskEntry(name, spec.protocol, dataset, lacking[spec.dataset], spec.variant))
        order = {name: place for place, name in enumerate(PROTOCOLS)}
        return sorted(entries, key=lambda entry: (order[entry.protocol], entry.name))

    def _lacking_data(self, name: str, around: LookupContext) -> Blocker | None:
        card = self._tasks.datasets[name]
        found = presence(card, around.data_root)
        if found.status == "present":
            return None
        way_out = f"run `{fetch_data(name)}`" if card.download == "automatic" else found.advice
        return Blocker("data", name, f"its data are {found.status}: {way_out}")

    def _suite(self, name: str) -> Suite:
        card = self._tasks.suites[name]
        specs = self._tasks.select(suite=name)
        backbones = tuple(card.name for card in self._backbones.select(card.backbones)) if card.backbones else ()
        columns = tuple((spec.name, spec.variant) for spec in specs)
        return Suite(name, card.title, tuple(spec.name for spec in specs), backbones, columns)

    # -- watching -----------------------------------------------------------------------------------------------

    def news(self) -> StateUpdate:
        """What changed since the last call."""
        return self._watch.news()

    def files(self, run_id: str) -> RunFiles:
        """Where the run's log is, and its last events."""
        return self._watch.files(run_id)

    def curves(self, run_id: str) -> Mapping[str, Curve]:
        """Its metrics."""
        return self._watch.curves(run_id)

    def dump_stack(self, run_id: str) -> None:
        """Have the worker write its stacks to the log."""
        self._watch.dump_stack(run_id)

    # -- asking the supervisor ----------------------------------------------------------------------------------

    def cancel(self, run_id: str) -> None:
        """Stop a run, or take it out of the queue."""
        self._request(lambda: requests.request_cancel(self.workspace, run_id))

    def retry(self, run_id: str) -> None:
        """Run it again."""
        self._request(lambda: requests.request_retry(self.workspace, run_id))
        self._wake()

    def set_paused(self, paused: bool) -> None:
        """Start nothing more, or go on."""
        self.workspace.create()
        (requests.pause if paused else requests.resume)(self.workspace)
        if not paused:
            self._wake()

    def set_priority(self, run_id: str, priority: int) -> None:
        """Another place in the queue."""
        self._request(lambda: requests.set_priority(self.workspace, run_id, priority))

    def _request(self, ask: Callable[[], object]) -> None:
        try:
            ask()
        except requests.NotPossible as error:
            raise ConsoleError(str(error)) from error

    def _wake(self) -> None:
        """See to it that a supervisor is there to take up what was asked for."""
        ensure_supervisor(self.workspace, SupervisorOptions.from_config(self.config))

    # -- planning and launching ---------------------------------------------------------------------------------

    def plan(self, order: LaunchRequest) -> Plan:
        """What a launch would do, once the backbones that it would measure were examined."""
        practice = BackboneChecker(self.workspace, self._around.weights, self._devices()[0].name)
        return exclude_failing(self._plan(order), practice, force=order.again)

    def _plan(self, order: LaunchRequest) -> Plan:
        try:
            candidates = self._candidates(order)
        except CardNameError as error:
            raise ConsoleError(str(error)) from error
        return make_plan(
            candidates,
            self._watch.results,
            slots=self._slots(),
            force=order.again,
            old_identity=lambda run_id: identity_of_run(self.workspace, run_id),
        )

    def _candidates(self, order: LaunchRequest) -> list[Candidate]:
        """Each picked backbone on its own picked tasks: a selection need not be a rectangle."""
        specs = {spec.name: spec for spec in self._specs(order)}
        found: list[Candidate] = []
        for backbone, names in _grouped(order.pairs).items():
            card = self._backbones.get(backbone)
            found += resolve_candidates([card], [specs[name] for name in names], order.seeds, self._around)
        return found

    def _specs(self, order: LaunchRequest) -> Sequence[TaskSpec]:
        wanted = list(dict.fromkeys(task for _, task in order.pairs))
        of_suite = self._tasks.select(suite=order.suite, preset=order.preset) if order.suite else []
        return [*(self._tasks.resolve(name, order.preset) for name in wanted), *of_suite]

    def _slots(self) -> int:
        return slots_for(self.workspace, self.config, resolve_placement(self.workspace, self.config))

    def _devices(self) -> list[Device]:
        return choose_devices(self.config.devices, all_devices())

    def stale(self, pairs: Sequence[Pair], suite: str | None) -> Mapping[Pair, str]:
        """Of these measured pairs, those whose result is out of date, and why.

        Pairs whose data nobody has looked at since they changed are left out: looking takes a while; a plan does it.
        """
        around = self._around
        known = {
            name
            for name, card in self._tasks.datasets.items()
            if known_manifest(card, around.data_root, self.workspace.cache) is not None
        }
        looked_at = [pair for pair in pairs if self._tasks.resolve(pair[1]).dataset in known]
        plan = self._plan(LaunchRequest(tuple(looked_at), suite=suite))
        stale = (run for run in plan.runs if run.status == "stale")
        return {(run.candidate.backbone.name, run.candidate.task.name): run.reason for run in stale}

    def disk(self, plan: Plan) -> Disk:
        """What it would leave on the disk, and what is free there."""
        return disk_for(self.workspace, [run.candidate for run in plan.to_run], self._watch.results)

    def submit(self, plan: Plan) -> int:
        """Queue what the plan says, and see to it that a supervisor takes it up."""
        submitted = submit_runs(self.workspace, plan.to_run, resolve_placement(self.workspace, self.config))
        self._wake()
        return len(submitted.run_ids)

    def command(self, order: LaunchRequest) -> str:
        """The command line that does the same; several commands where the picked pairs are no rectangle."""
        by_tasks: dict[tuple[str, ...], list[str]] = {}
        for backbone, names in _grouped(order.pairs).items():
            by_tasks.setdefault(tuple(names), []).append(backbone)
        return "\n".join(self._command(backbones, tasks, order) for tasks, backbones in by_tasks.items())

    def _command(self, backbones: Sequence[str], tasks: Sequence[str], order: LaunchRequest) -> str:
        words = ["ssl-console", "--workspace", str(self.root), "run"]
        words += [word for name in backbones for word in ("-b", name)]
        suite = order.suite or ""
        whole_suite = suite and set(tasks) == {spec.name for spec in self._tasks.select(suite=suite)}
        words += ["--suite", suite] if whole_suite else [word for name in tasks for word in ("-t", name)]
        words += [word for seed in order.seeds if order.seeds != (0,) for word in ("--seed", str(seed))]
        words += ["--preset", order.preset] if order.preset else []
        words += ["--force"] if order.again else []
        return shlex.join(words)

    # -- results ------------------------------------------------------------------------------------------------

    def record(self, run_id: str) -> ResultRecord | None:
        """Everything about a finished run; None when its folder is gone or holds no result."""
        try:
            return ResultRecord.model_validate_json(self.workspace.run(run_id).result.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise ConsoleError(
                f"{self.workspace.run(run_id).result} is no result: {error.errors()[0]['msg']}"
            ) from error

    def per_class(self, run_id: str) -> Sequence[tuple[str, float, int]]:
        """Name, percent recognised and number of test images of every class; empty where that is not known."""
        try:
            scores = per_class(self.workspace.run(run_id).predictions)
            spec = RunSpec.model_validate_json(self.workspace.run(run_id).spec.read_bytes())
        except (FileNotFoundError, ValidationError):
            return ()
        except ValueError as error:
            raise ConsoleError(str(error)) from error
        manifest = known_manifest(spec.dataset, self._around.data_root, self.workspace.cache)
        names = manifest.classes if manifest else ()
        return [
            (names[one.label] if 0 <= one.label < len(names) else f"class {one.label}", one.percent, one.total)
            for one in scores
        ]

    def pictures(self, run_id: str) -> Sequence[Picture]:
        """What a finished run left to look at; without those that cannot be read."""
        opened = map(open_picture, picture_files(self.workspace.run(run_id)))
        return [picture for picture in opened if picture is not None]

    @cached_property
    def _outputs(self) -> RunOutputs:
        from ssl_console.workspace.predictions import RunOutputs  # noqa: PLC0415 - reads arrays, so it loads numpy

        return RunOutputs(self.workspace)

    def predictions(self, run_id: str) -> Arrays | None:
        """Per-sample outputs of a finished run; None when it left none."""
        return self._outputs.predictions(run_id)

    def repeat_command(self, run_id: str) -> str:
        """The command line that measures exactly this again; empty when the run's folder is gone."""
        try:
            spec = RunSpec.model_validate_json(self.workspace.run(run_id).spec.read_bytes())
        except (FileNotFoundError, ValidationError):
            return ""
        words = ["ssl-console", "--workspace", str(self.root), "run", "-b", spec.backbone.name, "-t", spec.task.name]
        words += ["--seed", str(spec.seed), "--preset", spec.task.preset, *_settings(spec.task)]
        words += ["--precision", spec.precision] if spec.precision != "float32" else []
        return shlex.join([*words, "--force"])


def _settings(task: TaskSpec) -> Iterator[str]:
    """What differs from the preset, as `--set family.key=value`."""
    facts = PROTOCOLS[task.protocol]
    preset = json.loads(canonical(asdict(facts.presets[task.preset])))
    for name, value in json.loads(canonical(task.parameters)).items():
        if preset.get(name) != value:
            yield from ("--set", f"{facts.family}.{name}={value if isinstance(value, str) else json.dumps(value)}")


def _grouped(pairs: Sequence[Pair]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for backbone, task in pairs:
        grouped.setdefault(backbone, []).append(task)
    return grouped
