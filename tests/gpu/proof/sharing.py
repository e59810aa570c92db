"""A GPU used by several processes: two workers of this project, and another process that occupies its memory."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.run_status import read_status
from tests.gpu.proof.console import Console
from tests.gpu.proof.record import Check, Setting

LEFT_MB = 300
"""Memory left by the other process: less than a process allocates on a GPU before it computes anything."""
_HOLD = """
import sys, torch
free = torch.cuda.mem_get_info()[0]
held = []
for size in (1 << 30, 1 << 26):
    while torch.cuda.mem_get_info()[0] > int(sys.argv[1]) * 2**20 + size:
        held.append(torch.empty(size, dtype=torch.uint8, device="cuda"))
print("ready", flush=True)
sys.stdin.read()
"""


def two_workers(setting: Setting) -> Sequence[Check]:
    """Runs of two backbones at the same time, in two processes."""
    console = _console(setting, "slots_per_device = 2\n")
    console("run", "-b", "demo/simclr", "-b", "demo/supervised", "-t", "knn/digits", "--devices", setting.device)
    runs = console.runs()
    folders = [Workspace(console.workspace).run(run["run_id"]) for run in runs]
    owners = [read_status(folder, time.time()).owner for folder in folders]
    workers = {owner.pid for owner in owners if owner is not None}
    times = [(one["finished"] - one["duration_s"], one["finished"]) for one in console.results()]
    together = min(end for _, end in times) - max(begin for begin, _ in times)
    return [
        Check("runs done", sum(run["state"] == "done" for run in runs), f"of {len(runs)}", len(runs) == 2),
        Check("worker processes", len(workers), holds=len(workers) == 2),
        Check("seconds at the same time", max(0.0, together), "s"),
    ]


def out_of_memory(setting: Setting) -> Sequence[Check]:
    """A first run of unknown memory need on a full GPU fails or waits; it is done when there is room."""
    setting.require_cuda("a full card cannot be made on a CPU")
    console = _console(setting)
    with _held(setting):
        console("run", *_RUN, "--devices", setting.device, "--detach")
        first = _until(console, lambda run: run["state"] == "failed" or bool(run["reason"]), 25)
    _ended(console, first)
    last = _until(console, lambda run: run["state"] == "done", 25)
    return [
        Check("on the full card", f"{first['state']} {first['kind'] or ''} {first['reason']}"),
        Check("with room", f"{last['state']}, attempt {last['attempt']}", holds=last["state"] == "done"),
    ]


def held_card(setting: Setting) -> Sequence[Check]:
    """A run of known need waits for memory held by another process, names that process, and continues afterwards."""
    setting.require_cuda("a full card cannot be made on a CPU")
    console = _console(setting)
    console("run", *_RUN, "--devices", setting.device)
    with _held(setting) as pid:
        console("run", *_RUN, "--devices", setting.device, "--force", "--detach")
        waiting = _until(console, lambda run: run["state"] == "queued" and str(pid) in run["reason"], 12)
    last = _until(console, lambda run: run["state"] == "done", 25)
    return [
        Check("reason while the card is held", waiting["reason"], holds=str(pid) in waiting["reason"]),
        Check("afterwards", last["state"], holds=last["state"] == "done"),
    ]


_RUN = ("-b", "demo/simclr", "-t", "knn/digits")


def _console(setting: Setting, config: str = "") -> Console:
    console = Console(setting.folder / "workspace")
    console.workspace.mkdir(mode=0o700)
    (console.workspace / "config.toml").write_text(config)
    return console


def _ended(console: Console, run: Mapping[str, Any]) -> None:
    """Request another attempt of a failed run that is not retried automatically."""
    found = _newest(console)
    if run["state"] == "failed" and found["state"] == "failed":
        console("retry", found["run_id"], check=False)


def _newest(console: Console) -> Mapping[str, Any]:
    return console.runs()[-1]


def _until(console: Console, fact: Callable[[Mapping[str, Any]], bool], patience_s: float) -> Mapping[str, Any]:
    """The newest run once the condition holds for it, or as it is at the timeout."""
    until = time.monotonic() + patience_s
    while not fact(found := _newest(console)) and time.monotonic() < until:
        time.sleep(0.5)
    return found


@contextmanager
def _held(setting: Setting) -> Iterator[int]:
    """Pid of a process that occupies almost the whole GPU."""
    command = [sys.executable, "-P", "-c", _HOLD, str(LEFT_MB)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n", "the process that was to hold the card has ended"
            yield process.pid
        finally:
            process.stdin.close()
            process.wait(10)
