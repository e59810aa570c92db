"""Models of a hub: fetched on demand, inspected, and stored with the card that `hf:` names resolve to."""

from __future__ import annotations

from dataclasses import replace

from backbones.catalog.card import BackboneCard
from backbones.catalog.hub_fetch import bring, look_up
from backbones.catalog.hub_models import COMMIT, hub_reference
from backbones.io.download import Progress
from ssl_console.operations.add_backbone import BackboneOptions, inspect_checkpoint, make_card
from ssl_console.operations.session import Session
from ssl_console.system.errors import ConsoleError


def fetch_hub_model(session: Session, name: str, on_progress: Progress) -> BackboneCard:
    """Fetch the newest commit of the revision, inspect it, and store its card under the name.

    Raises WeightsError where the hub refuses or is unreachable; ConsoleError for an ambiguous model, with the command
    that resolves it.
    """
    reference = hub_reference(name)
    known = session.weights.hub_models.card_at(reference, reference.revision)
    if COMMIT.fullmatch(reference.revision) and known is not None:
        session.weights.fetch(known, on_progress)
        return known
    snapshot = look_up(reference, session.weights.hub)
    card = session.weights.hub_models.card_at(reference, snapshot.commit)
    if card is None:
        path, weights = bring(snapshot, session.weights, on_progress)
        options = BackboneOptions(path=path, hub=weights, name=f"hf/{reference.repository}")
        try:
            card = make_card(options, inspect_checkpoint(options))
        except ConsoleError as error:
            words = str(error).removeprefix(f"{path}: ").removeprefix(f"{path} ")
            raise type(error)(
                f"{reference.name} is fetched, but {words}: decide with `ssl-console add backbone {reference.name} ...`"
            ) from error
        session.weights.hub_models.keep(reference, card)
    session.weights.fetch(card, on_progress)
    session.weights.hub_models.pin(reference, snapshot.commit)
    return card.model_copy(update={"name": reference.name})


def local_options(
    session: Session, options: BackboneOptions, on_progress: Progress = lambda _done, _total: None
) -> BackboneOptions:
    """Options for local files: a model of the hub is fetched first. Raises WeightsError."""
    if options.hub_name is None:
        return options
    reference = hub_reference(options.hub_name)
    path, weights = bring(look_up(reference, session.weights.hub), session.weights, on_progress)
    return replace(options, path=path, hub=weights, name=options.card_name, hub_name=None)
