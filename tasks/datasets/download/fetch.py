"""Fetch a dataset: download, verify the published checksum, unpack, move into place.

Sources are those of torchvision's dataset classes, for SUN397 also the authors' partition files, and for ADE20K the
challenge's own.

Needs neither numpy nor torch. All work in progress is in one hidden folder below the dataset's; while it exists the
dataset counts as unfinished, and another fetch resumes.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from backbones.io.download import Download
from backbones.io.errors import WeightsError
from backbones.io.file_locks import lock
from backbones.io.files import no_follow_opener
from tasks.datasets.card import DatasetCard
from tasks.datasets.download.safe_unpack import ArchiveError, unpack
from tasks.datasets.manifest import Manifest, ask
from tasks.datasets.presence import Presence, advice, presence

VGG = "https://www.robots.ox.ac.uk/~vgg/data"
VOC_SERVER = "https://thor.robots.ox.ac.uk/pascal/VOC"
EUROSAT_COMMIT = "c877bcd43f099cd0196738f714544e355477f3fd"


@dataclass(frozen=True)
class DownloadSource:
    """One published file of a dataset."""

    url: str
    md5: str | None = None
    """Published MD5 sum, if any."""
    unpack_into: str | None = ""
    """Folder below the dataset's for an archive; None for a file that is used as it is."""
    inner: tuple[str, ...] = ()
    """Archives within the archive: only these are unpacked."""

    @property
    def filename(self) -> str:
        """File name at the source."""
        return self.url.rpartition("/")[2]


SOURCES: Mapping[str, tuple[DownloadSource, ...]] = MappingProxyType(
    {
        "cifar10": (
            DownloadSource(
                "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"
            ),
        ),
        "cifar100": (
            DownloadSource(
                "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"
            ),
        ),
        "aircraft": (DownloadSource(f"{VGG}/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz"),),
        "caltech101": (
            DownloadSource(
                "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",
                "3138e1922a9193bfa496528edbbc45d0",
                unpack_into="caltech101",
                inner=("caltech-101/101_ObjectCategories.tar.gz",),
            ),
        ),
        "dtd": (DownloadSource(f"{VGG}/dtd/download/dtd-r1.0.1.tar.gz", "fff73e5086ae6bdbea199a49dfb8a4c1"),),
        "flowers": (
            DownloadSource(f"{VGG}/flowers/102/102flowers.tgz", "52808999861908f626f3c1f4e79d11fa"),
            DownloadSource(f"{VGG}/flowers/102/imagelabels.mat", "e0620be6f572b9609742df49c70aed4d", unpack_into=None),
            DownloadSource(f"{VGG}/flowers/102/setid.mat", "a5357ecc9cb78c4bef273ce3793fc85c", unpack_into=None),
        ),
        "food": (
            DownloadSource("http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz", "85eeb15f3717b99a5da872d97d918f87"),
        ),
        "pets": (
            DownloadSource(f"{VGG}/pets/data/images.tar.gz", "5c4f3ee8e5d25df40f4fd59a7f44e54c"),
            DownloadSource(f"{VGG}/pets/data/annotations.tar.gz", "95a8c909bbe2e81eed6a22bccdf3f68f"),
        ),
        "sun397": (
            DownloadSource(
                "http://vision.princeton.edu/projects/2010/SUN/SUN397.tar.gz", "8ca2778205c41d23104230ba66911c7a"
            ),
            DownloadSource(
                "https://vision.princeton.edu/projects/2010/SUN/download/Partitions.zip", unpack_into="SUN397"
            ),
        ),
        "ade20k": (DownloadSource("http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip"),),
        "voc2007": (
            DownloadSource(f"{VOC_SERVER}/voc2007/VOCtrainval_06-Nov-2007.tar", "c52e279531787c972589f7e41ab4ae64"),
            DownloadSource(f"{VOC_SERVER}/voc2007/VOCtest_06-Nov-2007.tar", "b6e924de25625d8de591ea690078ad9f"),
        ),
        "voc-detection": (
            DownloadSource(
                f"{VOC_SERVER}/voc2007/VOCtrainval_06-Nov-2007.tar",
                "c52e279531787c972589f7e41ab4ae64",
                unpack_into="VOC2007",
            ),
            DownloadSource(
                f"{VOC_SERVER}/voc2007/VOCtest_06-Nov-2007.tar",
                "b6e924de25625d8de591ea690078ad9f",
                unpack_into="VOC2007",
            ),
            DownloadSource(
                f"{VOC_SERVER}/voc2012/VOCtrainval_11-May-2012.tar",
                "6cd6e144f989b92b3379bac3b3de84fd",
                unpack_into="VOC2012",
            ),
        ),
        "eurosat": (
            DownloadSource(
                f"https://huggingface.co/datasets/torchgeo/eurosat/resolve/{EUROSAT_COMMIT}/EuroSAT.zip",
                "c8fa014336c82ac7804f0398fcb19387",
            ),
        ),
    }
)
"""Sources by reader."""


