"""Launchers are looked up by name, and code outside of them depends on no particular one."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

import pytest

from ssl_console.launchers.local.launcher import LocalLauncher
from ssl_console.launchers.registry import (
    Registry,
    launcher_checks,
    open_launcher,
    parse_launcher,
    refusal,
    registry,
    resolve_placement,
    slots_for,
)
from ssl_console.system.errors import ConsoleError
from ssl_console.system.machine_checks import Check
from ssl_console.workspace.config import Config, load_config
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.run import Placement
from tests.ssl_console.workspace_fixture import ROOT

SLURM = re.compile("slurm", re.IGNORECASE)
SETTINGS = "ssl_console/workspace/config.py"
NAMED_IN_HELP = "ssl_console/cli/options/execution.py"


def settings(workspace: Workspace, text: str) -> Config:
    workspace.config.write_text(text)
    return load_config(workspace)


def test_launchers_of_this_package_are_listed_with_what_their_workers_are(workspace: Workspace) -> None:
    summaries = {name: launcher.summary for name, launcher in registry().launchers.items()}
    assert summaries["local"] == "processes of this machine"
    assert summaries["slurm"] == "jobs of a Slurm cluster"


def test_a_wrong_name_is_refused_with_the_nearest_one_and_the_place(workspace: Workspace) -> None:
    with pytest.raises(ConsoleError, match=r"^--launcher: unknown launcher 'slrum'; did you mean 'slurm'\?"):
        parse_launcher("slrum")
    with pytest.raises(ConsoleError, match="unknown launcher 'zzz'; available: local, slurm"):
        parse_launcher("zzz")
    for text, place in (('launcher = "slrum"', "launcher"), ("[launchers.slrum]", r"\[launchers.slrum\]")):
        with pytest.raises(ConsoleError, match=rf"config.toml: {place}: unknown launcher 'slrum'; did you mean"):
            resolve_placement(workspace, settings(workspace, text))


def test_settings_decide_where_no_option_is_given_and_devices_mean_local_workers(workspace: Workspace) -> None:
    config = settings(workspace, 'launcher = "slurm"\n[slurm]\njobs = 7\n')
    assert resolve_placement(workspace, config) == Placement("slurm")
    assert resolve_placement(workspace, config, "local") == Placement("local")
    assert resolve_placement(workspace, config, devices=("cpu",)) == Placement("local", ("cpu",))
    assert slots_for(workspace, config, Placement("slurm")) == 7
    assert slots_for(workspace, Config(slots_per_device=3), Placement("local", ("cpu",))) == 3


def test_devices_of_this_machine_are_refused_for_a_launcher_with_devices_of_its_own(workspace: Workspace) -> None:
    sentence = (
        r"--devices cpu names devices of this machine, and --launcher slurm runs elsewhere: drop one of them "
        r"\(set gpus in \[slurm\]\)"
    )
    with pytest.raises(ConsoleError, match=sentence):
        resolve_placement(workspace, Config(), "slurm", ("cpu",))


def test_the_doctor_lists_the_launchers_and_names_what_is_wrong(workspace: Workspace) -> None:
    (good,) = launcher_checks(workspace, Config(), ())
    assert (good.name, good.verdict) == ("launchers", "good")
    assert good.words.startswith("local, slurm")
    (bad,) = launcher_checks(workspace, Config(launcher="slrum"), ())
    assert bad.verdict == "bad"
    assert "did you mean 'slurm'?" in bad.words


def test_a_launcher_is_opened_without_starting_anything(workspace: Workspace) -> None:
    for name in registry().launchers:
        assert open_launcher(name, workspace, Config()).snapshot() == {}
    assert list(workspace.supervisor.iterdir()) == []


def test_no_code_outside_the_launchers_depends_on_slurm() -> None:
    """Its settings are excepted, and its name in the help of `--launcher`."""
    found: dict[str, list[str]] = {}
    for package in ("ssl_console", "tasks", "backbones"):
        for path in (ROOT / package).rglob("*.py"):
            lines = [line for line in path.read_text(encoding="utf-8").splitlines() if SLURM.search(line)]
            if lines and ROOT / "ssl_console/launchers" not in path.parents:
                found[str(path.relative_to(ROOT))] = lines
    assert set(found) == {SETTINGS, NAMED_IN_HELP}
    assert [line for line in found[NAMED_IN_HELP] if '"--launcher"' not in line] == []


def test_each_launcher_is_a_folder() -> None:
    folder = ROOT / "ssl_console/launchers"
    assert {path.name for path in folder.iterdir() if path.is_dir() and path.name != "__pycache__"} == {
        "local",
        "slurm",
    }
    assert {path.name for path in folder.glob("*.py")} == {"__init__.py", "base.py", "registry.py"}


class Nameless(LocalLauncher):
    """Without a name of its own, as a plug-in's may be."""

    name = None  # type: ignore[assignment]


class Steering(LocalLauncher):
    name = "lab"
    summary = "\x1b]0;title\x07"


class Broken(LocalLauncher):
    name = "broken"

    def checks(self, suites: Collection[str]) -> Iterator[Check]:
        raise KeyError(f"no {suites}")


@pytest.mark.parametrize(("launcher", "words"), [(Nameless, "its name is None"), (Steering, "its summary is '\\x1b")])
def test_a_launcher_without_a_name_or_with_a_text_that_is_no_line_is_refused(launcher: type, words: str) -> None:
    assert words in refusal(launcher, {})


def test_a_check_of_a_plug_in_that_fails_is_a_finding_of_the_doctor(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Registry({"local": LocalLauncher, "broken": Broken}, ())
    monkeypatch.setattr("ssl_console.launchers.registry.registry", lambda: found)
    bad = next(check for check in launcher_checks(workspace, Config(), ()) if check.verdict == "bad")
    assert (bad.name, bad.words) == ("broken", "its checks failed: KeyError: 'no ()'")
