"""Listing of a model's revision on a hub, and download of the files that a backbone needs.

The commit is pinned, every file is compared with the digest stated by the hub, and downloads are resumable. The token
of the hub library's login is used but never stored. Needs no torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from backbones.catalog.card import HubFile, HubWeights
from backbones.catalog.hub_models import COMMIT, HubReference
from backbones.catalog.weights_folder import CHECKPOINTS, PREFERRED, TRAINING_FILES, WeightsFolder, hub_token, shards_of
from backbones.io.download import TIMEOUT, Download, Progress, RefusedDownload
from backbones.io.errors import WeightsError
from backbones.io.file_digests import sha256_of

NEIGHBOURS = ("config.json", "preprocessor_config.json", "open_clip_config.json", "adapter_config.json")
"""Files next to the weights that state the architecture and the preprocessing."""
MOST_ANSWER_BYTES = 64 * 1024**2
SHOWN = 8
_LOGIN = "`hf auth login` (or HF_TOKEN)"


@dataclass(frozen=True)
class RemoteFile:
    """A file on the hub. `sha256`: digest of large files; `blob`: git's SHA-1 of others."""

    name: str
    sha256: str | None = None
    blob: str | None = None


@dataclass(frozen=True)
class HubSnapshot:
    """Files of a model's commit."""

    reference: HubReference
    commit: str
    files: Mapping[str, RemoteFile]


def look_up(reference: HubReference, hub: str) -> HubSnapshot:
    """Query the revision's commit and files. Raises WeightsError: one sentence with the model's page."""
    place = f"{reference.repository}/revision/{quote(reference.revision, safe='')}"
    answer = _ask(f"{hub}/api/models/{place}?blobs=true", reference, hub)
    commit = answer.get("sha")
    siblings = answer.get("siblings")
    if not isinstance(commit, str) or not COMMIT.fullmatch(commit) or not isinstance(siblings, list):
        raise WeightsError(f"{reference.name}: {hub} returned an invalid list of files")
    return HubSnapshot(reference, commit, {file.name: file for file in _files(siblings)})


def bring(snapshot: HubSnapshot, weights: WeightsFolder, on_progress: Progress) -> tuple[Path, HubWeights]:
    """Download the checkpoint and its neighbouring files; return the main file, and the weights for a card.

    Raises WeightsError. Downloaded files are not fetched again.
    """
    first = choose(snapshot)
    folder = weights.hub_models.folder(snapshot.reference.repository, snapshot.commit)
    neighbours = [str(PurePosixPath(first).with_name(name)) for name in NEIGHBOURS]
    for name in (*(name for name in neighbours if name in snapshot.files), first):
        _fetch(snapshot, name, folder, weights, on_progress)
    shards = [path.name for path in shards_of(folder / first)] if first.endswith(".index.json") else []
    for name in (names := [str(PurePosixPath(first).with_name(shard)) for shard in shards]):
        if name not in snapshot.files:
            raise WeightsError(f"{snapshot.reference.name}: {first} names {name}, which the model does not have")
        _fetch(snapshot, name, folder, weights, on_progress)
    files = tuple(HubFile(name=name, sha256=sha256_of(folder / name)) for name in (first, *names))
    return folder / first, HubWeights(repository=snapshot.reference.repository, revision=snapshot.commit, files=files)


def choose(snapshot: HubSnapshot) -> str:
    """Name of the file that contains the network, or lists the others. Raises WeightsError for an ambiguous model."""
    reference, names = snapshot.reference, snapshot.files
    if reference.file is not None:
        if reference.file in names:
            return reference.file
        raise WeightsError(f"{reference.name}: the model has no file {reference.file}; {_listed(_checkpoints(names))}")
    usual = next((name for name in PREFERRED if name in names), None)
    found = [usual] if usual else _checkpoints(names)
    if len(found) == 1:
        return found[0]
    if not found:
        raise WeightsError(f"{reference.name} has no checkpoint among its {len(names)} files: see its page")
    first = HubReference(reference.repository, reference.revision, found[0]).name
    raise WeightsError(f"{reference.name}: {_listed(found)}: name one, e.g. {first}")


def _checkpoints(names: Mapping[str, RemoteFile]) -> list[str]:
    return sorted(
        name for name in names if name.endswith(CHECKPOINTS) and not any(part in name for part in TRAINING_FILES)
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"it contains {len(names)} checkpoints ({', '.join(names[:SHOWN])}{more})"


def _files(siblings: Sequence[object]) -> Iterator[RemoteFile]:
    for entry in siblings:
        if not isinstance(entry, Mapping) or not isinstance(name := entry.get("rfilename"), str):
            continue
        if name.startswith("/") or ".." in PurePosixPath(name).parts:
            continue
        lfs = entry.get("lfs")
        yield RemoteFile(name, lfs.get("sha256") if isinstance(lfs, Mapping) else None, entry.get("blobId"))


def _fetch(snapshot: HubSnapshot, name: str, folder: Path, weights: WeightsFolder, on_progress: Progress) -> None:
    remote, target = snapshot.files[name], folder / name
    if target.is_file() and _is_it(target, remote):
        return
    reference = snapshot.reference
    try:
        Download(weights.hub_address(reference.repository, snapshot.commit, name), target, weights.hub_secrets()).run(
            on_progress
        )
    except RefusedDownload as error:
        raise WeightsError(_refusal(reference, weights.hub, error.status, error.reason) or str(error)) from error
    if not _is_it(target, remote):
        target.unlink()
        raise WeightsError(f"{reference.name}: {name} has a different digest than the hub states: fetch it again")


def _is_it(path: Path, remote: RemoteFile) -> bool:
    """Whether the file has the digest that the hub states; a file without a stated digest is accepted."""
    if remote.sha256 is not None:
        return sha256_of(path) == remote.sha256
    if remote.blob is None:
        return True
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == remote.blob


def _ask(url: str, reference: HubReference, hub: str) -> Mapping[str, Any]:
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        raise WeightsError(f"{reference.name} cannot be looked up: HF_HUB_OFFLINE is set")
    token = hub_token()
    request = urllib.request.Request(url, headers={"User-Agent": "backbones"})  # noqa: S310 - the hub's address
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
            found = json.loads(answer.read(MOST_ANSWER_BYTES))
    except urllib.error.HTTPError as error:
        reason = error.headers.get("X-Error-Code", "")
        words = _refusal(reference, hub, error.code, reason) or f"{reference.name}: {hub} answered HTTP {error.code}"
        raise WeightsError(words) from error
    except (OSError, ValueError) as error:
        reason = str(getattr(error, "reason", error)) or type(error).__name__
        raise WeightsError(f"{reference.name} cannot be looked up at {hub}: {reason}") from error
    return found if isinstance(found, Mapping) else {}


def _refusal(reference: HubReference, hub: str, status: int, reason: str) -> str | None:
    """Reason for a refusal by the hub, as a sentence with the page; None for other responses."""
    page = f"{hub}/{reference.repository}"
    if reason == "RevisionNotFound":
        return f"{reference.name}: the model has no revision {reference.revision!r}; see those on {page}"
    if reason == "GatedRepo" or (status == 403 and reason != "RepoNotFound"):
        return f"{reference.name} is gated: accept its terms on {page}, log in with {_LOGIN}, and fetch it again"
    if status in (401, 404):
        return f"{reference.name}: the hub has no such model, or it is private and requires {_LOGIN}; its page: {page}"
    return None
