"""Descriptions of timm architectures without importing timm here: a subprocess asks, and the answer is kept on disk."""

from __future__ import annotations

import hashlib
import re
import subprocess
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from pydantic import ValidationError

from backbones.cardfile import MalformedName, UnknownName
from backbones.description import ANSWER, Description, Unknown
from backbones.digests import write_if_possible
from backbones.own_process import ask_module, last_words

SECONDS = 180.0
_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_\-]+)?")


class ResolverError(RuntimeError):
    """timm could not be asked: the message says what it said."""


@dataclass(frozen=True)
class Resolver:
    """Answers by name; every answer is kept in `cache_folder` for the installed version of timm."""

    cache_folder: Path | None = None
    _answers: dict[str, Description] = field(default_factory=dict, compare=False, repr=False)

    def describe(self, name: str) -> Description:
        """The description of `architecture` or `architecture.tag`.

        Raises UnknownName with suggestions, MalformedName for what cannot be a name, ResolverError when asking fails.
        """
        if not _NAME.fullmatch(name):
            raise MalformedName(f"{name!r} is not a timm name: expected architecture or architecture.tag")
        if name not in self._answers:
            self._answers[name] = self._kept(name) or self._ask(name)
        return self._answers[name]

    def _kept(self, name: str) -> Description | None:
        path = self._path(name)
        if path is None:
            return None
        try:
            return Description.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            return None

    def _ask(self, name: str) -> Description:
        answer = _run(name)
        if isinstance(answer, Unknown):
            raise UnknownName("timm model", name, tuple(f"timm:{known}" for known in answer.suggestions))
        path = self._path(name)
        if path is not None:
            write_if_possible(path, answer.model_dump_json().encode())
        return answer

    def _path(self, name: str) -> Path | None:
        if self.cache_folder is None:
            return None
        stamp = hashlib.sha256(f"{metadata.version('timm')} {Description.model_fields.keys()}".encode()).hexdigest()
        return self.cache_folder / f"{name}.{stamp[:8]}.json"


def _run(name: str) -> Description | Unknown:
    try:
        done = ask_module("backbones.describe", name, seconds=SECONDS)
        return ANSWER.validate_json(done.stdout)
    except subprocess.TimeoutExpired as error:
        raise ResolverError(f"asking timm about {name!r} took more than {SECONDS:.0f} s") from error
    except ValidationError as error:
        raise ResolverError(f"timm could not describe {name!r}: {last_words(done)}") from error
