"""The weights folder with a real HTTP server: states, downloads, interruptions, wrong responses."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from backbones.catalog.card import (
    BackboneCard,
    FactsCard,
    FileWeights,
    RandomWeights,
    ShippedWeights,
    TimmWeights,
    UrlWeights,
    Weights,
)
from backbones.catalog.catalog import BackboneCatalog
from backbones.catalog.weights_folder import WeightsError, WeightsFolder
from backbones.io.download import Download

CONTENT = bytes(range(256)) * 4000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Site:
    """Behaviour of the server. `cuts`: for each request in turn, the number of bytes after which the connection
    drops."""

    content: bytes = CONTENT
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    ranges: bool = True
    version: str | None = '"v1"'
    kind: str = "application/octet-stream"
    announced: int | None = None
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        site = self.server.site
        site.requests.append((self.path, dict(self.headers.items())))
        if site.statuses:
            self.send_error(site.statuses.pop(0))
            return
        start = self._start()
        if start >= len(site.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(site.content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self._send(site.content[start:], start)

    def _start(self) -> int:
        site, wanted = self.server.site, self.headers.get("Range")
        if wanted is None or not site.ranges or self.headers.get("If-Range") != site.version:
            return 0
        return int(wanted.removeprefix("bytes=").removesuffix("-"))

    def _send(self, body: bytes, start: int) -> None:
        site = self.server.site
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", site.kind)
        self.send_header("Content-Length", str(site.announced or len(body)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(site.content) - 1}/{len(site.content)}")
        if site.version is not None:
            self.send_header("ETag", site.version)
        self.end_headers()
        self.wfile.write(body[: site.cuts.pop(0)] if site.cuts else body)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    site: Site


@pytest.fixture
def site() -> Iterator[Site]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.site = Site()
        server.site.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.site
        server.shutdown()
        thread.join()


@pytest.fixture
def folder(tmp_path: Path) -> WeightsFolder:
    return WeightsFolder(tmp_path / "weights")


def card(weights: Weights) -> BackboneCard:
    return BackboneCard(name="a", title="A", architecture="resnet18", weights=weights, facts=FactsCard(method="m"))


def test_weights_that_were_never_fetched_are_missing_and_say_where_they_belong(folder: WeightsFolder) -> None:
    state = folder.state(card(UrlWeights(url="https://example.org/x/net.pth", filename="net.pth")))
    assert state.status == "missing"
    assert state.path == folder.root / "net.pth"
    assert "https://example.org/x/net.pth" in (state.advice or "")
    assert str(folder.root / "net.pth") in (state.advice or "")


def test_fetching_brings_the_file_with_its_digest_and_tells_how_far_it_is(folder: WeightsFolder, site: Site) -> None:
    wanted = card(UrlWeights(url=f"{site.url}/net.pth", filename="net.pth", sha256=DIGEST[:8]))
    seen: list[tuple[int, int | None]] = []
    state = folder.fetch(wanted, lambda done, total: seen.append((done, total)))
    assert (state.status, state.digest, state.size) == ("present", DIGEST, len(CONTENT))
    assert (folder.root / "net.pth").read_bytes() == CONTENT
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert sorted(path.name for path in folder.root.iterdir()) == ["digests", "net.pth"]


def test_what_is_there_is_not_fetched_again(folder: WeightsFolder, site: Site) -> None:
    wanted = card(UrlWeights(url=f"{site.url}/net.pth"))
    folder.fetch(wanted)
    folder.fetch(wanted)
    assert len(site.requests) == 1


def test_a_broken_connection_is_resumed_where_it_broke(folder: WeightsFolder, site: Site) -> None:
    site.cuts = [300_000, 300_000]
    state = folder.fetch(card(UrlWeights(url=f"{site.url}/net.pth")))
    assert state.digest == DIGEST
    assert [headers.get("Range") for _, headers in site.requests] == [None, "bytes=300000-", "bytes=600000-"]


def test_a_download_that_was_killed_carries_on_the_next_time(folder: WeightsFolder, site: Site) -> None:
    wanted = card(UrlWeights(url=f"{site.url}/net.pth", filename="net.pth"))

    def interrupt(done: int, total: int | None) -> None:
        if done > 400_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        folder.fetch(wanted, interrupt)
    assert folder.state(wanted).status == "missing"
    kept = (folder.root / "net.pth.part").stat().st_size
    assert kept > 400_000
    assert folder.fetch(wanted).digest == DIGEST
    assert site.requests[-1][1]["Range"] == f"bytes={kept}-"


def test_a_download_killed_just_before_the_rename_is_not_loaded_again(folder: WeightsFolder, site: Site) -> None:
    folder.root.mkdir(parents=True)
    (folder.root / "net.pth.part").write_bytes(CONTENT)
    (folder.root / "net.pth.part.version").write_text('"v1"')
    assert folder.fetch(card(UrlWeights(url=f"{site.url}/net.pth", filename="net.pth"))).digest == DIGEST


def test_a_server_without_ranges_starts_again_and_the_file_is_right(folder: WeightsFolder, site: Site) -> None:
    site.cuts, site.ranges = [300_000], False
    assert folder.fetch(card(UrlWeights(url=f"{site.url}/net.pth"))).digest == DIGEST


def test_a_file_that_changed_on_the_server_is_not_joined_with_its_old_beginning(
    folder: WeightsFolder, site: Site
) -> None:
    folder.root.mkdir(parents=True)
    (folder.root / "net.pth.part").write_bytes(b"old" * 1000)
    (folder.root / "net.pth.part.version").write_text('"v0"')
    assert folder.fetch(card(UrlWeights(url=f"{site.url}/net.pth", filename="net.pth"))).digest == DIGEST


def test_a_server_that_names_no_version_is_never_resumed(folder: WeightsFolder, site: Site) -> None:
    site.cuts, site.version = [300_000], None
    assert folder.fetch(card(UrlWeights(url=f"{site.url}/net.pth"))).digest == DIGEST
    assert all("Range" not in headers for _, headers in site.requests)


def test_a_busy_server_is_asked_again(tmp_path: Path, site: Site) -> None:
    site.statuses = [503, 429]
    digest = Download(f"{site.url}/net.pth", tmp_path / "net.pth", pause=0.01).run(lambda done, total: None)
    assert digest == DIGEST


def test_a_server_that_keeps_breaking_off_is_given_up_with_a_sentence(tmp_path: Path, site: Site) -> None:
    site.cuts = [0] * 10
    target = tmp_path / "net.pth"
    with pytest.raises(WeightsError, match=r"cannot be downloaded: .* of .* bytes arrived") as caught:
        Download(f"{site.url}/net.pth", target, attempts=2, pause=0.01).run(lambda done, total: None)
    assert str(target) in str(caught.value)


@pytest.mark.parametrize(("status", "words"), [(404, "no longer exists"), (401, "accept its terms"), (418, "refuses")])
def test_a_refusal_is_one_sentence_with_the_address_and_the_way_out(
    folder: WeightsFolder, site: Site, status: int, words: str
) -> None:
    site.statuses = [status]
    with pytest.raises(WeightsError, match=f"HTTP {status}.*{words}") as caught:
        folder.fetch(card(UrlWeights(url=f"{site.url}/net.pth", filename="net.pth")))
    assert site.url in str(caught.value)
    assert str(folder.root / "net.pth") in str(caught.value)


def test_a_login_page_is_not_taken_for_weights(folder: WeightsFolder, site: Site) -> None:
    site.kind = "text/html; charset=utf-8"
    wanted = card(UrlWeights(url=f"{site.url}/net.pth"))
    with pytest.raises(WeightsError, match="web page instead of a file"):
        folder.fetch(wanted)
    assert folder.state(wanted).status == "missing"


def test_a_file_with_another_digest_than_the_cards_is_refused_and_not_kept(folder: WeightsFolder, site: Site) -> None:
    wanted = card(UrlWeights(url=f"{site.url}/net.pth", sha256="0" * 64))
    with pytest.raises(WeightsError, match=f"begins with {DIGEST[:12]}, expected 000000000000"):
        folder.fetch(wanted)
    assert folder.state(wanted).status == "missing"


def test_an_unreachable_server_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be downloaded"):
        Download("http://127.0.0.1:1/net.pth", tmp_path / "net.pth", attempts=1).run(lambda done, total: None)


def test_a_disk_too_small_for_the_file_is_one_sentence_before_anything_is_written(
    folder: WeightsFolder, site: Site
) -> None:
    site.announced = 10**16
    with pytest.raises(WeightsError, match=r"free, but net.pth needs 10,000,000,000.0 MB more: free some space"):
        folder.fetch(card(UrlWeights(url=f"{site.url}/net.pth", filename="net.pth")))
    assert (folder.root / "net.pth.part").stat().st_size == 0


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path, site: Site) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match="cannot be written"):
        WeightsFolder(tmp_path / "file").fetch(card(UrlWeights(url=f"{site.url}/net.pth")))


def test_two_downloads_of_one_file_do_not_meet(tmp_path: Path, site: Site) -> None:
    target = tmp_path / "net.pth"
    inner: list[str] = []

    def second(done: int, total: int | None) -> None:
        if not inner:
            with pytest.raises(WeightsError) as caught:
                Download(f"{site.url}/net.pth", target).run(lambda done, total: None)
            inner.append(str(caught.value))

    assert Download(f"{site.url}/net.pth", target).run(second) == DIGEST
    assert "another process" in inner[0]


def test_a_fetched_file_that_changes_is_damaged_until_it_is_fetched_again(folder: WeightsFolder, site: Site) -> None:
    wanted = card(UrlWeights(url=f"{site.url}/net.pth", filename="net.pth"))
    folder.fetch(wanted)
    (folder.root / "net.pth").write_bytes(CONTENT[:-1])
    state = folder.state(wanted)
    assert state.status == "damaged"
    assert "fetch them again" in (state.advice or "")
    with pytest.raises(WeightsError, match="damaged"):
        folder.verified(wanted)
    assert folder.fetch(wanted).digest == DIGEST


def test_a_changed_byte_with_unchanged_size_and_time_is_found_when_loading(folder: WeightsFolder, site: Site) -> None:
    wanted = card(UrlWeights(url=f"{site.url}/net.pth", filename="net.pth"))
    folder.fetch(wanted)
    path = folder.root / "net.pth"
    times = path.stat()
    path.write_bytes(b"x" + CONTENT[1:])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert folder.state(wanted).status == "present"
    with pytest.raises(WeightsError, match="has changed"):
        folder.verified(wanted)


def test_a_touched_but_unchanged_file_stays_present(folder: WeightsFolder, site: Site) -> None:
    wanted = card(UrlWeights(url=f"{site.url}/net.pth", filename="net.pth"))
    folder.fetch(wanted)
    os.utime(folder.root / "net.pth", ns=(1, 1))
    assert folder.state(wanted).digest == DIGEST


def test_a_file_put_there_by_hand_counts_and_so_does_its_successor(folder: WeightsFolder) -> None:
    wanted = card(UrlWeights(url="https://example.org/net.pth", filename="net.pth", manual="It needs a login"))
    with pytest.raises(
        WeightsError, match=r"needs a login\. Page: https://example.org/net.pth Put the file at .*net.pth"
    ):
        folder.fetch(wanted)
    folder.root.mkdir(parents=True)
    (folder.root / "net.pth").write_bytes(b"one")
    assert folder.state(wanted).digest == hashlib.sha256(b"one").hexdigest()
    (folder.root / "net.pth").write_bytes(b"other")
    assert folder.verified(wanted).digest == hashlib.sha256(b"other").hexdigest()


def test_files_of_one_name_at_two_addresses_do_not_meet(folder: WeightsFolder) -> None:
    paths = {folder.path(card(UrlWeights(url=f"https://example.org/{name}/resnet50.pth.tar"))) for name in "ab"}
    assert len(paths) == 2
    assert all(path is not None and path.name.endswith(".pth.tar") for path in paths)


def test_an_index_comes_with_its_data(folder: WeightsFolder, site: Site) -> None:
    wanted = card(
        UrlWeights(
            url=f"{site.url}/v2/model.ckpt-7.index",
            companions=(f"{site.url}/v2/model.ckpt-7.data-00000-of-00001",),
            filename="simclr.index",
        )
    )
    state = folder.fetch(wanted)
    assert sorted(path.name for path in folder.root.glob("simclr.*")) == ["simclr.data-00000-of-00001", "simclr.index"]
    assert state.digest not in (None, DIGEST)
    (folder.root / "simclr.data-00000-of-00001").unlink()
    assert folder.state(wanted).status == "missing"


def test_timm_weights_come_from_the_hub(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    folder = WeightsFolder(tmp_path, hub=site.url)
    folder.fetch(card(TimmWeights(tag="resnet18.a1_in1k")))
    folder.fetch(card(TimmWeights(tag="swin.x", hub_repository="someone/swin", hub_filename="pytorch_model.bin")))
    folder.fetch(card(TimmWeights(tag="vit.in1k_ijepa", url=f"{site.url}/ijepa/vit.pth.tar")))
    assert [path for path, _ in site.requests] == [
        "/timm/resnet18.a1_in1k/resolve/main/model.safetensors",
        "/someone/swin/resolve/main/pytorch_model.bin",
        "/ijepa/vit.pth.tar",
    ]
    assert site.requests[0][1]["Authorization"] == "Bearer secret"
    assert {path.name for path in tmp_path.iterdir()} == {
        "resnet18.a1_in1k.safetensors",
        "swin.x.bin",
        "vit.in1k_ijepa.pth.tar",
        "digests",
    }


def test_the_hubs_secret_goes_to_no_other_host(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    WeightsFolder(tmp_path).fetch(card(UrlWeights(url=f"{site.url}/net.pth")))
    assert "Authorization" not in site.requests[0][1]


def test_a_users_file_needs_no_place_in_the_folder(tmp_path: Path, folder: WeightsFolder) -> None:
    path = tmp_path / "mine.pth"
    wanted = card(FileWeights(path=str(path)))
    assert folder.state(wanted).status == "missing"
    assert str(path) in (folder.state(wanted).advice or "")
    path.write_bytes(CONTENT)
    assert folder.state(wanted).digest == DIGEST
    assert folder.verified(wanted).path == path
    with pytest.raises(WeightsError, match="correct the path"):
        folder.fetch(card(FileWeights(path=str(tmp_path / "other.pth"))))


def test_random_weights_are_always_there(folder: WeightsFolder) -> None:
    assert folder.verified(card(RandomWeights(seed=3))).digest == "random-3"


def test_shipped_weights_are_there_and_listing_them_writes_nothing(
    folder: WeightsFolder, catalog: BackboneCatalog
) -> None:
    for name in ("random", "supervised", "simclr", "simclr-nocolour", "rotation", "mae"):
        assert folder.verified(catalog.get(f"demo/{name}")).status == "present"
    assert not folder.root.exists()
    missing = folder.state(card(ShippedWeights(filename="absent.safetensors")))
    assert "install the package again" in (missing.advice or "")


def test_listing_all_built_in_weights_takes_a_tenth_of_a_second(
    folder: WeightsFolder, catalog: BackboneCatalog
) -> None:
    def seconds() -> float:
        start = time.process_time()
        assert {folder.state(card).status for card in catalog.cards.values()} == {"present", "missing"}
        return time.process_time() - start

    assert min(seconds() for _ in range(3)) < 0.1
