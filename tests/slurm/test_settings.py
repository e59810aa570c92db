"""The settings of `[slurm]`; no cluster is needed."""

from __future__ import annotations

import textwrap
import tomllib

from ssl_console.workspace.config import Config
from tests.ssl_console.workspace_fixture import ROOT


def test_the_settings_that_the_readme_shows_are_settings() -> None:
    text = (ROOT / "ssl_console" / "README.md").read_text(encoding="utf-8")
    _, _, page = text.partition("## On a Slurm cluster")
    start = page.index('    launcher = "slurm"')
    lines = textwrap.dedent(page[start:].partition("\n\n")[0])
    config = Config.model_validate(tomllib.loads(lines))
    assert config.launcher == "slurm"
    usual, tuned = config.slurm.request("linear/cifar10"), config.slurm.request("finetune/dtd")
    assert (usual.time, tuned.time) == ("8:00:00", "1-0")
    assert usual.arguments() == [
        "--partition=gpu", "--time=8:00:00", "--gres=gpu:1", "--cpus-per-task=8", "--mem=32G", "--exclude=node7",
    ]  # fmt: skip
