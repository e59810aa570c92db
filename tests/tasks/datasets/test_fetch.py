"""Datasets are fetched from a real web server on the local machine."""

from __future__ import annotations

import fcntl
import hashlib
import http.server
import io
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torchvision.datasets as published
from PIL import Image
from torchvision.datasets.voc import DATASET_YEAR_DICT

from tasks.catalog.catalog import TaskCatalog
from tasks.datasets.card import DatasetCard
from tasks.datasets.download.fetch import (
    SOURCES,
    WORK,
    DownloadSource,
    FetchError,
    FetchProgress,
    ManualFetch,
    check,
    fetch,
)
from tasks.datasets.presence import presence
from tasks.datasets.registry import open_dataset

CATALOG = TaskCatalog.load()


@dataclass
class Server:
    """Files by name; `requests` are the requested names and byte ranges. A file in `cut` breaks off half way, once."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    cut: set[str] = field(default_factory=set)

    def source(
        self, name: str, content: bytes, *, into: str | None = "", inner: tuple[str, ...] = ()
    ) -> DownloadSource:
        self.files[name] = content
        return DownloadSource(f"{self.url}/{name}", hashlib.md5(content).hexdigest(), into, inner)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name, asked = self.path.lstrip("/"), self.headers.get("Range")
            state.requests.append((name, asked))
            content = state.files.get(name)
            if content is None:
                self.send_error(404)
                return
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            self.send_response(206 if asked else 200)
            self.send_header("ETag", f'"{hashlib.md5(content).hexdigest()}"')
            self.send_header("Content-Length", str(len(content) - start))
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            half = name in state.cut
            state.cut.discard(name)
            self.wfile.write(content[start : len(content) // 2] if half else content[start:])

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        state.url = f"http://127.0.0.1:{httpd.server_port}"
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield state
        httpd.shutdown()


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (12, 8), (100, 50, 200)).save(buffer, "jpeg")
    return buffer.getvalue()


def tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as whole:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            whole.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as whole:
        for name, content in files.items():
            whole.writestr(name, content)
    return buffer.getvalue()


def eurosat() -> bytes:
    return zipped({f"2750/class{number}/1.jpg": jpeg() for number in range(10)})


PETS_IMAGES = {"images/Abyssinian_1.jpg": jpeg(), "images/beagle_2.jpg": jpeg()}
PETS_NOTES = {"annotations/trainval.txt": b"Abyssinian_1 1 1 1\n", "annotations/test.txt": b"beagle_2 1 2 1\n"}


def ignore(progress: FetchProgress) -> None:
    pass


def card(name: str) -> DatasetCard:
    return CATALOG.dataset(name)


def test_a_fetched_dataset_can_be_opened_and_nothing_else_is_left(server: Server, tmp_path: Path) -> None:
    seen: list[FetchProgress] = []
    base = fetch(card("eurosat"), tmp_path, seen.append, [server.source("EuroSAT.zip", eurosat())])
    assert base == tmp_path / "EuroSAT"
    assert len(open_dataset(card("eurosat"), tmp_path).splits["all"].images) == 10
    assert [path.name for path in base.iterdir()] == ["2750"]
    assert list(dict.fromkeys(item.step for item in seen)) == ["download", "check", "unpack"]
    assert all(item.total is None or item.done <= item.total for item in seen)


def test_a_dataset_that_is_there_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    sources = [server.source("EuroSAT.zip", eurosat())]
    fetch(card("eurosat"), tmp_path, ignore, sources)
    fetch(card("eurosat"), tmp_path, ignore, sources)
    assert len(server.requests) == 1


def test_several_files_of_one_dataset_are_joined(server: Server, tmp_path: Path) -> None:
    sources = [server.source("images.tar.gz", tar(PETS_IMAGES)), server.source("annotations.tar.gz", tar(PETS_NOTES))]
    fetch(card("pets"), tmp_path, ignore, sources)
    dataset = open_dataset(card("pets"), tmp_path)
    assert dataset.splits["train"].identifiers == ("images/Abyssinian_1.jpg",)


def test_archives_that_share_folders_are_merged(server: Server, tmp_path: Path) -> None:
    made = card("eurosat")
    sources = [
        server.source("one.zip", zipped({"2750/a/1.jpg": b"1", "2750/b/1.jpg": b"2"})),
        server.source("two.zip", zipped({"2750/b/2.jpg": b"3"})),
    ]
    base = fetch(made, tmp_path, ignore, sources)
    assert sorted(p.relative_to(base).as_posix() for p in base.rglob("*.jpg")) == [
        "2750/a/1.jpg",
        "2750/b/1.jpg",
        "2750/b/2.jpg",
    ]


def test_a_broken_download_is_resumed_where_it_broke_off(server: Server, tmp_path: Path) -> None:
    content = eurosat()
    source = server.source("EuroSAT.zip", content)
    server.cut.add("EuroSAT.zip")
    fetch(card("eurosat"), tmp_path, ignore, [source])
    assert server.requests == [("EuroSAT.zip", None), ("EuroSAT.zip", f"bytes={len(content) // 2}-")]
    assert presence(card("eurosat"), tmp_path).status == "present"


def test_an_interrupted_fetch_carries_on_although_the_key_files_are_there_already(
    server: Server, tmp_path: Path
) -> None:
    sources = [server.source("images.tar.gz", tar(PETS_IMAGES)), server.source("annotations.tar.gz", tar(PETS_NOTES))]

    class Interruption(BaseException):
        """An interruption, e.g. Ctrl-C."""

    def interrupt(progress: FetchProgress) -> None:
        if progress.number == 2 and progress.step == "unpack":
            raise Interruption

    with pytest.raises(Interruption):
        fetch(card("pets"), tmp_path, interrupt, sources)
    for split in PETS_NOTES:  # key files created by another program: still unfinished
        (tmp_path / "Pets" / split).parent.mkdir(exist_ok=True)
        (tmp_path / "Pets" / split).write_bytes(b"")
    fetch(card("pets"), tmp_path, ignore, sources)
    assert [name for name, _ in server.requests] == ["images.tar.gz", "annotations.tar.gz"]
    assert len(open_dataset(card("pets"), tmp_path).splits["train"].images) == 1
    assert not (tmp_path / "Pets" / WORK).exists()


def test_a_file_with_another_sum_than_the_published_one_is_removed(server: Server, tmp_path: Path) -> None:
    source = server.source("EuroSAT.zip", eurosat())
    server.files["EuroSAT.zip"] = eurosat() + b"changed"
    with pytest.raises(FetchError, match=r"EuroSAT.zip returned a file unlike the published one .*it was removed"):
        fetch(card("eurosat"), tmp_path, ignore, [source])
    assert not list(tmp_path.rglob("EuroSAT.zip"))
    server.files["EuroSAT.zip"] = eurosat()
    assert fetch(card("eurosat"), tmp_path, ignore, [source]) == tmp_path / "EuroSAT"


def test_a_hostile_archive_writes_nothing_outside_and_is_removed(server: Server, tmp_path: Path) -> None:
    source = server.source("EuroSAT.zip", zipped({"2750/a/1.jpg": jpeg(), "../../escaped": b"x"}))
    with pytest.raises(FetchError, match=r"'../../escaped', a path that leads out of the folder"):
        fetch(card("eurosat"), tmp_path / "data", ignore, [source])
    assert not list(tmp_path.rglob("escaped"))
    assert not list(tmp_path.rglob("EuroSAT.zip"))
    assert presence(card("eurosat"), tmp_path / "data").status == "missing"


def test_an_archive_within_an_archive_is_unpacked_and_the_rest_left_out(server: Server, tmp_path: Path) -> None:
    images = tar({f"101_ObjectCategories/{kind}/image_0001.jpg": jpeg() for kind in ("accordion", "BACKGROUND_Google")})
    outer = zipped({"caltech-101/101_ObjectCategories.tar.gz": images, "caltech-101/show_annotation.m": b"%"})
    (published_source,) = SOURCES["caltech101"]
    source = server.source("caltech-101.zip", outer, into=published_source.unpack_into, inner=published_source.inner)
    base = fetch(card("caltech101"), tmp_path, ignore, [source])
    assert sorted(path.name for path in (base / "caltech101").iterdir()) == ["101_ObjectCategories"]
    assert [path.name for path in base.iterdir()] == ["caltech101"]


def test_a_plain_file_is_put_beside_the_images(server: Server, tmp_path: Path) -> None:
    sources = [
        server.source("102flowers.tgz", tar({"jpg/image_00001.jpg": jpeg()})),
        server.source("imagelabels.mat", b"labels", into=None),
        server.source("setid.mat", b"sets", into=None),
    ]
    fetch(card("flowers"), tmp_path, ignore, sources)
    assert (tmp_path / "Flowers" / "imagelabels.mat").read_bytes() == b"labels"
    assert presence(card("flowers"), tmp_path).status == "present"


def test_a_file_that_the_user_put_there_is_used_instead_of_downloading(server: Server, tmp_path: Path) -> None:
    source = server.source("EuroSAT.zip", eurosat())
    (tmp_path / "EuroSAT" / WORK).mkdir(parents=True)
    (tmp_path / "EuroSAT" / WORK / "EuroSAT.zip").write_bytes(eurosat())
    fetch(card("eurosat"), tmp_path, ignore, [source])
    assert server.requests == []


def test_an_address_that_is_gone_is_an_error_that_names_it(server: Server, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=rf"eurosat: {server.url}/gone.zip: HTTP 404"):
        fetch(card("eurosat"), tmp_path, ignore, [DownloadSource(f"{server.url}/gone.zip")])


def test_an_archive_without_the_expected_files_is_an_error(server: Server, tmp_path: Path) -> None:
    source = server.source("EuroSAT.zip", zipped({"EuroSAT_RGB/a/1.jpg": b"x"}))
    with pytest.raises(FetchError, match=r"was fetched, but .*2750 is not among it"):
        fetch(card("eurosat"), tmp_path, ignore, [source])


def test_two_processes_do_not_fetch_the_same_dataset_at_once(server: Server, tmp_path: Path) -> None:
    work = tmp_path / "EuroSAT" / WORK
    work.mkdir(parents=True)
    with (work / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(FetchError, match="by another process"):
            fetch(card("eurosat"), tmp_path, ignore, [server.source("EuroSAT.zip", eurosat())])


def test_a_data_root_that_cannot_be_written_is_an_error_that_names_it(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    with pytest.raises(FetchError, match=f"{tmp_path}/data.* cannot be written"):
        fetch(card("eurosat"), tmp_path / "data", ignore, [server.source("EuroSAT.zip", eurosat())])


@pytest.mark.parametrize("name", ["isic", "chestx", "cropdiseases", "cars"])
def test_data_that_need_a_person_are_refused_with_the_instructions(name: str, tmp_path: Path) -> None:
    with pytest.raises(ManualFetch, match=rf"{name} cannot be fetched automatically: .*https://"):
        fetch(card(name), tmp_path, ignore)
    assert list(tmp_path.iterdir()) == []


def test_embedded_data_need_no_fetching(tmp_path: Path) -> None:
    assert fetch(card("digits"), tmp_path, ignore) == tmp_path


def test_a_check_counts_and_names_what_differs_from_the_published_numbers(server: Server, tmp_path: Path) -> None:
    fetch(card("eurosat"), tmp_path, ignore, [server.source("EuroSAT.zip", eurosat())])
    report = check(card("eurosat"), tmp_path)
    assert report.ok
    assert report.problems == ("10 images in all, published are 27,000",)


def test_a_check_of_missing_data_says_what_is_missing_and_what_to_do(tmp_path: Path) -> None:
    report = check(card("dtd"), tmp_path)
    assert (report.ok, report.presence.status) == (False, "missing")
    assert report.error == f"{tmp_path}/DTD/images is missing: run `ssl-console data fetch dtd`"


def test_a_check_that_decodes_names_broken_images(server: Server, tmp_path: Path) -> None:
    fetch(card("eurosat"), tmp_path, ignore, [server.source("EuroSAT.zip", eurosat())])
    (tmp_path / "EuroSAT" / "2750" / "class3" / "1.jpg").write_bytes(b"not an image")
    assert any(
        "class3/1.jpg cannot be decoded" in problem
        for problem in check(card("eurosat"), tmp_path, decode=True).problems
    )


def test_every_dataset_that_says_automatic_has_sources_and_a_folder() -> None:
    automatic = [c for c in CATALOG.datasets.values() if c.download == "automatic"]
    assert {c.reader for c in automatic} == set(SOURCES)
    assert all(c.folder for c in automatic)


PUBLISHED: dict[str, Callable[[], set[tuple[str, str | None]]]] = {
    "cifar10": lambda: {(published.CIFAR10.url, published.CIFAR10.tgz_md5)},
    "cifar100": lambda: {(published.CIFAR100.url, published.CIFAR100.tgz_md5)},
    "aircraft": lambda: {(published.FGVCAircraft._URL, None)},
    "dtd": lambda: {(published.DTD._URL, published.DTD._MD5)},
    "food": lambda: {(published.Food101._URL, published.Food101._MD5)},
    "pets": lambda: set(published.OxfordIIITPet._RESOURCES),
    "flowers": lambda: {
        (published.Flowers102._download_url_prefix + file, md5)
        for file, md5 in published.Flowers102._file_dict.values()
    },
    "voc2007": lambda: {(DATASET_YEAR_DICT[y]["url"], DATASET_YEAR_DICT[y]["md5"]) for y in ("2007", "2007-test")},
}


@pytest.mark.parametrize("reader", PUBLISHED)
def test_addresses_and_sums_are_those_of_torchvision(reader: str) -> None:
    assert {(source.url, source.md5) for source in SOURCES[reader]} == PUBLISHED[reader]()


def test_the_images_of_sun397_come_from_torchvisions_address() -> None:
    source = SOURCES["sun397"][0]
    assert (source.url, source.md5) == (published.SUN397._DATASET_URL, published.SUN397._DATASET_MD5)
