"""Files that would run a program when opened carelessly: none is run, each is refused by name."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from backbones.catalog.card import BackboneCard, FactsCard, RandomWeights
from backbones.catalog.trusted_code import code_digest, trust
from backbones.checkpoints.haiku_pickle import read_haiku_pickle
from backbones.checkpoints.inert_pickle import InertObject
from backbones.checkpoints.read import read_checkpoint
from backbones.inspection.inspect_main import propose
from backbones.inspection.proposal import Inspection
from backbones.io.errors import WeightsError
from backbones.model.architecture import create
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.predictions import RunOutputs
from tasks.datasets.readers.nyuv2 import NORMALS_FAILURES, PACKED, _unpack
from tasks.features.manifest import DamagedEntryError, FeatureManifest
from tasks.features.shards import finished_shards, open_array
from tasks.reporter import SilentReporter
from tasks.training.checkpoint import Checkpoint
from tests.faults.conftest import MakeStage
from tests.faults.tally import Tally

GROUP = "files that execute"
CANARY = "SSL_CONSOLE_CANARY"
RAN = f'touch "${CANARY}"'


class Touch:
    """Creates a file when unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (RAN,)


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that exists once any code of it has run, in this process or a child."""
    path = tmp_path / "it ran"
    monkeypatch.setenv(CANARY, str(path))
    with suppress(pickle.UnpicklingError):
        pickle.loads(pickle.dumps(Touch()))
    assert path.exists(), "the canary itself does not work"
    path.unlink()
    return path


def call(module: str, name: str, argument: str) -> bytes:
    """A pickle of a dictionary that calls a function, in bare opcodes."""
    return b"\x80\x02}X\x01\x00\x00\x00a" + f"c{module}\n{name}\n".encode() + f"(V{argument}\ntR".encode() + b"s."


def torch_file(content: object, **options: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


EVIL = {"state_dict": {"conv1.weight": torch.zeros(4, 3, 3, 3)}, "hook": Touch()}
PICKLES = {
    "torch zip": torch_file(EVIL),
    "torch legacy": torch_file(EVIL, _use_new_zipfile_serialization=False),
    **{f"pickle {protocol}": pickle.dumps({"a": Touch()}, protocol=protocol) for protocol in range(6)},
    "os.system": call("os", "system", RAN),
    "posix.system": call("posix", "system", RAN),
    "builtins.eval": call("builtins", "eval", f"__import__('os').system({RAN!r})"),
    "builtins.exec": call("builtins", "exec", f"import os; os.system({RAN!r})"),
    "subprocess.getoutput": call("subprocess", "getoutput", RAN),
    "numpy runstring": call("numpy.testing._private.utils", "runstring", RAN),
    "torch.hub.load": call("torch.hub", "load", "someone/something"),
    "timm": call("timm", "create_model", "resnet18"),
    "dill": call("dill._dill", "_load_type", "CodeType"),
    "a dotted name": call("collections", "OrderedDict.__init__.__globals__", "x"),
    "by extension": b"\x80\x02\x82\x01.",
    "from elsewhere": b"\x80\x02U\x01xQ.",
}

INERT = {"numpy runstring", "torch.hub.load", "timm", "dill", "a dotted name"}
"""Names that published checkpoints may contain: torch's reader keeps them as inert objects and runs nothing."""


@pytest.mark.filterwarnings("ignore")
def test_pickles_that_call_anything_are_refused_or_inert_wherever_weights_are_read(
    tmp_path: Path, canary: Path, tally: Tally
) -> None:
    readers: list[tuple[str, Callable[[Path], object]]] = [
        ("x.pth", read_checkpoint),
        ("x.safetensors", read_checkpoint),
        ("x.pkl", read_haiku_pickle),
        ("y.pth", propose),
        ("y.pkl", propose),
    ]
    tried = 0
    for form, content in PICKLES.items():
        for name, read in readers:
            path = tmp_path / name
            path.write_bytes(content)
            refusal, outcome = attempted(read, path)
            if refusal:
                assert str(path) in refusal, form
            else:
                assert form in INERT, f"{form} was read by {read}"
                assert harmless(outcome), outcome
            assert not canary.exists(), f"{form} was run by {read}"
            tried += 1
    tally.add("pickles that execute, as weights (torch's two forms, BYOL's pickle, others)", tried, "none was run")


