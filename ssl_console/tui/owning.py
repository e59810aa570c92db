"""What the screens ask about the user's own checkpoints and trainings, answered from this machine's workspace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backbones.errors import WeightsError
from backbones.proposal import Inspection
from ssl_console.errors import ConsoleError
from ssl_console.own_backbone import Said, card_of, card_path, check, look_into, write_card
from ssl_console.training.record import Training, trainings
from ssl_console.workspace import Workspace


class OwnThings:
    """The part of the core that brings in what is the user's own."""

    workspace: Workspace

    def trainings(self) -> Sequence[Training]:
        """The trainings that are or were watched."""
        return tuple(trainings(self.workspace))

    def check_backbone(self, said: Said) -> None:
        """What can be told of a checkpoint at once. Raises ConsoleError."""
        if not said.path.exists():
            raise ConsoleError(f"{said.path} is not there")
        check(said)
        card_path(self.workspace, said.card_name, replace=said.replace)

    def inspect_backbone(self, said: Said) -> Inspection:
        """Look into a checkpoint. Raises ConsoleError."""
        try:
            return look_into(said)
        except WeightsError as error:
            raise ConsoleError(str(error)) from error

    def add_backbone(self, said: Said, found: Inspection) -> str:
        """Write its card, and have all cards read again; the card's name. Raises ConsoleError."""
        card = card_of(said, found)
        write_card(self.workspace, card, replace=said.replace)
        kept: dict[str, Any] = self.__dict__
        kept.pop("_backbones", None)
        return card.name
