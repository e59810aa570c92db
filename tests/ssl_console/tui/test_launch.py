"""The launch dialog: what stands in the way is named by its kind, with the key that removes it."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event

import pytest
from PIL import Image

from backbones.catalog.weights_folder import SHIPPED
from ssl_console.launchers import registry
from ssl_console.operations.check_backbone import BackboneChecker
from ssl_console.operations.downloads import DownloadItem, DownloadProgress, DownloadQueue, Report
from ssl_console.planning.plan import Plan
from ssl_console.system import devices
from ssl_console.system.device import Device
from ssl_console.tui.data.backend import Backend, LaunchRequest
from ssl_console.tui.data.poller import PollThread
from ssl_console.tui.data.state import StateUpdate
from ssl_console.tui.screens.dialogs import ConfirmDialog, ProblemDialog
from ssl_console.tui.screens.launch import LaunchDialog, SeedsDialog
from ssl_console.tui.views.launch import format_seeds, next_device_number, parse_seeds
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.run import RunSpec
from tasks.backbone_checks.finding import Finding
from tasks.datasets.download.fetch import SOURCES, DownloadSource, FetchError
from tasks.datasets.manifest import ReadingProgress
from tests.ssl_console.tui.conftest import Opener, until
from tests.ssl_console.tui.test_screens import app_of, shown, table

CARD = """
title = "Network of my own"
architecture = "test_resnet"
weights = {weights}
facts = {{ method = "SimCLR" }}
"""
BAD = Finding(name="normalisation", verdict="bad", words="features do not depend on the image")


def add_card(workspace: Workspace, name: str, weights: str) -> None:
    folder = workspace.backbones / "own"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.toml").write_text(CARD.format(weights=weights))


@pytest.fixture
def refused(used: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """With a backbone of the user's own whose checks fail."""
    add_card(used, "net", f'{{ kind = "file", path = "{SHIPPED / "simclr.safetensors"}" }}')
    monkeypatch.setattr(BackboneChecker, "findings", lambda _checker, _card: (BAD,))
    return used


def text_of(pilot: object) -> str:
    return " ".join(shown(pilot, "#text").split())  # type: ignore[arg-type]


async def test_measuring_again_never_switches_off_a_refusal(refused: Workspace, opened: Opener) -> None:
    async with opened(refused) as pilot:
        app = app_of(pilot)
        await pilot.press("slash", *"own/net", "enter", "space", "enter")
        await until(pilot, lambda: "1 refused" in text_of(pilot))
        assert "Missing" not in text_of(pilot)
        assert "Refused: o measures them anyway and marks every result" in text_of(pilot)
        assert "own/net fails its checks: normalisation: features do not depend" in text_of(pilot)
        assert "--" not in text_of(pilot), "keys instead of options of the command line"
        await pilot.press("a")
        await until(pilot, lambda: "measure again yes" in text_of(pilot) and "1 refused" in text_of(pilot))
        assert "0 will run" in text_of(pilot)
        await pilot.press("o")
        assert isinstance(app.screen, ConfirmDialog)
        assert "as a warning, in every table and export" in text_of(pilot)
        await pilot.press("n")
        assert "0 will run" in text_of(pilot)
        await pilot.press("o", "y")
        await until(pilot, lambda: "1 will run" in text_of(pilot))
        assert "Measured despite failed checks" in text_of(pilot), "the warning stays in view"
        await pilot.press("y")
        assert app.clipboard.endswith("--again --override")
        await pilot.press("o")
        await until(pilot, lambda: "1 refused" in text_of(pilot))