def attempted(read: Callable[[Path], object], path: Path) -> tuple[str, object]:
    """The refusal, or the content."""
    try:
        return "", read(path)
    except WeightsError as error:
        return str(error), None


def harmless(outcome: object) -> bool:
    """Whether the content has inert objects, or is a proposal that loads nothing."""
    if isinstance(outcome, dict):
        return all(isinstance(value, InertObject) for value in outcome.values())
    return isinstance(outcome, Inspection) and outcome.chosen is None and "no tensors" in str(outcome.problem)


def test_a_refusal_names_what_the_file_wanted(tmp_path: Path, canary: Path) -> None:
    (tmp_path / "x.pth").write_bytes(PICKLES["torch zip"])
    with pytest.raises(WeightsError, match=r"refers to posix.system, which is code and not data: refused"):
        read_checkpoint(tmp_path / "x.pth")
    (tmp_path / "x.pkl").write_bytes(PICKLES["pickle 4"])
    with pytest.raises(WeightsError, match=r"uses the name posix.system: refused, and nothing was run"):
        read_haiku_pickle(tmp_path / "x.pkl")


def test_pickles_in_caches_and_run_folders_are_never_opened(
    workspace: Workspace, tmp_path: Path, canary: Path, tally: Tally
) -> None:
    objects = np.empty(3, dtype=object)
    objects[0] = Touch()
    buffer = io.BytesIO()
    np.save(buffer, objects, allow_pickle=True)
    evil = buffer.getvalue()

    shards = tmp_path / "shards"
    shards.mkdir()
    (shards / f"rows-000000000-000000003-{hashlib.sha256(evil).hexdigest()}.npy").write_bytes(evil)
    assert finished_shards(shards, 8, [(0, 3)]) == []

    features = tmp_path / "features"
    features.mkdir()
    (features / "features.npy").write_bytes(evil)
    about = cast("Any", FeatureManifest).model_construct(rows=3, dimension=8, array_bytes=len(evil), shards=())
    with pytest.raises(DamagedEntryError, match="no readable header"):
        open_array(features, about)

    folder = workspace.run("some")
    folder.path.mkdir()
    with zipfile.ZipFile(folder.predictions, "w") as archive:
        archive.writestr("predicted.npy", evil)
    assert RunOutputs(workspace).predictions("some") is None

    kept = Checkpoint(tmp_path / "state", "me")
    content = torch_file({"owner": "me", "state": {"hook": Touch()}})
    kept.path.write_bytes(hashlib.sha256(content).digest() + content)
    assert kept.restore(SilentReporter()) is None

    with gzip.open(tmp_path / PACKED, "wb") as file:
        file.write(pickle.dumps({"all_normals": Touch()}, protocol=2))
    with pytest.raises(NORMALS_FAILURES):
        _unpack(tmp_path / PACKED, tmp_path, "digest")

    assert not canary.exists()
    tally.add("pickles that execute, in caches: features, shards, predictions, checkpoints, normals", 5, "none was run")


# -- files of a few bytes that ask for everything -----------------------------------------------------------------


def nested(levels: int) -> dict[str, object]:
    """A dictionary that contains another twice, which contains another twice, and so on: 2 to the power of `levels`."""
    inner: dict[str, object] = {"w": torch.zeros(1)}
    for _ in range(levels):
        inner = {"a": inner, "b": inner}
    return inner


@pytest.mark.parametrize("levels", [25, 60])
def test_checkpoints_that_unfold_without_end_are_refused(tmp_path: Path, levels: int) -> None:
    (tmp_path / "x.pth").write_bytes(torch_file(nested(levels)))
    with pytest.raises(WeightsError, match=r"more than 1,000,000 entries|nested more than 30 levels"):
        propose(tmp_path / "x.pth")


