"""`doctor` checks with the cluster whether it accepts the `[slurm]` settings, and shows Slurm's answer."""

from __future__ import annotations

import pytest

from ssl_console.launchers.slurm.launcher import SlurmLauncher
from ssl_console.system.machine_checks import Check
from ssl_console.workspace.config import load_config
from tests.slurm.workspace_fixture import SlurmBench, console


def checks(bench: SlurmBench) -> list[Check]:
    return list(SlurmLauncher.open(bench.workspace, load_config(bench.workspace)).checks(("demo", "paper-linear")))


def test_settings_that_the_cluster_takes_are_good(bench: SlurmBench) -> None:
    bench.configure('[slurm.tasks."finetune/*"]\npartition = "high"', partition='"main"', cpus="2", memory='"500M"')
    version, plain, override = checks(bench)
    assert {check.verdict for check in (version, plain, override)} == {"good"}
    assert str(bench.workspace.root) in version.words
    assert "[slurm]: " in plain.words
    assert "to start at" in plain.words
    assert '[slurm.tasks."finetune/*"]' in override.words


def test_what_the_cluster_refuses_is_told_in_its_words_with_the_place_in_the_settings(bench: SlurmBench) -> None:
    bench.configure('[slurm.tasks."finetune/*"]\ngpus = 9', partition='"nope"')
    _, plain, override = checks(bench)
    assert plain.verdict == "bad"
    assert f"{bench.workspace.config}: [slurm]: " in plain.words
    assert "sbatch: error: invalid partition specified: nope" in plain.words
    assert override.verdict == "bad"
    bench.configure('[slurm.tasks."finetune/*"]\ngpus = 9')
    _, plain, override = checks(bench)
    assert (plain.verdict, override.verdict) == ("good", "bad")
    assert "Requested node configuration is not available" in override.words


def test_a_suite_that_does_not_exist_is_told_with_the_nearest(bench: SlurmBench) -> None:
    bench.configure('[slurm.suites.paper-liner]\ntime = "8:00:00"')
    assert any("paper-liner: unknown suite; did you mean 'paper-linear'?" in c.words for c in checks(bench))


def test_a_machine_whose_settings_do_not_speak_of_slurm_is_not_asked(bench: SlurmBench) -> None:
    bench.workspace.config.write_text("slots_per_device = 1\n")
    assert not checks(bench)


@pytest.mark.slurm_faults  # it imports torch, as `doctor` does
def test_the_doctor_says_so_and_ends_with_1(bench: SlurmBench) -> None:
    bench.configure(partition='"nope"')
    told = console(bench, "doctor", code=1)
    assert "BAD  slurm" in told
    assert "sbatch: error: invalid partition specified: nope" in told
