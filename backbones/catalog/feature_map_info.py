"""Feature maps of architectures, as data that is passed between processes.

Determined before anything is queued, so that a backbone that is incompatible with a protocol is refused with a message.
timm imports torch, so `python -m backbones.model.feature_map_main` is run once per architecture, and its answers are
cached.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from pydantic import ValidationError

from backbones.catalog.card import ArchitectureValue, BackboneCard
from backbones.catalog.layer_columns import BlockInfo
from backbones.io.card_files import CardModel
from backbones.io.files import write_if_possible
from backbones.io.subprocess_query import run_module

DISSECT = "backbones.model.feature_map_main"
SECONDS = 600.0


class MapFacts(CardModel):
    """One feature map of the pyramid: pixels per position, and channels."""

    stride: int
    channels: int


class FeatureMapInfo(CardModel):
    """Capabilities of an architecture. `problem` is the reason for which it has no maps; then `maps` is empty."""

    maps: tuple[MapFacts, ...] = ()
    """The pyramid (`backbones.model.feature_maps`), finest first; for a plain transformer all have one stride."""
    any_size: bool = False
    """Whether it accepts images of any size and shape, not only the card's square."""
    dilates: bool = False
    """Whether its last stages can be dilated to an output stride of 8."""
    problem: str | None = None
    blocks: BlockInfo | None = None
    """Blocks whose outputs can be pooled (`backbones.model.layers`); None where there are none."""

    @property
    def plain(self) -> bool:
        """Whether all maps have the same stride, as in a plain transformer."""
        return len({one.stride for one in self.maps}) == 1


class FeatureMapQuery(CardModel):
    """Key of a query."""

    architecture: str
    arguments: dict[str, ArchitectureValue]
    size: int

    @classmethod
    def of(cls, card: BackboneCard) -> FeatureMapQuery:
        return cls(architecture=card.architecture, arguments=card.architecture_arguments, size=card.input.size)

    @property
    def filename(self) -> str:
        """File of the cached answer; it depends on timm's version and on the code of the query."""
        asked = f"{self.model_dump_json()} {metadata.version('timm')} {_code_digest()}"
        return f"{self.architecture}.{hashlib.sha256(asked.encode()).hexdigest()[:12]}.json"


def anatomies(cards: Iterable[BackboneCard], cache_folder: Path) -> dict[str, FeatureMapInfo]:
    """Feature maps by the cards' names: cached answers, and one subprocess for all others."""
    specimens = {card.name: FeatureMapQuery.of(card) for card in cards}
    places = {specimen.filename: specimen for specimen in specimens.values()}
    kept = {place: _kept(cache_folder / place) for place in places}
    unknown = [place for place, anatomy in kept.items() if anatomy is None]
    fresh = dict(zip(unknown, _ask([places[place] for place in unknown]), strict=False))
    for place, anatomy in fresh.items():
        write_if_possible(cache_folder / place, anatomy.model_dump_json().encode())
    failed = FeatureMapInfo(problem="the subprocess that inspects architectures failed")
    return {
        name: kept[specimen.filename] or fresh.get(specimen.filename, failed) for name, specimen in specimens.items()
    }


def _kept(path: Path) -> FeatureMapInfo | None:
    try:
        return FeatureMapInfo.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _ask(specimens: Sequence[FeatureMapQuery]) -> list[FeatureMapInfo]:
    """One answer per query; fewer if the subprocess failed."""
    if not specimens:
        return []
    try:
        lines = "".join(f"{specimen.model_dump_json()}\n" for specimen in specimens)
        done = run_module(DISSECT, given=lines, seconds=SECONDS)
    except subprocess.TimeoutExpired:
        return []
    answers: list[FeatureMapInfo] = []
    for line in done.stdout.splitlines():
        try:
            answers.append(FeatureMapInfo.model_validate_json(line))
        except ValidationError:
            break
    return answers


@lru_cache(maxsize=1)
def _code_digest() -> str:
    """SHA-256 over the code that inspects architectures."""
    here = Path(__file__).parents[1] / "model"
    files = [here / name for name in ("feature_map_main.py", "feature_maps.py", "layers.py", "architecture.py")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
