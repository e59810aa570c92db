"""Principal components of patch features of several backbones next to each other, from results of `patch-pca`.

Nothing is encoded: components of the pictured images are stored with each result. Their common space is described in
`tasks.metrics.spectrum.common_colours`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backbones.io.files import whole_file
from ssl_console.system.errors import ConsoleError
from ssl_console.workspace.pictures import Picture

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ssl_console.workspace.paths import Workspace
    from ssl_console.workspace.result import Result

PROTOCOL = "patch-pca"
MOST_BACKBONES = 8
"""Maximum number of columns of a picture."""
MOST_NAME = 200
"""Maximum length of a file name in characters."""


@dataclass(frozen=True)
class PatchMaps:
    """One picture: a row per image, with the image itself first, then one column per backbone."""

    task: str
    backbones: tuple[str, ...]
    pixels: npt.NDArray[np.uint8]

    def save(self, path: Path) -> None:
        """Write a PNG. Raises OSError that names the file."""
        from PIL import Image  # noqa: PLC0415 - most of what the console does needs no pictures

        drawn = io.BytesIO()
        Image.fromarray(self.pixels).save(drawn, format="PNG")
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            file.write(drawn.getbuffer())


def patch_maps(
    workspace: Workspace, results: Sequence[Result], dataset: str, wanted: Sequence[str] = (), run_id: str = ""
) -> PatchMaps:
    """Draw the newest result of each backbone, of the column with most of them, or of that of a run.

    `wanted` restricts the backbones. Raises ConsoleError where fewer than two have results, or some of `wanted` has
    none.
    """
    task = f"{PROTOCOL}/{dataset}"
    found = [one for one in results if one.task == task and (not wanted or one.backbone in wanted)]
    chosen = _chosen(found, run_id)
    missing = [name for name in wanted if name not in chosen]
    if missing or len(chosen) < 2:
        raise ConsoleError(
            f"{', '.join(missing) or dataset} has no results of {task} to draw next to others: "
            f"`ssl-console run -b BACKBONE -t {task}` adds one"
        )
    if len(chosen) > MOST_BACKBONES:
        raise ConsoleError(f"{len(chosen)} backbones have results of {task}: name at most {MOST_BACKBONES} with -b")
    return PatchMaps(task, tuple(chosen), _drawn(workspace, chosen))


def picture_with_others(
    workspace: Workspace, results: Sequence[Result], result: Result, *, save: bool
) -> Picture | None:
    """The picture of a run's backbone and others of its column, in the cache too with `save`.

    None without others, where there are more than fit, or where the file cannot be written.
    """
    from PIL import Image  # noqa: PLC0415 - as above

    try:
        maps = patch_maps(workspace, results, result.task.partition("/")[2], run_id=result.run_id)
        names = "__".join(name.replace("/", "-") for name in ("image", *maps.backbones))
        path = workspace.cache / "pictures" / result.column[:16] / f"{names[:MOST_NAME]}.png"
        if save:
            maps.save(path)
    except (ConsoleError, OSError):
        return None
    return Picture(path, Image.fromarray(maps.pixels))


def _chosen(found: Sequence[Result], run_id: str) -> dict[str, str]:
    """Run by backbone, sorted by name."""
    columns: dict[str, dict[str, str]] = {}
    for result in sorted(found, key=lambda one: (one.finished, one.run_id)):
        columns.setdefault(result.column, {})[result.backbone] = result.run_id
    own = next((one.column for one in found if one.run_id == run_id), None)
    column = own or max(columns, key=lambda name: len(columns[name]), default="")
    return dict(sorted(columns.get(column, {}).items()))


def _drawn(workspace: Workspace, chosen: dict[str, str]) -> npt.NDArray[np.uint8]:
    import numpy as np  # noqa: PLC0415 - as above
    from PIL import Image  # noqa: PLC0415 - as above

    from tasks.metrics.spectrum import common_colours  # noqa: PLC0415 - as above
    from tasks.protocols.result_images import sheet  # noqa: PLC0415 - as above

    maps, images, shown = {}, {}, {}
    for name, run_id in chosen.items():
        path = workspace.run(run_id).predictions
        try:
            with np.load(path, allow_pickle=False) as stored:
                maps[name], images[name], shown[name] = (
                    stored[part] for part in ("patch_components", "thumbnails", "shown")
                )
        except (OSError, ValueError, KeyError) as error:
            raise ConsoleError(f"{path} cannot be read ({error}): repeat {run_id} with `run --force`") from error
    first = next(iter(chosen))
    if any(not np.array_equal(one, shown[first]) for one in shown.values()):
        raise ConsoleError(f"{', '.join(chosen)} have pictures of other images: measure them with the same preset")
    side = images[first].shape[1]
    columns = [images[first], *common_colours(maps).values()]
    return sheet(
        [
            [np.array(Image.fromarray(one[row]).resize((side, side), Image.Resampling.NEAREST)) for one in columns]
            for row in range(len(images[first]))
        ]
    )
