"""Trusted code runs as the bytes that were hashed, and no other file next to it runs."""

from __future__ import annotations

import importlib.util
import os
import py_compile
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from backbones.catalog.card import BackboneCard, FactsCard, RandomWeights
from backbones.catalog.trusted_code import FINDER, SERVED_VARIABLE, code_digest, trust, writable_by_others
from backbones.io.errors import WeightsError
from backbones.model.architecture import create, make_by_code
from tests.faults.conftest import MakeStage
from tests.faults.stage import PATIENCE_S
from tests.faults.tally import Tally
from tests.ssl_console.workspace_fixture import eventually

GROUP = "code that the user trusts"
NET = "from torch import nn\ndef make():\n    return nn.Sequential(nn.Conv2d(3, 8, 3))\n"
EVIL = "import os, pathlib\npathlib.Path(os.environ['CANARY']).touch()\n"


@pytest.fixture(autouse=True)
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file that exists once hostile code has run; a separate trust list and module search path."""
    monkeypatch.setenv("CANARY", str(tmp_path / "it ran"))
    monkeypatch.setenv("SSL_CONSOLE_TRUSTED_CODE", str(tmp_path / "trusted"))
    before = set(sys.modules)
    yield tmp_path / "it ran"
    for name in set(sys.modules) - before:
        if name.startswith("lab"):
            del sys.modules[name]
    FINDER.folders.clear()
    if FINDER in sys.meta_path:
        sys.meta_path.remove(FINDER)


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A folder that a colleague can also write to."""
    folder = tmp_path / "lab"
    folder.mkdir()
    return folder


def plant(path: Path, source: str) -> None:
    """Leave compiled code next to a module that Python would accept for it: with its time and size."""
    honest = path.read_bytes(), path.stat()
    path.write_text(source + "#" * max(0, len(honest[0]) - len(source)))
    os.utime(path, ns=(honest[1].st_atime_ns, honest[1].st_mtime_ns))
    compiled = Path(py_compile.compile(str(path), doraise=True) or "")
    path.write_bytes(honest[0])
    os.utime(path, ns=(honest[1].st_atime_ns, honest[1].st_mtime_ns))
    content = bytearray(compiled.read_bytes())
    content[12:16] = (len(honest[0]) & 0xFFFFFFFF).to_bytes(4, "little")
    compiled.write_bytes(content)


def python_takes(path: Path, canary: Path) -> bool:
    """Whether a plain import runs the planted code."""
    specification = importlib.util.spec_from_file_location("lab_probe", path)
    assert specification is not None
    assert specification.loader is not None
    specification.loader.exec_module(importlib.util.module_from_spec(specification))
    ran = canary.exists()
    canary.unlink(missing_ok=True)
    return ran


def test_compiled_code_beside_a_trusted_file_is_not_run(lab: Path, canary: Path, tally: Tally) -> None:
    net = lab / "net.py"
    net.write_text(NET)
    architecture = f"{net}:make"
    trust(architecture)
    plant(net, EVIL + NET)
    assert python_takes(net, canary), "the attack itself does not work"
    make_by_code(architecture, code_digest(architecture), {})
    assert not canary.exists()
    tally.add("`__pycache__` planted next to a trusted file", 1, "not read: the bytes that were hashed are compiled")


