"""Models of a hub by name, `hf:ORG/MODEL[/FILE][@REVISION]`, and the cards of fetched models.

A name resolves to a card only after `weights fetch` (or `add backbone`) has read the model's files: this module uses no
network. A branch stays at the fetched commit until it is fetched again. Needs no torch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from pydantic import ValidationError

from backbones.catalog.card import BackboneCard, HubWeights
from backbones.io.card_files import MalformedName
from backbones.io.errors import WeightsError
from backbones.io.files import write_atomically

SCHEME = "hf:"
OTHER_SCHEMES = ("timm:hf-hub:", "timm:hf_hub:", "hf-hub:", "hf://", "https://huggingface.co/")
"""Other notations of libraries and users for the same."""
DEFAULT_REVISION = "main"
COMMIT = re.compile(r"[0-9a-f]{40}")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,199}")


class UnfetchedModel(WeightsError):  # noqa: N818 - a domain word, raised as such
    """The model is not fetched, so its architecture is unknown; the message names the command."""


@dataclass(frozen=True)
class HubReference:
    """Reference to a model of the hub: `repository` is ORG/MODEL, `file` a path in it, `revision` a branch, tag
    or commit.
    """

    repository: str
    revision: str = DEFAULT_REVISION
    file: str | None = None

    @property
    def name(self) -> str:
        """The name in its canonical form."""
        file = f"/{self.file}" if self.file else ""
        revision = f"@{self.revision}" if self.revision != DEFAULT_REVISION else ""
        return f"{SCHEME}{self.repository}{file}{revision}"

    @property
    def model(self) -> str:
        """Last part of the repository's name."""
        return self.repository.partition("/")[2]


def is_hub_name(name: str) -> bool:
    """Whether a name refers to a model of the hub."""
    return name.startswith((SCHEME, *OTHER_SCHEMES))


def hub_reference(name: str) -> HubReference:
    """Reference for a name. Raises MalformedName."""
    scheme = next((one for one in (*OTHER_SCHEMES, SCHEME) if name.startswith(one)), "")
    place, at, revision = name.removeprefix(scheme).rstrip("/").partition("@")
    parts = place.split("/")
    if len(parts) > 4 and parts[2] in ("blob", "resolve", "tree"):  # an address copied from a browser
        revision, at = parts[3], "@"
        del parts[2:4]
    good = len(parts) > 1 and all(_PART.fullmatch(part) and ".." not in part for part in parts)
    if not scheme or not good or (at and (not _REVISION.fullmatch(revision) or ".." in revision)):
        raise MalformedName(f"{name!r}: expected hf:ORG/MODEL, followed by @REVISION or /FILE where needed")
    return HubReference("/".join(parts[:2]), revision if at else DEFAULT_REVISION, "/".join(parts[2:]) or None)


@dataclass(frozen=True)
class HubStore:
    """Folder of fetched models: per repository its files by commit, the commits of branches, and cards.

    A store without a folder has no models.
    """

    root: Path | None = None

    def folder(self, repository: str, commit: str) -> Path:
        """Folder of the files of a commit."""
        return self._repository(repository) / commit

    def commit(self, reference: HubReference) -> str | None:
        """Commit that was last fetched for the revision; None if it never was."""
        if COMMIT.fullmatch(reference.revision):
            return reference.revision
        try:
            commit = self._pin(reference).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return None
        return commit if COMMIT.fullmatch(commit) else None

    def pin(self, reference: HubReference, commit: str) -> None:
        """Record that the revision resolves to this commit."""
        if not COMMIT.fullmatch(reference.revision):
            self._pin(reference).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._pin(reference), commit.encode())

    def card_at(self, reference: HubReference, commit: str) -> BackboneCard | None:
        """Card of a fetched commit under the reference's name; None when there is no readable one."""
        try:
            card = BackboneCard.model_validate_json(self._card(reference, commit).read_bytes())
        except (OSError, ValidationError):
            return None
        return card.model_copy(update={"name": reference.name})

    def keep(self, reference: HubReference, card: BackboneCard) -> None:
        """Store the card of a fetched model."""
        assert isinstance(card.weights, HubWeights)
        path = self._card(reference, card.weights.revision)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, card.model_dump_json().encode())

    def get(self, name: str) -> BackboneCard:
        """Card of a name. Raises MalformedName, and UnfetchedModel with the command that fetches the model."""
        reference = hub_reference(name)
        commit = None if self.root is None else self.commit(reference)
        card = None if commit is None else self.card_at(reference, commit)
        if card is None:
            raise UnfetchedModel(
                f"{reference.name} is not fetched, and its architecture is in its files: "
                f"run `ssl-console weights fetch {reference.name}`"
            )
        return card

    def _pin(self, reference: HubReference) -> Path:
        return self._repository(reference.repository) / "revisions" / quote(reference.revision, safe="")

    def _card(self, reference: HubReference, commit: str) -> Path:
        file = f".{quote(reference.file, safe='')}" if reference.file else ""
        return self._repository(reference.repository) / "cards" / f"{commit}{file}.json"

    def _repository(self, repository: str) -> Path:
        if self.root is None:
            raise WeightsError(f"{SCHEME}{repository}: no folder of fetched models is configured")
        return self.root / repository.replace("/", "--")
