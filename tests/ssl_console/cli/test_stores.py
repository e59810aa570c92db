from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from backbones.catalog.card import PreprocessingSpec
from backbones.catalog.catalog import BackboneCatalog
from ssl_console.cli.output.progress_bar import LINE_S, Meter
from ssl_console.planning.duration import megabytes
from ssl_console.workspace.run import RunSpec
from tasks.catalog.catalog import TaskCatalog
from tasks.features.decoded_images import DecodedImages
from tests.ssl_console.cli.shell import Shell

SPEC = PreprocessingSpec("paper", 8, 8, "shorter", "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

CONTENT = b"weights" * 1000
CARD = """
title = "Near"
architecture = "resnet50"
weights = {{ kind = "url", url = "{url}" }}
facts = {{ method = "none" }}
"""
BY_HAND = """
title = "By hand"
reader = "isic"
classes = 7
folder = "ByHand"
protocols = ["echo"]
download = "manual"
instructions = "Ask the owners."
"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's name
        """Nothing."""


@pytest.fixture
def near(shell: Shell, tmp_path: Path) -> Iterator[Path]:
    """A card whose weights are on a local server; the file that it serves."""
    served = tmp_path / "served"
    served.mkdir()
    (served / "near.pth").write_bytes(CONTENT)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(served)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/near.pth"
    (shell.workspace.backbones / "near.toml").write_text(CARD.format(url=url))
    yield served / "near.pth"
    server.shutdown()
    server.server_close()


def test_weights_are_fetched_and_then_listed_and_checked(shell: Shell, near: Path) -> None:
    assert shell("weights", "fetch", "near").code == 0
    row = shell("weights", "list", "near", "--json").document["weights"][0]
    assert (row["status"], row["size"]) == ("present", len(CONTENT))
    assert row["digest"].startswith(hashlib.sha256(CONTENT).hexdigest()[:12])
    assert "verified" in shell("weights", "check", "near").out


def test_damaged_weights_are_found_and_end_in_exit_code_3(shell: Shell, near: Path) -> None:
    shell("weights", "fetch", "near")
    path = Path(shell("weights", "list", "near", "--json").document["weights"][0]["path"])
    path.write_bytes(b"other" + CONTENT[5:])
    found = shell("weights", "check", "near")
    assert found.code == 3
    assert str(path) in found.err


def test_a_fetch_that_fails_does_not_keep_the_others_from_being_fetched(shell: Shell, near: Path) -> None:
    near.rename(near.with_name("moved.pth"))
    fetched = shell("weights", "fetch", "near", "own/first")
    assert fetched.code == 3
    assert "near.pth" in fetched.err
    assert "own/first: present" in fetched.out


def test_checking_all_weights_leaves_out_what_was_never_fetched(shell: Shell) -> None:
    checked = shell("weights", "check")
    assert checked.code == 0
    assert "far" not in checked.out
    assert shell("weights", "check", "far").code == 3


def test_data_are_checked_by_opening_them(shell: Shell) -> None:
    checked = shell("data", "check", "things")
    assert checked.code == 0
    assert checked.out.startswith("things: 10 classes, images: train ")


def test_missing_data_that_were_asked_for_end_in_exit_code_3(shell: Shell) -> None:
    checked = shell("data", "check", "absent")
    assert checked.code == 3
    assert "cifar-10-batches-py" in checked.err


def test_data_that_only_a_person_can_get_say_how(shell: Shell) -> None:
    (shell.workspace.tasks / "byhand.toml").write_text(BY_HAND)
    fetched = shell("data", "fetch", "byhand")
    assert fetched.code == 3
    assert "Ask the owners." in fetched.err


def test_a_folder_of_class_folders_is_data_without_a_card(shell: Shell, tmp_path: Path) -> None:
    empty, full = tmp_path / "empty", tmp_path / "full"
    empty.mkdir()
    (full / "cat").mkdir(parents=True)
    listed = shell("data", "list", f"imagefolder:{empty}", f"imagefolder:{full}", "--json").document["data"]
    assert [row["status"] for row in listed] == ["partial", "present"]


def test_an_empty_cache_is_listed_and_pruned_as_nothing(shell: Shell) -> None:
    assert shell("cache", "list", "--json").document == {"features": [], "decoded": [], "size": 0}
    assert "0 entries removed" in shell("cache", "prune", "--all").err


def test_decoded_images_are_listed_with_their_size_and_cleared_unless_a_run_uses_them(shell: Shell) -> None:
    images = DecodedImages(shell.workspace.decoded, 10**6)
    with images.rows("1" * 64, 10, SPEC, "digits/train"):
        [listed] = shell("cache", "list", "--json").document["decoded"]
        assert (listed["title"], listed["size"]) == ("digits/train, 8 px", 10 * (3 * 8 * 8 + 4))
        assert "digits/train, 8 px" in shell("cache", "list").out
        assert "of 0 splits" in shell("cache", "prune", "--decoded").err
    assert "of 0 splits" in shell("cache", "prune").err
    assert (
        "would be removed, and the decoded images of 1 splits" in shell("cache", "prune", "--decoded", "--dry-run").err
    )
    assert "digits/train, 8 px" in shell("cache", "prune", "--decoded").out
    assert shell("cache", "list", "--json").document == {"features": [], "decoded": [], "size": 0}
    assert [path.name for path in shell.workspace.decoded.iterdir()] == [".lock"]


def test_the_cache_says_of_what_was_never_encoded_that_it_was_not(shell: Shell) -> None:
    said = shell("cache", "why", "own/first", "echo/things")
    assert said.code == 0
    assert said.out.splitlines()[0].startswith("train: nothing stored shares this backbone")


def test_the_cache_says_of_a_training_what_its_unfinished_runs_have_kept(shell: Shell) -> None:
    asked = ("cache", "why", "demo/simclr", "finetune/shapes")
    said = shell(*asked).out.splitlines()
    assert said[0].startswith("finetune/shapes reads the images themselves")
    assert said[1] == "no unfinished run with demo/simclr has a checkpoint"
    catalog = TaskCatalog.load()
    task = catalog.resolve("finetune/shapes", "small")
    card = BackboneCatalog.load().cards["demo/simclr"]
    spec = RunSpec(run_id="a", key=None, backbone=card, task=task, dataset=catalog.dataset("shapes"), seed=0)
    folder = shell.workspace.run("a")
    folder.checkpoint.mkdir(parents=True)
    folder.spec.write_text(spec.model_dump_json())
    (folder.checkpoint / "setting-1.pt").write_bytes(bytes(2_000_000))
    assert "run a continues from a checkpoint of 2.0 MB, written 20" in shell(*asked).out
    assert "with demo/mae has a checkpoint" in shell("cache", "why", "demo/mae", "finetune/shapes").out


def test_the_cache_cannot_explain_what_has_no_weights(shell: Shell) -> None:
    said = shell("cache", "why", "far", "digits")
    assert said.code == 3
    assert "weights of far are missing" in said.err


def test_progress_outside_a_terminal_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    seconds = iter(range(10_000))
    with Meter("file", terminal=False, clock=lambda: next(seconds) / 10) as meter:
        for done in range(601):
            meter.update(done * 1_000_000, 600_000_000)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 60 / LINE_S + 1
    assert lines[-1] == "file: 600.0 MB of 600.0 MB, 100 %"
    assert lines[1] == "file: 50.0 MB of 600.0 MB, 8 %, 55 s left"


def test_progress_in_a_terminal_rewrites_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    seconds = iter(range(10_000))
    with Meter("file", terminal=True, clock=lambda: float(next(seconds))) as meter:
        for done in range(5):
            meter.update(done, None)
    written = capsys.readouterr().err
    assert (written.count("\r"), written.count("\n")) == (5, 1)


@pytest.mark.parametrize(("size", "words"), [(0, "0.0 MB"), (97_800_000, "97.8 MB"), (1_230_000_000, "1.2 GB")])
def test_sizes_are_said_as_people_do(size: int, words: str) -> None:
    assert megabytes(size) == words