WORK = ".fetch"
Step = Literal["download", "check", "unpack"]


@dataclass(frozen=True)
class FetchProgress:
    """Progress of one file in bytes; `total` is None while unknown. `number` counts the dataset's files from 1."""

    step: Step
    filename: str
    done: int
    total: int | None
    number: int
    files: int


OnProgress = Callable[[FetchProgress], None]


class FetchError(Exception):
    """The dataset was not fetched; one sentence with the path and a fix."""


class ManualFetch(FetchError):  # noqa: N818 - a domain word, raised as such
    """The dataset cannot be downloaded automatically; the message is the instructions."""


@dataclass(frozen=True)
class CheckReport:
    """Report of `ssl-console data check` on one dataset."""

    name: str
    presence: Presence
    manifest: Manifest | None
    error: str | None
    """Reason why the dataset cannot be opened."""

    @property
    def ok(self) -> bool:
        """Whether the dataset can be used. Problems are warnings: differences from the published numbers."""
        return self.manifest is not None

    @property
    def problems(self) -> tuple[str, ...]:
        """Differences from the published numbers, and broken images if they were decoded."""
        return self.manifest.problems if self.manifest else ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for readers of results."""
        return self.manifest.notes if self.manifest else ()


def fetch(
    card: DatasetCard, data_root: Path, on_progress: OnProgress, sources: Sequence[DownloadSource] | None = None
) -> Path:
    """Fetch a dataset into the data root and return the folder of its layout.

    Does nothing if the data exist. Resumes after an interruption.

    Raises:
        ManualFetch: the data must be downloaded manually.
        FetchError: a problem with the network, the disk or an archive.
    """
    found = presence(card, data_root)
    folder = data_root / (card.folder or "")
    if found.status == "present" and not (card.folder and (folder / WORK).exists()):
        return found.base
    files = sources if sources is not None else SOURCES.get(card.reader, ())
    if card.download != "automatic" or card.folder is None or not files:
        raise ManualFetch(f"{card.name} cannot be fetched automatically: {advice(card)}")
    try:
        with _working_folder(card, folder) as work:
            for number, source in enumerate(files, 1):
                _Item(card, folder, work, source, number, len(files), on_progress).fetch()
            shutil.rmtree(work)
    except OSError as error:
        raise FetchError(
            f"{card.name}: {error.filename or folder} cannot be written ({error.strerror or error}): "
            "make room or choose another data root, and fetch again, which resumes"
        ) from error
    return _arrived(card, data_root)


def check(
    card: DatasetCard,
    data_root: Path,
    cache_folder: Path | None = None,
    *,
    decode: bool = False,
    thorough: bool = False,
) -> CheckReport:
    """Open a dataset (in a separate process), count, and with `decode` decode every image.

    Digests of files are stored in `cache_folder`; with `thorough` every file is read again.
    """
    found = presence(card, data_root)
    if found.status != "present":
        return CheckReport(card.name, found, None, f"{found.missing[0]} is missing: {found.advice}")
    answer = ask([card], data_root, cache_folder, decode=decode, thorough=thorough)[card.name]
    if isinstance(answer, Manifest):
        return CheckReport(card.name, found, answer, None)
    return CheckReport(card.name, found, None, answer.error)


@dataclass(frozen=True)
class _Item:
    """One source being fetched into the dataset's folder."""

    card: DatasetCard
    folder: Path
    work: Path
    source: DownloadSource
    number: int
    files: int
    on_progress: OnProgress

    @property
    def _file(self) -> Path:
        return self.work / self.source.filename

    @property
    def _finished(self) -> Path:
        """Marker file: everything of this source is in place."""
        return self.work / f"{self.source.filename}.done"

    def fetch(self) -> None:
        if self._finished.exists():
            return
        if not self._file.exists():
            self._download()
        self._compare()
        unpacked = self.work / f"{self.source.filename}.unpacked"
        if unpacked.exists():
            shutil.rmtree(unpacked)
        if self.source.unpack_into is None:
            self._file.replace(self.folder / self.source.filename)
        else:
            self._unpack(unpacked)
            _move_into(unpacked, self.folder / self.source.unpack_into)
        with open(self._finished, "w", opener=no_follow_opener):
            pass
        self._file.unlink(missing_ok=True)

    def _download(self) -> None:
        try:
            Download(self.source.url, self._file).run(lambda done, total: self._report("download", done, total))
        except WeightsError as error:
            raise FetchError(f"{self.card.name}: {error}") from error

    def _compare(self) -> None:
        if self.source.md5 is None:
            return
        size = self._file.stat().st_size
        self._report("check", 0, size)
        with self._file.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        self._report("check", size, size)
        if found != self.source.md5:
            self._file.unlink()
            raise FetchError(
                f"{self.card.name}: {self.source.url} returned a file unlike the published one (MD5 {found}, expected "
                f"{self.source.md5}): it was removed, fetch again or get it from {self.card.page}"
            )

    def _unpack(self, target: Path) -> None:
        try:
            if not self.source.inner:
                return unpack(self._file, target, lambda done, total: self._report("unpack", done, total))
            outer = target.with_suffix(".outer")
            unpack(self._file, outer, lambda done, total: self._report("unpack", done, total))
            for name in self.source.inner:
                unpack(outer / name, target, lambda done, total: self._report("unpack", done, total))
            shutil.rmtree(outer)
        except (ArchiveError, FileNotFoundError) as error:
            self._file.unlink(missing_ok=True)
            raise FetchError(
                f"{self.card.name}: {error}; it was removed, fetch again or get it from {self.card.page}"
            ) from error

    def _report(self, step: Step, done: int, total: int | None) -> None:
        self.on_progress(FetchProgress(step, self.source.filename, done, total, self.number, self.files))


@contextmanager
def _working_folder(card: DatasetCard, folder: Path) -> Iterator[Path]:
    """Create the folder for unfinished work and hold its lock."""
    work = folder / WORK
    work.mkdir(parents=True, exist_ok=True)
    with open(work / "lock", "w", opener=no_follow_opener) as file:
        try:
            lock(file.fileno(), work / "lock", wait=False)
        except BlockingIOError as error:
            raise FetchError(f"{card.name} is being fetched into {folder} by another process: wait for it") from error
        yield work


def _move_into(source: Path, target: Path) -> None:
    """Move everything below `source` to `target`, merging folders; existing files are replaced."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        place = target / path.name
        if path.is_dir() and place.is_dir():
            _move_into(path, place)
        else:
            path.replace(place)
    source.rmdir()


def _arrived(card: DatasetCard, data_root: Path) -> Path:
    found = presence(card, data_root)
    if found.status != "present":
        raise FetchError(
            f"{card.name} was fetched, but {found.missing[0]} is not among it: its origin has changed; see {card.page}"
        )
    return found.base
