"""The weights folder: path and state of each card's file, its download, and the files that belong to a checkpoint."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import quote, unquote, urlsplit

from backbones.catalog.card import (
    BackboneCard,
    FileWeights,
    HubWeights,
    PublicUrls,
    RandomWeights,
    ShippedWeights,
    TimmWeights,
    UrlWeights,
)
from backbones.catalog.hub_models import HubStore
from backbones.io.download import Download, Progress
from backbones.io.errors import WeightsError
from backbones.io.file_digests import ChangedFile, DigestBook, joint_digest, sha256_of
from backbones.io.files import expand_user
from backbones.io.urls import HIDDEN

CHECKPOINTS = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".npz", ".tar", ".pkl")
"""Suffixes of files that may contain a network's weights."""
SHARD_INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
USUAL = ("model.safetensors", "pytorch_model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin")
"""File names of a whole network's weights in the hub's libraries; safetensors takes precedence."""
PREFERRED = (*SHARD_INDICES[:1], *USUAL, *SHARD_INDICES[1:])
"""All of these, preferred ones first."""
DEEPSPEED = "mp_rank_00_model_states.pt"
DISTRIBUTED = ".metadata"
ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")
ADAPTER_CONFIG = "adapter_config.json"
"""PEFT's file names of an adapter and its configuration, which names the base network."""
TRAINING_FILES = ("optim", "scheduler", "rng_state", "training_args", "scaler", "random_states")
"""Parts of the names of files that trainers write next to the weights."""


def checkpoint_files(path: Path) -> list[Path]:
    """Files of a checkpoint; the first one lists the others.

    For a file, the file itself; for a folder its only checkpoint, a TensorFlow index with its data, shards with their
    index, a distributed checkpoint, or the target of DeepSpeed's `latest`. An ambiguous folder is returned unchanged.
    """
    if path.is_dir():
        with suppress(OSError):
            path = next(_named(path), path)
    if path.name in ADAPTERS and (base := adapter_base(path)) is not None:
        return [path, path.with_name(ADAPTER_CONFIG), *checkpoint_files(base)]
    if path.name.endswith(".index.json"):
        return [path, *shards_of(path)]
    if path.name == DISTRIBUTED:
        return [path, *sorted(path.parent.glob("*.distcp"))]
    if path.suffix == ".index":
        return [path, *sorted(path.parent.glob(f"{path.name.removesuffix('.index')}.data-*"))]
    return [path]


def candidates(folder: Path) -> list[Path]:
    """Files of the folder that may be a checkpoint, sorted by name."""
    found = [file for file in sorted(folder.iterdir()) if file.suffix in CHECKPOINTS and file.is_file()]
    return [file for file in found if not any(part in file.name for part in TRAINING_FILES)]


def adapter_base(adapter: Path) -> Path | None:
    """Base network's file or folder according to the configuration next to an adapter; None where it is missing."""
    try:
        stated = json.loads(adapter.with_name(ADAPTER_CONFIG).read_bytes())["base_model_name_or_path"]
        place = adapter.parent / expand_user(stated)
        return place if place.exists() and place.resolve() != adapter.parent.resolve() else None
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):
        return None


def _named(folder: Path) -> Iterator[Path]:
    indices = sorted(folder.glob("*.index"))
    if len(indices) == 1:
        yield indices[0]
    for name in (DISTRIBUTED, *PREFERRED, DEEPSPEED):
        if (folder / name).is_file():
            yield folder / name
    if (folder / "latest").is_file():
        step = folder / (folder / "latest").read_text(errors="replace").strip()[:200] / DEEPSPEED
        if step.is_file() and step.resolve().is_relative_to(folder.resolve()):
            yield step
    found = candidates(folder)
    if len(found) == 1:
        yield found[0]


