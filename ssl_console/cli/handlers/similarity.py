"""`similarity`: matrix of the similarity of backbones' stored features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from ssl_console.cli.output import stdout
from ssl_console.operations.session import Session
from ssl_console.operations.similarity import similarity_matrix


def similarity(session: Session, dataset: str, backbones: Sequence[str], *, as_json: bool) -> None:
    """Print CKA and mutual k-NN of every pair. Raises ConsoleError where fewer than two backbones have features."""
    matrix = similarity_matrix(session, dataset, backbones)
    if as_json:
        about = {"dataset": matrix.dataset, "split": matrix.split, "images": matrix.images}
        stdout.document({**about, "backbones": list(matrix.backbones), "pairs": [asdict(one) for one in matrix.pairs]})
        return
    rows = [
        (
            one.first,
            one.second,
            f"{one.cka:.3f}",
            f"{one.cka_low:.3f} to {one.cka_high:.3f}",
            f"{one.mutual_knn:.3f}",
            f"{one.knn_low:.3f} to {one.knn_high:.3f}",
        )
        for one in matrix.pairs
    ]
    head = ("backbone", "and", "CKA", "95 % interval", "mutual k-NN", "95 % interval")
    stdout.table(head, rows, right=frozenset({2, 4}))
    stdout.say(f"{matrix.images} images of {matrix.dataset}/{matrix.split}; chance of mutual k-NN: {matrix.chance:.3f}")
