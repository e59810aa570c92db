"""Checks of the installation, devices, workspace, cards, supervisor and terminal."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from backbones.io.subprocess_query import last_error_line, run_module
from ssl_console.launchers.registry import launcher_checks
from ssl_console.system.devices import all_devices, read_device
from ssl_console.system.errors import ConsoleError, format_os_error, shortage
from ssl_console.system.file_system import inabilities
from ssl_console.system.machine_checks import (
    Check,
    Verdict,
    cuda_check,
    device_check,
    driver_check,
    files_check,
    memory_check,
    multiplexer_check,
)
from ssl_console.system.nvml import driver_problems
from ssl_console.workspace.config import load_config
from ssl_console.workspace.ownership import is_shared, ownership_problems
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.supervisor_state import SupervisorView
from tasks.datasets.card import DatasetCard
from tasks.datasets.importing.messages import survey
from tasks.datasets.presence import presence

IMPORT_S = 180.0
LITTLE_SPACE_GB = 5.0
GIGABYTE = 1e9
LIBRARIES = ("torch", "torchvision", "timm", "sklearn", "safetensors", "tinydb")
LOGIND = (Path("/etc/systemd/logind.conf"), Path("/etc/systemd/logind.conf.d"), Path("/run/systemd/logind.conf.d"))
LINGER = Path("/var/lib/systemd/linger")


@dataclass(frozen=True)
class DoctorContext:
    """Subjects of the checks in addition to the machine."""

    workspace: Workspace
    data_root: Callable[[], Path]
    """Raises ConsoleError for invalid settings."""
    card_problems: Callable[[], Iterable[object]]
    results: Callable[[], int]
    suites: Callable[[], Collection[str]]


def examine(subject: DoctorContext) -> Iterator[Check]:
    """All checks, quick ones first, each as soon as it is done."""
    yield Check("python", "good", f"{sys.version.split()[0]}, {sys.executable}")
    yield _settings(subject)
    yield _writable(subject.workspace)
    yield from _private(subject.workspace)
    yield _space("disk", subject.workspace.root)
    yield memory_check()
    yield files_check()
    yield _cards(subject)
    yield _results(subject)
    yield _supervisor(subject.workspace)
    yield from terminal_checks(os.environ)
    yield logout_check(os.environ, _logind_lines())
    yield multiplexer_check(os.environ)
    yield from _devices()
    yield from _launchers(subject)
    yield from _libraries()


def _libraries() -> Iterator[Check]:
    """Versions in a subprocess, as in workers: importing torch here would not test that."""
    try:
        done = run_module("backbones.io.subprocess_query", *LIBRARIES, seconds=IMPORT_S)
    except subprocess.TimeoutExpired:
        yield Check("libraries", "bad", f"importing torch took more than {IMPORT_S:.0f} s: is the disk slow or busy?")
        return
    if done.returncode:
        yield Check("libraries", "bad", f"{last_error_line(done)}: install the package again")
        return
    versions, built_for, sees = json.loads(done.stdout.splitlines()[-1])
    yield Check("libraries", "good", ", ".join(f"{name} {version}" for name, version in versions.items()))
    devices = sum(device.kind == "cuda" for device in all_devices())
    if (cuda := cuda_check(built_for, sees=sees, devices=devices)) is not None:
        yield cuda


def _settings(subject: DoctorContext) -> Check:
    try:
        root = subject.data_root()
    except ConsoleError as error:
        return Check("settings", "bad", str(error))
    state = "" if root.is_dir() else " (missing: only needed for data that are not built in)"
    return Check("settings", "good", f"data below {root}{state}")


def _writable(workspace: Workspace) -> Check:
    """Check of the file system features that a workspace requires."""
    place = next(folder for folder in (workspace.root, *workspace.root.parents) if folder.exists())
    try:
        found = sorted(inabilities(place), key=lambda one: not one.required)
    except OSError as error:
        return Check("workspace", "bad", f"{place}: {error.strerror or error}: choose another --workspace")
    if found:
        words = "; ".join(map(str, found))
        return Check("workspace", "bad" if found[0].required else "note", f"{place}: {words}")
    return Check("workspace", "good", f"{workspace.root}{'' if workspace.root.exists() else ' (will be created)'}")


def _private(workspace: Workspace) -> Iterator[Check]:
    """Other users that could change the workspace: one line per place."""
    try:
        problems = list(ownership_problems(workspace))
    except OSError as error:
        yield Check("privacy", "bad", format_os_error(error))
        return
    yield from (Check("privacy", "bad", str(problem)) for problem in problems)
    if is_shared(workspace):
        yield Check("privacy", "note", f"{workspace.config} shares it with its group: members can read its runs")
    elif not problems and workspace.root.exists() and workspace.root.stat().st_mode & 0o055:
        words = f"{workspace.root} is readable by other users: chmod go-rwx {workspace.root}"
        yield Check("privacy", "note", words)
    elif not problems:
        yield Check("privacy", "good", "no other user can change the workspace, its settings or its cards")


def _space(name: str, place: Path) -> Check:
    there = next(folder for folder in (place, *place.parents) if folder.exists())
    free = shutil.disk_usage(there).free / GIGABYTE
    if short := shortage(there):
        return Check(name, "bad", short)
    if free < LITTLE_SPACE_GB:
        return Check(name, "note", f"{free:.1f} GB free at {there}: `ssl-console cache prune --keep-gb N` makes room")
    return Check(name, "good", f"{free:.0f} GB free at {there}")


def _cards(subject: DoctorContext) -> Check:
    problems = [str(problem) for problem in subject.card_problems()]
    if problems:
        return Check("cards", "bad", f"{len(problems)} cannot be used: {'; '.join(problems)}")
    return Check("cards", "good", "all are readable")


def _results(subject: DoctorContext) -> Check:
    try:
        count = subject.results()
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the file, that is the finding
        return Check("results", "bad", str(error))
    return Check("results", "good", f"{count} in {subject.workspace.results}")


def _supervisor(workspace: Workspace) -> Check:
    state = SupervisorView(workspace).living(time.time())
    if state is None:
        return Check("supervisor", "good", "not running; it starts with the next run")
    if state.problems:
        return Check("supervisor", "bad", f"process {state.pid} on {state.host}: {'; '.join(state.problems)}")
    busy = sum((slot.run_id or slot.assists) is not None for slot in state.slots)
    return Check("supervisor", "good", f"process {state.pid} on {state.host}, {busy} of {len(state.slots)} slots busy")


def terminal_checks(environment: Mapping[str, str]) -> Iterator[Check]:
    """Locale and terminal, from environment variables."""
    locale = next((environment[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if environment.get(name)), "")
    if "utf" not in locale.lower().replace("-", ""):
        shown = locale or "not set"
        yield Check("locale", "note", f"{shown}: a UTF-8 one (export LANG=C.UTF-8) shows tables and charts better")
    else:
        yield Check("locale", "good", locale)
    terminal = environment.get("TERM", "")
    if terminal in {"", "dumb"}:
        yield Check("terminal", "note", f"TERM is {terminal or 'not set'}: the terminal app needs a real terminal")
    elif environment.get("TMUX") and "256" not in terminal and environment.get("COLORTERM") is None:
        yield Check(
            "terminal", "note", f"{terminal} in tmux: `set -g default-terminal tmux-256color` gives all colours"
        )
    else:
        yield Check("terminal", "good", terminal)


def logout_check(environment: Mapping[str, str], logind: Iterable[str]) -> Check:
    """Whether runs survive the end of the login session."""
    settings = [
        line.partition("=")[2].strip().lower() for line in logind if line.strip().startswith("KillUserProcesses")
    ]
    kills = bool(settings) and settings[-1] in {"yes", "true", "1", "on"}
    user = environment.get("USER", "")
    if kills and not (LINGER / user).exists():
        words = (
            "systemd ends all your processes at logout (KillUserProcesses): `loginctl enable-linger` keeps runs going"
        )
        return Check("logout", "bad", words)
    return Check("logout", "good", "runs continue after logout")


def _logind_lines() -> Iterator[str]:
    for place in LOGIND:
        files = sorted(place.glob("*.conf")) if place.is_dir() else [place]
        for file in files:
            if file.is_file() and os.access(file, os.R_OK):
                yield from file.read_text(errors="replace").splitlines()


def _launchers(subject: DoctorContext) -> Iterator[Check]:
    try:
        config = load_config(subject.workspace)
    except ConsoleError:
        return  # reported already: the settings cannot be read
    yield from launcher_checks(subject.workspace, config, subject.suites())


def _devices() -> Iterator[Check]:
    if (driver := driver_check()) is not None:
        yield driver
    yield from (Check("cuda", "bad", problem) for problem in driver_problems())
    found = all_devices()
    for device in found:
        yield device_check(device, read_device(device))
    if shutil.which("nvidia-smi") and not any(device.kind == "cuda" for device in found):
        words = "no CUDA device can be queried despite nvidia-smi: is the driver loaded, or CUDA_VISIBLE_DEVICES empty?"
        yield Check("cuda", "note", words)


__all__ = ["Check", "DoctorContext", "Verdict", "examine", "logout_check", "terminal_checks"]


def examine_dataset(card: DatasetCard, data_root: Path) -> Iterator[Check]:
    """Presence first; then the report of a subprocess that opens the data and decodes every image."""
    found = presence(card, data_root)
    if found.status != "present":
        yield Check("data", "bad", f"{found.missing[0]} is missing: {found.advice}")
        return
    yield Check("data", "good", "built in" if found.base == data_root else f"in {found.base}")
    answer = survey(card, data_root)
    if answer.error is not None:
        yield Check("reading", "bad", answer.error)
        return
    counts = ", ".join(f"{count:,} {split}" for split, count in answer.images.items())
    yield Check("reading", "good", f"{counts}; {answer.classes} classes; images of {answer.side} px (median)")
    for problem in answer.problems:
        yield Check("published", "note", problem)
    for warned in answer.warnings:
        yield Check(warned.kind, "bad" if warned.kind == "unreadable" else "note", warned.words)
    for note in answer.notes:
        yield Check("note", "note", note)
