from __future__ import annotations

import json
import subprocess
import sys

import pytest

from ssl_console.workspace.paths import Workspace

HEAVY = ("torch", "numpy", "timm", "torchvision", "sklearn", "scipy", "textual", "PIL", "tinydb")
SCRIPT = """
import json, runpy, sys
sys.argv = ["ssl-console", *{arguments!r}]
try:
    runpy.run_module("ssl_console", run_name="__main__", alter_sys=True)
except SystemExit as end:
    code = end.code
print(json.dumps([code, sorted(name for name in sys.modules if "." not in name)]), file=sys.stderr)
"""


def modules_of(*arguments: str) -> set[str]:
    script = SCRIPT.format(arguments=arguments)
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    code, modules = json.loads(done.stderr.splitlines()[-1])
    assert code == 0
    return set(modules)


@pytest.mark.parametrize(
    "command", ["--help", "--version", "run --help", "backbones --json", "tasks --json", "suites", "weights list"]
)
def test_listing_and_help_import_nothing_heavy(workspace: Workspace, command: str) -> None:
    assert modules_of(*command.split()).isdisjoint({*HEAVY, "rich"})


@pytest.mark.parametrize("command", ["runs --json", "results --json", "rank --json", "data list", "cache list"])
def test_no_verb_of_the_console_imports_torch_or_numpy(workspace: Workspace, command: str) -> None:
    assert modules_of(*command.split()).isdisjoint(set(HEAVY) - {"tinydb"})
