from __future__ import annotations

from pathlib import Path

import pytest

from ssl_console.system.errors import ConsoleError
from ssl_console.workspace.config import Config, data_root, load_config
from ssl_console.workspace.paths import Workspace


def configured(workspace: Workspace, text: str) -> Config:
    workspace.config.write_text(text)
    return load_config(workspace)


def test_a_workspace_without_settings_has_the_defaults(workspace: Workspace) -> None:
    assert load_config(workspace) == Config()


def test_settings_are_read(workspace: Workspace) -> None:
    found = configured(workspace, 'devices = ["cuda:0", "cpu"]\nslots_per_device = 2\n[keys]\nquit = "ctrl+q"\n')
    assert (found.devices, found.slots_per_device, found.keys) == (("cuda:0", "cpu"), 2, {"quit": "ctrl+q"})


def test_ids_of_keys_may_be_quoted_or_not(workspace: Workspace) -> None:
    quoted = configured(workspace, '[keys]\n"plan.tick" = "t"\nlive.cancel = "X"\n').keys
    assert quoted == {"plan.tick": "t", "live.cancel": "X"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("slots_per_device = 0", "slots_per_device: input should be greater than or equal to 1, not 0"),
        ("slot_per_device = 2", "slot_per_device: unknown key; did you mean 'slots_per_device'?"),
        ("xyz = 2", "xyz: unknown key; available: data_root, "),
        ('devices = ["gpu"]', "devices.0: string should match pattern"),
        ("stall_s = ", "is not valid TOML"),
    ],
)
def test_an_error_names_file_key_and_value(workspace: Workspace, text: str, said: str) -> None:
    with pytest.raises(ConsoleError) as caught:
        configured(workspace, text)
    assert str(caught.value).startswith(str(workspace.config))
    assert said in str(caught.value)


def test_every_wrong_key_is_named_at_once(workspace: Workspace) -> None:
    with pytest.raises(ConsoleError, match=r"retries.*stall_s"):
        configured(workspace, "retries = -1\nstall_s = 0\n")


def test_data_lie_in_the_workspace_unless_told_otherwise(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CONSOLE_DATA", raising=False)
    assert data_root(workspace, Config()) == workspace.root / "data"
    monkeypatch.setenv("SSL_CONSOLE_DATA", "/datasets")
    assert data_root(workspace, Config()) == Path("/datasets")
    assert data_root(workspace, Config(data_root=Path("/mine"))) == Path("/mine")
    assert data_root(workspace, Config(data_root=Path("mine"))) == workspace.root / "mine"
