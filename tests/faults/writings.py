"""Every kind of file written by the system, as a function that writes its first or second state into a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

from backbones.catalog.card import BackboneCard
from backbones.io.files import write_array, write_durably, write_if_possible
from ssl_console.analysis.figures import save_critical_difference
from ssl_console.analysis.rank_intervals import CriticalDifference
from ssl_console.operations.add_backbone import write_card
from ssl_console.operations.add_dataset import write_dataset
from ssl_console.operations.bundle.write import bundle
from ssl_console.operations.checkpoints.record import WatchedTraining, write_training
from ssl_console.operations.checkpoints.watcher import sightings, take
from ssl_console.worker.claim import claim
from ssl_console.worker.result_record import write_predictions
from ssl_console.workspace.paths import RunFolder, Workspace
from ssl_console.workspace.requests import request_retry, set_priority, submit
from ssl_console.workspace.results_db import ResultStore, rebuild
from ssl_console.workspace.run import End
from tasks.datasets.card import DatasetCard
from tasks.datasets.importing.messages import ImportResult
from tasks.features.shards import join, write_shard
from tasks.pretraining.augmentation import RESNET, Method
from tasks.pretraining.loop import Origin, Pool, PoolSize, Run, Trainer, export, render_pool
from tasks.protocols.result_images import save_sheet
from tasks.training.checkpoint import Checkpoint
from tests.ssl_console.tui.filled import finish, result
from tests.ssl_console.workspace_fixture import spec

CARD = {
    "title": "Mine",
    "architecture": "resnet18",
    "weights": {"kind": "random", "seed": 0},
    "facts": {"method": "none"},
}
DATASET = {"name": "things", "title": "Things", "reader": "listed", "protocols": ["knn"], "reader_arguments": {}}


@dataclass(frozen=True)
class Writing:
    """One kind of file. Each state differs from the previous one and takes more than a page."""

    name: str
    write: Callable[[Path, int], object]
    """Writes state 1, 2, ... into the folder."""
    prepare: Callable[[Path, int], object] = lambda _place, _number: None
    """Prerequisites, created while there is room."""
    optional: bool = False
    """A cache: failing to write it is not an error."""


def workspace_in(place: Path) -> Workspace:
    """The single one in the folder."""
    return Workspace(place / "workspace").create()


def run_in(place: Path, number: int) -> RunFolder:
    """A queued run."""
    return submit(workspace_in(place), f"run{number}", spec(f"run{number}").model_dump_json().encode())


def of(place: Path, number: int) -> RunFolder:
    """The folder of that run."""
    return Workspace(place / "workspace").run(f"run{number}")


def failed_run(place: Path, number: int) -> None:
    """One that can be retried."""
    folder = run_in(place, number)
    folder.end(1).write_text(End(attempt=1, state="failed", kind="crash", message="why").model_dump_json())


def finished_run(place: Path, number: int) -> None:
    """One with a result."""
    finish(workspace_in(place), f"run{number}", "demo/random", "linear/digits", seed=number)


def values(number: int, count: int = 2000) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Rows of features."""
    return np.arange(count, dtype=np.float32).reshape(-1, 8) + number


def _add(place: Path, number: int) -> None:
    ResultStore(workspace_in(place)).add([result("demo/b", "linear/digits", run_id=f"run{number}")])


def _bundled(place: Path, number: int) -> None:
    results = [result("demo/random", "linear/digits", run_id="run1", seed=1)]
    bundle(place / f"bundle{number}.zip", workspace_in(place), results, None, lambda _card: None)


def _shard_folder(place: Path, number: int) -> None:
    (place / f"shards{number}").mkdir()


def _shards(place: Path, number: int) -> None:
    write_shard(place / f"shards{number}", 0, values(number))


def _joined(place: Path, number: int) -> None:
    folder = place / f"shards{number}"
    join(folder, [write_shard(folder, 0, values(number))], place / "features.npy", 8)


def _trained(place: Path, number: int) -> None:
    Checkpoint(place / "checkpoint" / "state.pt", "me").save({"step": number, "weights": torch.arange(5000.0)})


@lru_cache(maxsize=1)
def _pool() -> Pool:
    return render_pool(PoolSize(objects=4, scenes=2, digits=2))


@lru_cache(maxsize=1)
def _trainer() -> Trainer:
    return Trainer(Run(Method.ROTATION, steps=1, batch_size=4), _pool())