def shards_of(index: Path) -> list[Path]:
    """Files listed by an index, sorted by name, without those outside of its folder."""
    try:
        names = set(json.loads(index.read_bytes())["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
    return [index.parent / name for name in sorted(names) if isinstance(name, str) and Path(name).name == name]


__all__ = ["HUB", "SHIPPED", "WeightsError", "WeightsFolder", "WeightsState"]

HUB = "https://huggingface.co"
SHIPPED = Path(__file__).parents[1] / "demo"
Status = Literal["present", "missing", "damaged"]


@dataclass(frozen=True)
class WeightsState:
    """State of a card's weights. `digest` is set if they are present; `advice` is the fix otherwise."""

    status: Status
    path: Path | None
    digest: str | None = None
    size: int | None = None
    advice: str | None = None


@dataclass(frozen=True)
class _Source:
    """A file that a card needs, and its source; None where only the user can provide it."""

    path: Path
    url: str | None = None


class WeightsFolder:
    """Folder of downloaded weights; also caches the digests of files elsewhere.

    `hub` is the model hub's address; by default that of `HF_ENDPOINT`, as in the hub's own tools.
    """

    def __init__(self, root: Path, hub: str | None = None) -> None:
        self.root = root
        self.hub = (hub or os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
        self.hub_models = HubStore(root / "hub")
        self._digests = DigestBook(root / "digests")

    def state(self, card: BackboneCard) -> WeightsState:
        """Whether the weights are present and whole, by cached digests: fast enough for every listing."""
        return self._state(card, deep=False)

    def verified(self, card: BackboneCard) -> WeightsState:
        """State after reading every byte, for loading. Raises WeightsError unless the weights are present."""
        state = self._state(card, deep=True)
        if state.status != "present":
            raise WeightsError(f"{card.name}: the weights are {state.status}: {state.advice}")
        return state

    def fetch(self, card: BackboneCard, on_progress: Progress | None = None) -> WeightsState:
        """Download what is missing or damaged and return the verified state.

        Raises WeightsError with the fix: a page to open, a full disk, a server that does not respond.
        """
        manual = self.state(card).status != "present" and self._manual(card)
        if manual:
            raise WeightsError(f"{card.name}: {manual}")
        for source in self._sources(card):
            if not self._whole(card, source.path):
                self._download(card, source, on_progress or (lambda _done, _total: None))
        return self.verified(card)

    def path(self, card: BackboneCard) -> Path | None:
        """Path of the (first) file, existing or not; None for weights without a file."""
        sources = self._sources(card)
        return sources[0].path if sources else None

    def _state(self, card: BackboneCard, *, deep: bool) -> WeightsState:
        if isinstance(card.weights, RandomWeights):
            return WeightsState("present", None, f"random-{card.weights.seed}", 0)
        paths = [source.path for source in self._sources(card)]
        absent = [path for path in paths if not path.is_file()]
        if absent:
            return WeightsState("missing", absent[0], advice=self._manual(card) or self._how_to_get(card))
        try:
            digests = [self._digest(card, path, deep=deep) for path in paths]
        except ChangedFile as error:
            return WeightsState("damaged", error.path, advice=f"{error}: {self._how_to_repair(card)}")
        except OSError as error:
            return WeightsState("damaged", paths[0], advice=f"{paths[0]} cannot be read: {error.strerror or error}")
        return WeightsState("present", paths[0], joint_digest(digests), sum(path.stat().st_size for path in paths))

    def _digest(self, card: BackboneCard, path: Path, *, deep: bool) -> str:
        """Digest of the file, checked against the card's expectation for its first file."""
        if isinstance(card.weights, ShippedWeights):
            found = sha256_of(path)
        else:
            found = self._digests.verify(path) if deep else self._digests.digest(path)
        expected = self._expected(card, path)
        if expected and not found.startswith(expected):
            raise ChangedFile(path, expected, found)
        return found

    def _expected(self, card: BackboneCard, path: Path) -> str | None:
        """Digest of a file according to the card, or its prefix."""
        if isinstance(card.weights, HubWeights):
            names = zip(self._sources(card), card.weights.files, strict=True)
            return next((file.sha256 for source, file in names if source.path == path), None)
        stated: str | None = getattr(card.weights, "sha256", None)
        return stated if path == self.path(card) else None

    def _whole(self, card: BackboneCard, path: Path) -> bool:
        try:
            return path.is_file() and bool(self._digest(card, path, deep=True))
        except ChangedFile:
            return False

    def _download(self, card: BackboneCard, source: _Source, on_progress: Progress) -> None:
        if source.url is None:
            raise WeightsError(f"{card.name}: {self.state(card).advice}")
        address = card.weights.address(source.url) if isinstance(card.weights, PublicUrls) else source.url
        if HIDDEN in address:
            raise WeightsError(f"{card.name}: {source.url} lacks its login or token: fetch it where its card is")
        found = Download(address, source.path, self._secrets(source.url)).run(on_progress)
        expected = self._expected(card, source.path)
        if expected and not found.startswith(expected):
            source.path.unlink()
            raise WeightsError(
                f"{card.name}: {source.url} is not the file of the card: its SHA-256 begins with {found[:12]}, "
                f"expected {expected[:12]}. Fetch it again, or correct the card"
            )
        self._digests.remember(source.path, found, "fetched")

    def hub_address(self, repository: str, revision: str, name: str) -> str:
        """Address of a model's file on the hub."""
        return f"{self.hub}/{repository}/resolve/{quote(revision, safe='')}/{quote(name)}"

    def hub_secrets(self) -> dict[str, str]:
        """Header with the token of the hub library's own login; empty without a login."""
        token = hub_token()
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _secrets(self, url: str) -> dict[str, str]:
        return self.hub_secrets() if url.startswith(self.hub + "/") else {}

    def _sources(self, card: BackboneCard) -> tuple[_Source, ...]:
        weights = card.weights
        if isinstance(weights, UrlWeights):
            return self._url_sources(weights)
        if isinstance(weights, TimmWeights):
            return (self._timm_source(weights),)
        if isinstance(weights, HubWeights):
            repository, revision = weights.repository, weights.revision
            folder = self.hub_models.folder(repository, revision)
            return tuple(
                _Source(folder / file.name, self.hub_address(repository, revision, file.name)) for file in weights.files
            )
        if isinstance(weights, ShippedWeights):
            return (_Source(SHIPPED / weights.filename),)
        if isinstance(weights, FileWeights):
            return tuple(_Source(path) for path in checkpoint_files(expand_user(weights.path)))
        return ()

    def _url_sources(self, weights: UrlWeights) -> tuple[_Source, ...]:
        name = _url_name(weights.url)
        suffix = _suffix(name)
        # many projects publish a `resnet50.pth`
        distinct = f"{name.removesuffix(suffix)}-{hashlib.sha256(weights.url.encode()).hexdigest()[:8]}{suffix}"
        first = weights.filename or distinct
        names = [first, *(_companion_name(weights.url, first, url) for url in weights.companions)]
        urls = (weights.url, *weights.companions)
        if weights.manual is not None:
            return tuple(_Source(self.root / name) for name in names)
        return tuple(_Source(self.root / name, url) for name, url in zip(names, urls, strict=True))

    def _manual(self, card: BackboneCard) -> str | None:
        if not isinstance(card.weights, UrlWeights) or card.weights.manual is None:
            return None
        return f"{card.weights.manual.rstrip('. ')}. Page: {card.weights.url} Put the file at {self.path(card)}"

    def _how_to_get(self, card: BackboneCard) -> str:
        sources = self._sources(card)
        missing = next((source for source in sources if not source.path.is_file()), sources[0])
        if isinstance(card.weights, ShippedWeights):
            return f"{missing.path} is missing from the installation: install the package again"
        if missing.url is None:
            return f"file {missing.path} does not exist: correct the path"
        return f"not downloaded yet: fetch them, or save {missing.url} as {missing.path}"

    def _timm_source(self, weights: TimmWeights) -> _Source:
        if weights.url is not None:
            return _Source(self.root / f"{weights.tag}{_suffix(_url_name(weights.url))}", weights.url)
        repository = weights.hub_repository or f"timm/{weights.tag}"
        url = self.hub_address(repository, "main", weights.hub_filename)
        return _Source(self.root / f"{weights.tag}{_suffix(weights.hub_filename)}", url)

    def _how_to_repair(self, card: BackboneCard) -> str:
        if isinstance(card.weights, ShippedWeights):
            return "install the package again"
        if isinstance(card.weights, FileWeights):
            return "the file has changed on disk: copy it again"
        return "fetch them again"


def hub_token() -> str | None:
    """Token of the hub library's own login (`hf auth login`, or HF_TOKEN). It is read, never stored."""
    library: Any = importlib.import_module("huggingface_hub")  # takes a tenth of a second, needed for downloads only
    token: str | None = library.get_token()
    return token


def _url_name(url: str) -> str:
    return PurePosixPath(unquote(urlsplit(url).path)).name or "weights"


def _companion_name(url: str, name: str, companion: str) -> str:
    """`m.index` is stored as `x.index`: its companion `m.data-0` is stored as `x.data-0`."""
    first, second = _url_name(url), _url_name(companion)
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))
    return name.removesuffix(first[shared:]) + second[shared:]


def _suffix(name: str) -> str:
    """Suffix such as `.pth.tar` or `.safetensors`, including the inner one of archives."""
    suffixes: Sequence[str] = PurePosixPath(name).suffixes
    return "".join(suffixes[-2:]) if suffixes[-1:] == [".tar"] else "".join(suffixes[-1:])
