from __future__ import annotations

import json
from pathlib import Path

import pytest

from ssl_console.cli import run
from ssl_console.workspace.paths import Workspace
from tests.ssl_console.cli.shell import BACKBONE, Shell
from tests.ssl_console.system.test_nvml import stand_in_driver


@pytest.fixture
def own(workspace: Workspace) -> Workspace:
    """A workspace with a user backbone, for commands inside this process."""
    (workspace.backbones / "own").mkdir()
    (workspace.backbones / "own" / "first.toml").write_text(BACKBONE.format(seed=0))
    return workspace


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("plan -b own/frist -t few-shot-5/digits", "did you mean 'own/first'"),
        ("plan -b own/* -t few-shot-5/digts", "did you mean 'few-shot-5/digits'"),
        ("plan -b own/* --suite dmo", "did you mean 'demo'"),
        ("plan -b nothing* -t few-shot-5/digits", "no backbone matches 'nothing*'"),
        ("plan -t few-shot-5/digits", "no backbone selected"),
        ("plan -b own/*", "no task selected"),
        ("plan -b own/* -t few-shot-5/digits --set few-shot.shot=3", "did you mean 'shots'"),
        ("plan -b own/* -t few-shot-5/digits --set few-shot.shots=many", "it takes a whole number"),
        ("plan -b own/* -t few-shot-5/digits --set value", "write family.key=value"),
        ("plan -b own/* -t few-shot-5/digits --preset papre", "did you mean 'paper'"),
        ("run -b own/* -t few-shot-5/digits --share sometimes", "--share sometimes: choose idle, free-memory, never"),
        ("run -b own/* -t few-shot-5/digits --share idle --launcher slurm", "--share idle is for GPUs of this machine"),
        ("plan -b own/* -t few-shot-5/digits --seed -1", "--seed"),
        ("plan -b own/* -t few-shot-5/digits --seed x", "--seed"),
        ("run -b own/* -t few-shot-5/digits --devices gpu", "'gpu' is not a device"),
        ("run -b own/* -t few-shot-5/digits --devices cuda:31", "no device 'cuda:31'"),
        ("run -b own/* -t few-shot-5/digits --precision float8", "choose float32 or bfloat16"),
        ("plan -b file:/x.pth -t few-shot-5/digits", "add ?arch=resnet50"),
        ("plan -b own/first -t imagefolder:", "names no folder"),
        ("runs --state runing", "did you mean 'running'"),
        ("logs abc", "no run is named 'abc'"),
        ("events abc", "no run is named 'abc'"),
        ("cancel abc", "no run is named 'abc'"),
        ("cancel", "no run is named"),
        ("retry", "no run is named"),
        ("cancel abc --all", "not both"),
        ("rank --csv --json", "one format at a time"),
        ("rank --sort men", "did you mean"),
        ("rank --suite nothing", "no suite is named"),
        ("weights check nothing", "no backbone is named"),
        ("data check nothing", "no dataset is named"),
        ("cache why own/first nothing", "no task is named"),
        ("bakbones", "backbones"),
        ("plan --jsn", "--json"),
    ],
)
def test_wrong_use_ends_in_one_sentence_and_exit_code_2(
    own: Workspace, capsys: pytest.CaptureFixture[str], command: str, said: str
) -> None:
    code = run(command.split())
    written = capsys.readouterr()
    assert (code, written.out) == (2, "")
    assert said in written.err
    assert "Traceback" not in written.err


def test_help_says_every_verb_and_every_exit_code(shell: Shell) -> None:
    shown = shell("--help")
    assert shown.code == 0
    verbs = (
        "demo backbones tasks suites plan run runs logs events cancel retry pause resume results show why reproduce "
        "bundle verify rank compare correlate rebuild doctor"
    )
    for verb in (*verbs.split(), "weights", "data", "cache"):
        assert f"\n  {verb} " in shown.out
    for words in (
        "0 all done",
        "1 some run failed",
        "2 wrong usage",
        "3 weights or data missing",
        "130 interrupted",
    ):
        assert words in " ".join(shown.out.split())


@pytest.mark.parametrize("verb", ["run", "plan", "rank", "weights fetch", "cache prune", "cancel"])
def test_every_verb_has_help(shell: Shell, verb: str) -> None:
    shown = shell(*verb.split(), "--help")
    assert (shown.code, shown.err) == (0, "")
    assert "Usage: ssl-console" in shown.out


def test_without_a_terminal_no_verb_means_help(shell: Shell) -> None:
    shown = shell()
    assert shown.code == 0
    assert "Usage: ssl-console" in shown.out


def test_the_version_is_said(shell: Shell) -> None:
    assert shell("--version").out.startswith("ssl-console ")


def test_a_broken_settings_file_is_named(shell: Shell) -> None:
    shell.workspace.config.write_text("stall_s = 'long'\n")
    refused = shell("tasks")
    assert refused.code == 2
    assert f"{shell.workspace.config}: stall_s" in refused.err


def test_an_unusable_protocol_module_is_named(shell: Shell) -> None:
    refused = shell("tasks", SSL_CONSOLE_PROTOCOLS="not_there")
    assert refused.code == 2
    assert "'not_there'" in refused.err
    assert "Traceback" not in refused.err


def test_a_workspace_that_is_a_file_is_refused_with_a_way_out(shell: Shell) -> None:
    place = shell.workspace.root / "file"
    place.write_text("")
    refused = shell("--workspace", str(place), "run", "-b", "demo/random", "-t", "linear/digits", "--detach")
    assert refused.code == 2
    assert f"{place} is a file; choose another --workspace" in refused.err


def test_a_results_file_that_cannot_be_read_names_rebuild(shell: Shell) -> None:
    shell.workspace.results.write_text("{ not json")
    refused = shell("rank")
    assert refused.code == 1
    assert str(shell.workspace.results) in refused.err
    assert "ssl-console rebuild" in refused.err


def test_a_reader_that_goes_away_is_no_error_to_speak_of(shell: Shell) -> None:
    process = shell.start("backbones", "--json")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 1
    assert "Traceback" not in said


def test_float16_is_refused_where_a_network_is_trained(shell: Shell) -> None:
    refused = shell("run", "-b", "own/first", "-t", "finetune/digits", "--precision", "float16")
    assert refused.code == 3
    assert "small gradients are zero in it; use bfloat16 or float32" in refused.out + refused.err


@pytest.mark.parametrize("command", [("run", "-b", "own/first", "-t", "echo/things"), ("demo", "--headless")])
def test_gpus_that_torch_cannot_use_are_named_before_anything_is_queued(
    shell: Shell, tmp_path: Path, command: tuple[str, ...]
) -> None:
    driver = stand_in_driver(tmp_path, "-DCUDA=11080")
    refused = Shell(shell.workspace, {**shell.environment, "LD_LIBRARY_PATH": driver["LD_LIBRARY_PATH"]})(*command)
    assert refused.code == 2
    assert "so runs cannot use cuda:0" in refused.err
    assert "--devices cpu" in refused.err
    assert not list(shell.workspace.run_folders())


def test_the_sharing_of_gpus_is_part_of_the_queued_run(shell: Shell) -> None:
    shell("pause")
    assert shell("run", "-b", "own/first", "-t", "echo/things", "--share", "idle", "--detach").code == 0
    (folder,) = shell.workspace.run_folders()
    assert json.loads(folder.spec.read_bytes())["share"] == "idle"