def _pretrained(place: Path, number: int) -> None:
    trainer = _trainer()
    trainer.training.step = number
    trainer.checkpoint(place / "pretraining.pt").save(trainer.training.state())


def _images(place: Path, number: int) -> None:
    write_array(place / "images.npy", values(number))


def _pictured(place: Path, number: int) -> None:
    image = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    save_sheet([[image, image]], place / "run", "saliency.png")


def _exported(place: Path, number: int) -> None:
    origin = Origin(Method.ROTATION, RESNET, 0, number, 1, 0.0)
    export(nn.Linear(64, 64), origin, place / "weights.safetensors")


def _own_card(place: Path, number: int) -> None:
    card = BackboneCard.model_validate({**CARD, "name": "own/mine", "title": "Mine " * 800 + str(number)})
    write_card(workspace_in(place), card, replace=True)


def _draft(place: Path, number: int) -> None:
    draft = workspace_in(place).tasks / ".things.csv"
    draft.write_text("image,class,split\n" * 400 + f"{number}\n")


def _own_dataset(place: Path, number: int) -> None:
    card = DatasetCard.model_validate({**DATASET, "title": "Things " * 800 + str(number)})
    write_dataset(workspace_in(place), ImportResult(layout="class-folders", card=card), replace=True)


def _watched(place: Path, number: int) -> None:
    tasks = tuple(f"linear/{task}" for task in range(500 + number))
    write_training(place / "training", WatchedTraining(folder=str(place), name="mine", tasks=tasks))


def _copied(place: Path, number: int) -> None:
    (place / "copies").mkdir(exist_ok=True)
    (seen,) = sightings(place / f"trained{number}").values()
    take(seen, place / "copies")


def _to_copy(place: Path, number: int) -> None:
    (place / f"trained{number}").mkdir()
    torch.save({"weights": torch.arange(3000.0) + number}, place / f"trained{number}" / f"epoch{number}.pth")


def _drawn(place: Path, number: int) -> None:
    picture = CriticalDifference(mean_ranks={f"a{number}": 1.0, "b": 2.0}, difference=0.5, p_value=0.01)
    save_critical_difference(picture, place / "picture.svg")


def _digest(place: Path, number: int) -> None:
    write_if_possible(place / "digests" / "some.json", b"x" * 5000 + bytes([number]))


def _predicted(place: Path, number: int) -> None:
    folder = RunFolder(place, "run")
    folder.path.mkdir(exist_ok=True)
    write_predictions(folder, {"label": np.arange(1000) + number})


def _manifest(place: Path, number: int) -> None:
    write_durably(place / "manifest.json", [b"x" * 5000, bytes([number])])


WRITINGS = (
    Writing("a run's specification", run_in),
    Writing("a worker's claim", lambda place, number: claim(workspace_in(place), f"run{number}", "cpu"), run_in),
    Writing("a retry", lambda place, number: request_retry(workspace_in(place), f"run{number}"), failed_run),
    Writing("a priority", lambda place, number: set_priority(workspace_in(place), f"run{number}", number), run_in),
    Writing("predictions", _predicted),
    Writing("the database", _add),
    Writing("the database, rebuilt", lambda place, _number: rebuild(workspace_in(place)), finished_run),
    Writing("a feature shard", _shards, _shard_folder),
    Writing("joined features", _joined, _shard_folder),
    Writing("a feature manifest", _manifest),
    Writing("a training checkpoint", _trained),
    Writing("a pre-training checkpoint", _pretrained),
    Writing("the pre-training images", _images),
    Writing("exported weights", _exported),
    Writing("a backbone's card", _own_card),
    Writing("a dataset's card and index", _own_dataset, _draft),
    Writing("a watched training", _watched),
    Writing("the copy of a watched checkpoint", _copied, _to_copy),
    Writing("a bundle", _bundled, finished_run),
    Writing("a figure", _drawn),
    Writing("a picture of a result", _pictured),
    Writing("a kept digest", _digest, optional=True),
)
"""`result.json`, ends and the supervisor's state are written by the same function as a run's specification."""


def contents(place: Path) -> dict[str, bytes]:
    """All files below the folder except locks, and the database's backup, which is written before it."""
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in sorted(place.rglob("*"))
        if path.is_file() and path.suffix not in {".lock", ".bak"}
    }
