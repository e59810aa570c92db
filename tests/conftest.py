"""Shared setup of all tests: a separate workspace, one thread per process, no network access, slow files first.

What each of several processes would do alike before its first test is done once, or not at all.
"""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

import psutil
import pytest
from _pytest.assertion import rewrite

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["SSL_CONSOLE_TRUSTED_CODE"] = f"{tempfile.mkdtemp(prefix='ssl-console-tests-')}/trusted-code"
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # inherited by a test run in a shell's background, and by every command that it would start
    signal.signal(signal.SIGINT, signal.default_int_handler)

from backbones.io import light_import
from backbones.io.files import WORKSPACE_VARIABLE
from ssl_console.workspace.paths import Workspace
from tests import forked_processes

gc.disable()  # until all modules are imported: nothing of them can be freed
light_import.install(any_program=True)
forked_processes.provide()
forked_processes.take_over()
atexit.register(shutil.rmtree, Path(os.environ["SSL_CONSOLE_TRUSTED_CODE"]).parent, ignore_errors=True)
MOST_PROCESSES = 4
"""More take no less time: tests keep all cores busy."""
MEMORY_OF_A_PROCESS = 2.5e9
"""Bytes of a process that has imported torch and of the programs that its tests start."""
AS_QUICK_ONES = 20
"""Number of quick tests that take about as long as a slow one."""


def pytest_configure(config: pytest.Config) -> None:
    """Rewrite the assertions of all test modules before several processes start, each of which would do so."""
    if getattr(config.option, "numprocesses", None):
        gc.enable()  # in the process that collects nothing itself
        for source in Path(__file__).parent.rglob("test_*.py"):
            _rewrite(source, config)


def _rewrite(source: Path, config: pytest.Config) -> None:
    if sys.dont_write_bytecode or rewrite.assertstate_key not in config.stash:
        return
    target = rewrite.get_cache_dir(source) / f"{source.stem}{rewrite.PYC_TAIL}"
    if rewrite._read_pyc(source, target) is None:
        target.parent.mkdir(parents=True, exist_ok=True)
        status, code = rewrite._rewrite_test(source, config)
        rewrite._write_pyc(config.stash[rewrite.assertstate_key], code, status, target)


def pytest_collection_finish() -> None:
    """Exempt all that is there from garbage collection: it stays, and to look at it takes a second each time."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Number of processes of `-n auto`: two more than cores, as tests often wait, where memory suffices for them."""
    fit = int(psutil.virtual_memory().available / MEMORY_OF_A_PROCESS)
    return max(1, min((os.cpu_count() or 1) + 2, MOST_PROCESSES, fit))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Start every process with files of slow tests: one at the end would leave the others idle.

    With `--no-loadscope-reorder`, as a slow test counts as any other there.
    """
    if hasattr(config, "workerinput"):
        cost: Counter[Path] = Counter()
        for item in items:
            cost[item.path] += AS_QUICK_ONES if item.get_closest_marker("slow") else 1
        items.sort(key=lambda item: -cost[item.path])


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A new workspace, also used by commands that the test starts."""
    made = Workspace(tmp_path / "workspace").create()
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(made.root))
    return made