async def test_an_overridden_run_carries_what_failed(refused: Workspace, opened: Opener) -> None:
    async with opened(refused) as pilot:
        app = app_of(pilot)
        submitted: list[Plan] = []
        app.backend.submit = lambda plan, _request=None: submitted.append(plan) or len(plan.to_run)  # type: ignore[method-assign, assignment, func-returns-value]
        await pilot.press("slash", *"own/net", "enter", "space", "enter")
        await until(pilot, lambda: "1 refused" in text_of(pilot))
        await pilot.press("o", "y")
        await until(pilot, lambda: "1 will run" in text_of(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: submitted)
        concerns = [run.candidate.concerns for run in submitted[0].to_run]
        assert concerns == [("normalisation: features do not depend on the image",)]


async def test_seeds_are_typed(used: Workspace, opened: Opener) -> None:
    async with opened(used) as pilot:
        app = app_of(pilot)
        await pilot.press("slash", *"random", "enter", "space", "enter")
        await until(pilot, lambda: "will run" in text_of(pilot))
        await pilot.press("s")
        assert isinstance(app.screen, SeedsDialog)
        await pilot.press("backspace", *"5-1", "enter")
        assert isinstance(app.screen, SeedsDialog), "what cannot be read is not taken"
        assert "enter the smaller one first" in shown(pilot, "#meaning")
        await pilot.press("escape", "0", *"-9", "enter")
        await until(pilot, lambda: "seeds 0-9" in text_of(pilot) and "10 runs selected" in text_of(pilot))


@pytest.mark.parametrize(
    ("text", "seeds"), [("0-4", (0, 1, 2, 3, 4)), ("0, 3,7", (0, 3, 7)), ("5", (5,)), ("1-2,1-3", (1, 2, 3))]
)
def test_seeds_are_read_and_written_as_ranges(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds
    assert parse_seeds(format_seeds(seeds)) == seeds


@pytest.mark.parametrize("text", ["", "x", "3-", "9-1", "0-100", "-1"])
def test_a_text_that_is_no_list_of_seeds_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="enter"):
        parse_seeds(text)


async def test_what_planning_waits_for_is_shown_with_the_time_and_enter_and_the_next_screen_are_kept(
    used: Workspace, opened: Opener
) -> None:
    async with opened(used) as pilot:
        app, release = app_of(pilot), Event()
        planned, started = app.backend.plan, []

        def slow(request: object) -> Plan:
            app.backend.session.notify("examining own/net before its first measurement ...")
            release.wait(60)
            return planned(request)  # type: ignore[arg-type]

        app.backend.plan = slow  # type: ignore[method-assign]
        app.backend.submit = lambda plan, _request=None: started.append(len(plan.to_run)) or 1  # type: ignore[method-assign, assignment, func-returns-value]
        await pilot.press("slash", *"random few", "enter", "space", "enter")
        await until(pilot, lambda: "examining own/net" in text_of(pilot))
        await until(pilot, lambda: "Planning 1 selected pair ... 1 s" in text_of(pilot))
        await pilot.press("a", "enter")
        assert "starts after planning if nothing prevents it" in text_of(pilot)
        await pilot.press("2")
        release.set()
        await until(pilot, lambda: not isinstance(app.screen, LaunchDialog))
        await until(pilot, lambda: started == [1])
        await until(pilot, lambda: app.current_mode == "live")


async def test_keys_pressed_while_runs_are_being_queued_go_to_the_screen(used: Workspace, opened: Opener) -> None:
    async with opened(used) as pilot:
        app, release = app_of(pilot), Event()
        app.backend.submit = lambda *_: release.wait(60) and 1  # type: ignore[method-assign]
        await pilot.press("slash", *"random few", "enter", "space", "enter")
        await until(pilot, lambda: "will run" in text_of(pilot))
        await pilot.press("enter", "2")
        await until(pilot, lambda: app.current_mode == "live")
        assert len(app.screen_stack) == 1
        release.set()
        await until(pilot, lambda: not app.state.selection.pairs)


async def test_a_dialog_that_ends_by_itself_closes_what_is_above_it_and_only_once(
    used: Workspace, opened: Opener
) -> None:
    async with opened(used) as pilot:
        app = app_of(pilot)
        answers: list[bool | None] = []
        below, above = ConfirmDialog("Below?", ""), ConfirmDialog("Above?", "")
        app.push_screen(below, answers.append)
        app.push_screen(above)
        await pilot.pause()
        below.dismiss(True)
        await until(pilot, lambda: len(app.screen_stack) == 1)
        below.dismiss(False)
        await pilot.pause()
        assert answers == [True]
        assert len(app.screen_stack) == 1


async def test_enter_while_planning_never_starts_what_is_only_part_of_it(refused: Workspace, opened: Opener) -> None:
    async with opened(refused) as pilot:
        app, release = app_of(pilot), Event()
        planned = app.backend.plan

        def slow(request: object) -> Plan:
            release.wait(60)
            return planned(request)  # type: ignore[arg-type]

        app.backend.plan = slow  # type: ignore[method-assign]
        app.backend.submit = lambda *_: pytest.fail("started")  # type: ignore[method-assign]
        await pilot.press("slash", *"own/net", "enter", "space", "enter", "enter")
        release.set()
        await until(pilot, lambda: "1 refused" in text_of(pilot))
        await pilot.pause()
        assert isinstance(app.screen, LaunchDialog)


# -- weights ----------------------------------------------------------------------------------------------------------


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A web server with the weights of the demo."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "simclr.safetensors").symlink_to(SHIPPED / "simclr.safetensors")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


async def test_missing_weights_are_fetched_in_plan_and_can_be_measured_then(
    used: Workspace, opened: Opener, address: str
) -> None:
    add_card(used, "away", f'{{ kind = "url", url = "{address}/simclr.safetensors" }}')
    async with opened(used) as pilot:
        app, item = app_of(pilot), DownloadItem("weights", "own/away")
        await pilot.press("slash", *"own/away", "enter")
        assert "its weights are missing: w fetches them" in shown(pilot, "#details")
        await pilot.press("w")
        await until(pilot, lambda: app.state.downloads and not app.state.downloads[item].active)
        assert app.state.downloads[item].state == "done"
        await until(pilot, lambda: app.state.catalogue.backbone["own/away"].missing is None)
        assert "not measured" in shown(pilot, "#details")
        assert table(pilot).row == "own/away"


async def test_missing_weights_are_fetched_in_the_launch_dialog_which_plans_again(
    used: Workspace, opened: Opener, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BackboneChecker, "findings", lambda _checker, _card: ())
    for name in ("one", "two"):
        add_card(used, name, f'{{ kind = "url", url = "{address}/simclr.safetensors", filename = "{name}" }}')
    async with opened(used) as pilot:
        await pilot.press("slash", *"own/ knn/digits", "enter", "c", "enter")
        await until(pilot, lambda: "2 cannot run yet" in text_of(pilot))
        await pilot.press("enter")
        assert isinstance(app_of(pilot).screen, LaunchDialog)
        await pilot.press("w", "y")
        await until(pilot, lambda: "2 will run" in text_of(pilot))
        assert "Missing" not in text_of(pilot)


@pytest.fixture
def eurosat(address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The name of a dataset that is downloaded from the web server, an archive with ten images."""
    archive = tmp_path / "site" / "EuroSAT.zip"
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "jpeg")
    with zipfile.ZipFile(archive, "w") as whole:
        for number in range(10):
            whole.writestr(f"2750/class{number}/1.jpg", picture.getvalue())
    digest = hashlib.md5(archive.read_bytes()).hexdigest()
    source = DownloadSource(f"{address}/{archive.name}", digest, SOURCES["eurosat"][0].unpack_into)
    monkeypatch.setattr("tasks.datasets.download.fetch.SOURCES", {"eurosat": (source,)})
    return "eurosat"


async def test_missing_data_are_fetched_in_plan_after_a_question_with_their_size(
    used: Workspace, opened: Opener, eurosat: str
) -> None:
    async with opened(used) as pilot:
        app, item = app_of(pilot), DownloadItem("data", eurosat)
        await pilot.press("slash", *"demo/random few-shot-5/eurosat", "enter", "right")
        assert "its data are missing: w fetches them" in shown(pilot, "#details")
        await pilot.press("w")
        assert isinstance(app.screen, ConfirmDialog)
        assert "Fetch the data of eurosat? eurosat (94.0 MB to download)" in text_of(pilot)
        await pilot.press("y")
        await until(pilot, lambda: item in app.state.downloads and not app.state.downloads[item].active)
        assert app.state.downloads[item].problem == ""
        await until(pilot, lambda: app.state.catalogue.task["few-shot-5/eurosat"].missing is None)
        assert "not measured" in shown(pilot, "#details")


async def test_the_launch_dialog_offers_missing_data_and_weights_together(
    used: Workspace, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_card(used, "away", '{ kind = "url", url = "http://127.0.0.1:1/net.pth" }')
    async with opened(used) as pilot:
        app = app_of(pilot)
        asked: list[DownloadItem] = []
        monkeypatch.setattr(app.backend, "fetch", lambda items: len(asked.extend(items) or items))  # type: ignore[func-returns-value]
        await pilot.press("slash", *"own/away few-shot-5/eurosat", "enter", "right", "enter")
        await until(pilot, lambda: "Missing: w fetches weights and data" in text_of(pilot))
        assert "ssl-console data fetch" not in text_of(pilot), "a key instead of a command"
        await pilot.press("w", "y")
        assert asked == [DownloadItem("weights", "own/away"), DownloadItem("data", "eurosat")]
        half = DownloadProgress(DownloadItem("data", "eurosat"), "fetching", 40, 80, "unpack")
        app.set_state(app.state.after(StateUpdate(downloads={half.of: half})))
        await until(pilot, lambda: "unpacking the data of eurosat" in text_of(pilot))


async def test_weights_that_no_key_can_fetch_have_their_steps_in_a_panel(used: Workspace, opened: Opener) -> None:
    add_card(used, "gone", '{ kind = "file", path = "/nowhere/net.pth" }')
    async with opened(used) as pilot:
        await pilot.press("slash", *"own/gone", "enter", "w")
        assert isinstance(app_of(pilot).screen, ProblemDialog)
        assert "/nowhere/net.pth" in text_of(pilot)


def test_downloads_run_one_after_another_and_a_failure_ends_one_alone() -> None:
    order: list[str] = []
    release = Event()

    def fetch(item: DownloadItem, report: Report) -> None:
        report(DownloadProgress(item, "fetching", 0, 10))
        release.wait(10)
        order.append(item.name)
        if item.name == "b":
            raise FetchError("the server does not answer")
        report(DownloadProgress(item, "fetching", 10, 10))

    a, b, c = (DownloadItem("data", name) for name in "abc")
    queue = DownloadQueue(fetch)
    assert queue.add([a, b, c]) == 3
    assert queue.add([a, b]) == 0, "what is waiting is not queued twice"
    assert queue.add([DownloadItem("weights", "a")]) == 1, "weights and data of one name are two downloads"
    release.set()
    ended = Event()
    while any(one.active for one in queue.progress.values()):
        assert not ended.wait(0.01)
    assert order == ["a", "b", "c", "a"]
    assert [one.state for one in queue.progress.values()] == ["done", "failed", "done", "done"]
    assert queue.progress[b].problem == "the server does not answer"
    assert (queue.progress[c].share, queue.add([b])) == (1.0, 1)


def test_the_poll_thread_passes_on_everything_that_has_changed() -> None:
    reading = {"digits": ReadingProgress(name="digits", done=1, total=2)}
    delivered: list[StateUpdate] = []
    came = Event()

    class Changing:
        def poll(self) -> StateUpdate:
            return StateUpdate(reading=reading, problem="a file cannot be read")

    def take(update: StateUpdate) -> None:
        delivered.append(update)
        came.set()

    backend: Backend = Changing()  # type: ignore[assignment]
    thread = PollThread(backend, take)
    thread.start()
    assert came.wait(10)
    thread.stop()
    assert (delivered[0].reading, delivered[0].problem) == (reading, "a file cannot be read")


GPU = Device("cuda:0", "GPU", "GPU-0", 80 * 1024.0)


@pytest.fixture
def gpu(used: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a GPU that torch can use."""
    used.config.write_text("slots_per_device = 1\n")
    monkeypatch.setattr(registry, "all_devices", lambda: [GPU, Device("cpu", "CPU")])
    monkeypatch.setattr(devices, "all_devices", lambda: [GPU, Device("cpu", "CPU")])
    monkeypatch.setattr(devices, "driver_cuda_version", lambda: "13.0")
    monkeypatch.setattr(devices, "built_for", lambda: (13, 0))


async def test_the_sharing_of_gpus_is_a_choice_of_a_launch_and_part_of_its_command(
    used: Workspace, opened: Opener, gpu: None
) -> None:
    async with opened(used) as pilot:
        app = app_of(pilot)
        asked: list[object] = []

        def submit(plan: Plan, request: LaunchRequest | None = None) -> int:
            asked.append(request and request.share)
            return len(plan.to_run)

        app.backend.submit = submit  # type: ignore[method-assign]
        await pilot.press("slash", *"random few", "enter", "space", "enter")
        await until(pilot, lambda: "GPUs in use start as soon as the required memory is free" in text_of(pilot))
        await pilot.press("i")
        assert "GPUs in use start when nothing else uses them" in text_of(pilot)
        await pilot.press("y")
        assert app.clipboard.endswith("--share never")
        await pilot.press("enter")
        await until(pilot, lambda: asked == ["never"])


async def test_the_devices_of_a_run_are_a_choice_of_a_launch_and_recorded_with_it(
    used: Workspace, opened: Opener
) -> None:
    before = set(used.run_folders())
    async with opened(used) as pilot:
        app = app_of(pilot)
        app.backend.session.start_supervisor = lambda: None  # type: ignore[method-assign]
        await pilot.press("slash", *"random few", "enter", "space", "enter")
        await until(pilot, lambda: "devices per run 1 " in text_of(pilot))
        await pilot.press("y")
        assert "--devices-per-run" not in app.clipboard
        await pilot.press("d")
        assert "devices per run up to 2, while no run waits" in text_of(pilot)
        await pilot.press("y")
        assert app.clipboard.endswith("--devices-per-run 2")
        await pilot.press("enter")
        await until(pilot, lambda: set(used.run_folders()) - before)
        (new,) = set(used.run_folders()) - before
        spec = RunSpec.model_validate_json(new.spec.read_bytes())
        assert spec.placement.devices_per_run == 2


@pytest.mark.parametrize(("local", "order"), [(True, [2, 4, 8, "auto", 1]), (False, [2, 4, 8, 1])])
def test_every_idle_device_is_a_choice_on_this_machine_only(local: bool, order: list[object]) -> None:
    numbers, number = [], next_device_number(1, local=local)
    while number != 1:
        numbers.append(number)
        number = next_device_number(number, local=local)
    assert [*numbers, 1] == order


async def test_without_a_gpu_there_is_nothing_to_share(used: Workspace, opened: Opener) -> None:
    async with opened(used) as pilot:
        await pilot.press("slash", *"random few", "enter", "space", "enter")
        await until(pilot, lambda: "will run" in text_of(pilot))
        assert "GPUs in use" not in text_of(pilot)
        await pilot.press("i")
        assert "GPUs in use" not in text_of(pilot)


async def test_gpus_that_torch_cannot_use_are_named_before_anything_is_queued(
    used: Workspace, opened: Opener, gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "driver_cuda_version", lambda: "12.4")
    before = len(list(used.run_folders()))
    async with opened(used) as pilot:
        await pilot.press("slash", *"random few", "enter", "space", "enter")
        await until(pilot, lambda: "supports CUDA up to 12.4" in text_of(pilot))
        assert "--devices cpu" in text_of(pilot)
        await pilot.press("enter")
        assert len(list(used.run_folders())) == before