def test_compiled_code_beside_a_module_that_a_trusted_file_imports_is_not_run(
    lab: Path, canary: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    monkeypatch.syspath_prepend(str(lab))
    (lab / "lab_parts.py").write_text("width = 8\n")
    net = lab / "net.py"
    net.write_text(NET.replace("def make", "import lab_parts\ndef make"))
    architecture = f"{net}:make"
    trust(architecture)
    with pytest.raises(WeightsError, match=r"lab_parts\.py is not on your list of trusted code"):
        make_by_code(architecture, code_digest(architecture), {})
    make_by_code(architecture, code_digest(architecture), {}, trust_imports=True)
    del sys.modules["lab_parts"]
    plant(lab / "lab_parts.py", EVIL)
    make_by_code(architecture, code_digest(architecture), {})
    assert not canary.exists()
    del sys.modules["lab_parts"]
    (lab / "lab_parts.py").write_text(EVIL)
    with pytest.raises(WeightsError, match=r"lab_parts\.py has changed since it was trusted"):
        make_by_code(architecture, code_digest(architecture), {})
    assert not canary.exists()
    tally.add("modules changed, or planted compiled, that a trusted file imports", 3, "refused by name, or not read")


def test_every_module_of_a_package_outside_of_the_installed_ones_is_hashed(
    lab: Path, canary: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    monkeypatch.syspath_prepend(str(lab))
    package = lab / "labpackage"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "net.py").write_text(NET)
    architecture = "labpackage.net:make"
    trust(architecture)
    make_by_code(architecture, code_digest(architecture), {}, trust_imports=True)
    for name in [name for name in sys.modules if name.startswith("labpackage")]:
        del sys.modules[name]
    (package / "__init__.py").write_text(EVIL)
    with pytest.raises(WeightsError, match=r"__init__\.py has changed since it was trusted"):
        make_by_code(architecture, code_digest(architecture), {})
    assert not canary.exists()
    tally.add("a trusted package whose other modules were changed", 1, "refused by name")


def test_a_module_imported_by_the_first_forward_pass_is_hashed_too(
    lab: Path, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(lab))
    net = lab / "net.py"
    net.write_text(
        "from torch import nn\nclass Net(nn.Module):\n    def forward(self, x):\n        import lab_late\n"
        "        return x\n\ndef make():\n    return Net()\n"
    )
    (lab / "lab_late.py").write_text(EVIL)
    architecture = f"{net}:make"
    trust(architecture)
    model = make_by_code(architecture, code_digest(architecture), {})
    with pytest.raises(WeightsError, match=r"lab_late\.py is not on your list"):
        model(None)
    assert not canary.exists()


def test_compiled_modules_outside_of_the_installed_packages_are_refused(
    lab: Path, canary: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    monkeypatch.syspath_prepend(str(lab))
    (lab / "source.py").write_text(EVIL)
    py_compile.compile(str(lab / "source.py"), cfile=str(lab / "lab_binary.pyc"))
    net = lab / "net.py"
    net.write_text("import lab_binary\n" + NET)
    architecture = f"{net}:make"
    trust(architecture)
    with pytest.raises(WeightsError, match="compiled code outside of the installed packages: install it with pip"):
        make_by_code(architecture, code_digest(architecture), {}, trust_imports=True)
    assert not canary.exists()
    tally.add("compiled modules that a trusted file imports from elsewhere", 1, "refused: install it")


def test_the_file_that_runs_is_the_one_that_the_card_names(lab: Path) -> None:
    one, two = lab / "one.py", lab / "two.py"
    one.write_text(NET)
    two.write_text(NET + "# another\n")
    for path in (one, two):
        trust(f"{path}:make")
    digest = code_digest(f"{one}:make")
    one.write_bytes(two.read_bytes())
    card = BackboneCard(
        name="own/one",
        title="X",
        architecture=f"{one}:make",
        code_sha256=digest,
        weights=RandomWeights(),
        facts=FactsCard(method="none"),
    )
    with pytest.raises(WeightsError, match="has changed since it was trusted"):
        create(card)


def test_places_that_others_may_write_are_named_when_code_is_trusted(lab: Path) -> None:
    net = lab / "net.py"
    net.write_text(NET)
    lab.chmod(0o775)
    net.chmod(0o666)
    found = writable_by_others(net)
    assert any(f"{net} can be written by everyone: chmod o-w {net}" in words for words in found)
    assert any(f"{lab} can be written by its group: chmod g-w {lab}" in words for words in found)


def test_code_is_not_trusted_in_a_browser(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (lab / "net.py").write_text(NET)
    monkeypatch.setenv(SERVED_VARIABLE, "1")
    with pytest.raises(WeightsError, match="in a terminal, not in a browser"):
        trust(f"{lab / 'net.py'}:make")


@pytest.mark.slow
def test_a_run_with_trusted_code_ignores_what_was_planted_beside_it(
    make_stage: MakeStage, lab: Path, canary: Path, tmp_path: Path, tally: Tally
) -> None:
    stage = make_stage(SSL_CONSOLE_PROTOCOLS="", PYTHONPATH=f"{lab}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    (lab / "lab_parts.py").write_text("WIDTH = 8\n")
    net = lab / "net.py"
    net.write_text(NET.replace("def make", "from lab_parts import WIDTH\ndef make"))
    torch.save(nn.Sequential(nn.Conv2d(3, 8, 3)).state_dict(), tmp_path / "w.pth")
    lab.chmod(0o775)
    added = stage(
        *("add", "backbone", str(tmp_path / "w.pth"), "--arch", f"{net}:make", "--name", "own/net"),
        *("--norm", "none", "--size", "32", "--trust-code"),
    )
    assert added.code == 0, added.err
    assert f"code           {lab / 'lab_parts.py'}, trusted as it is now" in added.out
    assert f"WARNING        {lab} can be written by its group" in added.out
    plant(net, EVIL + net.read_text())
    plant(lab / "lab_parts.py", EVIL + "WIDTH = 8\n")
    command = stage.start("run", "-b", "own/net", "-t", "knn/digits", "--force")
    eventually(lambda: command.poll() is not None, "the run is over", 3 * PATIENCE_S)
    words = stage.words(command)
    assert stage.finish(command) == 0, words
    assert not canary.exists()
    tally.add("runs of trusted code with compiled code planted next to it", 1, "the trusted source ran")