def test_a_pickle_that_unfolds_without_end_is_refused(tmp_path: Path) -> None:
    inner: list[object] = [1]
    for _ in range(60):
        inner = [inner, inner]
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"a": inner}, protocol=2))
    with pytest.raises(WeightsError, match="more than 200,000 values"):
        read_haiku_pickle(tmp_path / "x.pkl")


def test_a_pickle_that_asks_for_all_memory_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b".")
    with pytest.raises(WeightsError, match="uses a bytearray: refused"):
        read_haiku_pickle(tmp_path / "x.pkl")


# -- cards that name a function -----------------------------------------------------------------------------------

FUNCTIONS = {
    "subprocess:getoutput": {"cmd": RAN},
    "os:system": {"command": RAN},
    "os.path:expandvars": {"path": RAN},
    "torch.hub:load": {"repo_or_dir": "someone/something", "model": "x", "trust_repo": True},
    "numpy:load": {"file": "x.npy", "allow_pickle": True},
    "nowhere:make": {},
}


def card(architecture: str, **fields: object) -> BackboneCard:
    return BackboneCard.model_validate(
        {
            "name": "x",
            "title": "X",
            "architecture": architecture,
            "weights": RandomWeights(),
            "facts": FactsCard(method="none"),
            **fields,
        }
    )


@pytest.mark.parametrize("architecture", FUNCTIONS)
def test_a_card_cannot_call_a_function_that_the_user_has_not_trusted(architecture: str, canary: Path) -> None:
    digests: list[str | None] = [None]
    with suppress(WeightsError):
        digests.append(code_digest(architecture))
    for digest in digests:
        evil = card(architecture, architecture_arguments=FUNCTIONS[architecture], code_sha256=digest)
        with pytest.raises(WeightsError, match=r"not on your list of trusted code: review it"):
            create(evil)
    assert not canary.exists()


def test_a_card_does_not_bring_the_trust_in_its_own_file(
    tmp_path: Path, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CONSOLE_TRUSTED_CODE", str(tmp_path / "list" / "trusted"))
    code = tmp_path / "net.py"
    code.write_text(f"import os\nos.system({RAN!r})\ndef make(): ...\n")
    architecture = f"{code}:make"
    evil = card(architecture, code_sha256=code_digest(architecture))
    with pytest.raises(WeightsError, match="not on your list of trusted code"):
        create(evil)
    assert not canary.exists()
    trust(architecture)
    with pytest.raises(WeightsError, match="returned a NoneType"):
        create(evil)
    assert canary.exists()
    assert (tmp_path / "list" / "trusted").stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
def test_a_run_of_hostile_weights_or_a_hostile_card_fails_by_name(
    make_stage: MakeStage, tmp_path: Path, canary: Path, tally: Tally
) -> None:
    stage = make_stage(SSL_CONSOLE_PROTOCOLS="")
    (tmp_path / "evil.pth").write_bytes(PICKLES["torch zip"])
    added = stage("add", "backbone", str(tmp_path / "evil.pth"), "--arch", "test_resnet")
    assert (added.code, canary.exists()) == (3, False)
    assert "refers to posix.system, which is code and not data: refused, and nothing was run" in added.err
    text = (stage.workspace.backbones / "own.toml").read_text().replace("test_resnet", "subprocess:getoutput")
    (stage.workspace.backbones / "calls.toml").write_text(f'{text}architecture_arguments = {{ cmd = """{RAN}""" }}\n')
    refused = stage("run", "-b", "calls", "-t", "knn/digits")
    assert (refused.code, canary.exists()) == (1, False), refused.err
    (row,) = stage("runs", "--json").document["runs"]
    assert row["kind"] == "weights"
    assert "subprocess:getoutput is not on your list of trusted code: review it" in row["reason"]
    tally.add("cards whose architecture is a function that executes", len(FUNCTIONS) + 2, "none was called")
