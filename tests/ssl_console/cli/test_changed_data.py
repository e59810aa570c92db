"""From a folder to scores by the command line: effects on data are reported everywhere, and a change is measured."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.ssl_console.cli.shell import Shell

RUN = ("run", "-b", "demo/simclr", "-t", "knn/pets", "--json")


def picture(path: Path, number: int, colour: int) -> None:
    """Noise in which one of the colours is dark; the first test picture of each class is half transparent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(number).integers(0, 256, (32, 32, 4), np.uint8)
    values[:, :, colour] //= 8
    values[:, :, 3] = 128 if number % 20 == 10 else 255
    Image.fromarray(values).save(path, compress_level=0)


def scores(shell: Shell) -> list[float]:
    """In the order of measurement."""
    return [row["value"] for row in sorted(shell("results", "--json").document["results"], key=lambda r: r["finished"])]


@pytest.mark.slow
def test_what_was_done_to_images_is_told_everywhere_and_pictures_that_change_places_are_measured_again(
    shell: Shell, tmp_path: Path
) -> None:
    root = tmp_path / "pets"
    for place, kind in enumerate(("cat", "dog")):
        for number in range(15):
            split = "train" if number < 10 else "test"
            picture(root / split / kind / f"{number}.png", 20 * place + number, place)
    (root / "train" / "cat" / "notes.txt").write_text("not an image")
    assert shell("add", "dataset", str(root)).code == 0
    assert shell(*RUN).code == 0
    (before,) = scores(shell)
    (row,) = shell("results", "--json").document["results"]
    told = "2 images of test: transparent, composited on white"
    assert any(note.startswith(told) for note in row["data_notes"])
    for call in (("rank", "--json"), ("rank", "--csv"), ("rank", "--markdown"), ("show", row["run_id"])):
        shown = shell(*call).out
        assert told in shown, call
        assert ".txt files: 1" in shown.replace("\\", ""), call
    assert told in shell("rank").err
    for number in range(10, 15):
        cat, dog = (root / "test" / kind / f"{number}.png" for kind in ("cat", "dog"))
        contents, times = (cat.read_bytes(), dog.read_bytes()), (cat.stat(), dog.stat())
        assert len(contents[0]) == len(contents[1])
        for path, content, before_it in ((cat, contents[1], times[0]), (dog, contents[0], times[1])):
            path.write_bytes(content)
            os.utime(path, ns=(before_it.st_atime_ns, before_it.st_mtime_ns))
    assert shell(*RUN).code == 0
    assert scores(shell) == [before, pytest.approx(100 - before)], "every test picture has the other label now"
    assert before > 80
