"""Files, folders and columns with another meaning than they seem to have: read correctly, noted, or refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tasks.datasets.folders import Ambiguous
from tests.tasks.datasets.messy import add, folders, images, notes_text, numbered, picture, png, save, shard

TEST = 7
"""Images of each class from this number on are for testing."""


def table(path: Path, head: Sequence[str], lines: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head, *lines])


def listed(root: Path) -> list[tuple[str, str]]:
    """Pictures in `img`, and the lines of a table."""
    for _, number in numbered():
        save(root / "img" / f"{number}.png", number)
    return [(f"{number}.png", name) for name, number in numbered()]


# -- images that are not listed ---------------------------------------------------------------------------------------


def half_a_table(root: Path) -> None:
    table(root / "labels.csv", ("file", "label"), [line for line in listed(root) if int(line[0][:-4]) % 10 < 8])


def lists_without_some(root: Path) -> None:
    lines = listed(root)
    for split, chosen in (("train", (0, 1, 2, 3, 4)), ("test", (5, 6, 7))):
        text = "".join(f"img/{file} {name}\n" for file, name in lines if int(file[:-4]) % 10 in chosen)
        (root / f"{split}.txt").write_text(text)


def voc_without_annotations(root: Path) -> None:
    (root / "Annotations").mkdir(parents=True)
    for name, number in numbered():
        save(root / "JPEGImages" / f"{number}.jpg", number)
        if number % 10 < 8:
            text = f"<annotation><object><name>{name}</name></object></annotation>"
            (root / "Annotations" / f"{number}.xml").write_text(text)


def coco_without_some(root: Path) -> None:
    categories = [{"id": number, "name": name} for number, name in enumerate(("ant", "bee"))]
    chosen = [(name, number) for name, number in numbered() if number % 10 < 8]
    for _, number in numbered():
        save(root / "images" / f"{number}.png", number)
    document = {
        "categories": categories,
        "images": [{"id": number, "file_name": f"{number}.png"} for _, number in chosen],
        "annotations": [{"id": n, "image_id": n, "category_id": ("ant", "bee").index(name)} for name, n in chosen],
    }
    (root / "a.json").write_text(json.dumps(document))


def shards_beside_folders(root: Path) -> None:
    members = [(f"{number}.png", png(number)) for _, number in numbered()]
    shard(root / "s.tar", members + [(f"{number}.cls", name.encode()) for name, number in numbered()])
    for number in range(4):
        save(root / "more" / f"{number}.png", 100 + number)


@pytest.mark.parametrize(
    "write", [half_a_table, lists_without_some, voc_without_annotations, coco_without_some, shards_beside_folders]
)
def test_images_that_nothing_lists_are_counted(write: Callable[[Path], None], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write(tmp_path / "data")
    assert "left out: images that are not listed: 4 (" in notes_text(add(tmp_path / "data"))


# -- folders ---------------------------------------------------------------------------------------------------------


def test_splits_inside_the_class_folders_are_kept(tmp_path: Path) -> None:
    for name, number in numbered():
        split = "train" if number % 10 < TEST else "test"
        save(tmp_path / "data" / name / split / f"{number}.png", number)
    found = add(tmp_path / "data")
    assert (found.card.images, found.card.classes) == ({"train": 14, "test": 6}, 2)
    assert "the split is the folder inside each class folder" in notes_text(found)


@pytest.mark.parametrize("outer", [("animals", "plants"), ("raw", "processed"), ("fold0", "fold1")])
def test_folders_of_class_folders_are_a_question_that_the_layout_answers(
    outer: tuple[str, str], tmp_path: Path
) -> None:
    for place in outer:
        for name, number in numbered():
            save(tmp_path / "data" / place / name / f"{number}.png", number + 50 * outer.index(place))
    with pytest.raises(Ambiguous, match=r"2 folders contain folders of images, e\.g\. .* contains ant, bee"):
        add(tmp_path / "data")
    found = add(tmp_path / "data", layout="class-folders")
    assert found.card.classes == 2
    assert "the first folder is the class" in notes_text(found)


def test_a_single_folder_inside_a_class_is_no_question(tmp_path: Path) -> None:
    for name, number in numbered():
        save(tmp_path / "data" / name / "images" / f"{number}.png", number)
    assert images(add(tmp_path / "data")) == 20


def test_two_folders_of_one_split_are_told(tmp_path: Path) -> None:
    for name, number in numbered():
        split = ("train1", "train2")[number % 2] if number % 10 < TEST else "test"
        save(tmp_path / "data" / split / name / f"{number}.png", number)
    found = add(tmp_path / "data")
    assert found.card.images == {"train": 14, "test": 6}
    assert "the folders train1, train2 together are train" in notes_text(found)


def test_a_folder_around_the_dataset_is_named(tmp_path: Path) -> None:
    folders(tmp_path / "data" / "birds")
    with pytest.raises(ValueError, match=r"its folder birds has the layout class-folders: add .*birds"):
        add(tmp_path / "data")


def test_masks_beside_images_are_a_question_and_left_out_on_request(tmp_path: Path) -> None:
    for name, number in numbered():
        save(tmp_path / "data" / name / f"{name} ({number}).png", number)
        save(tmp_path / "data" / name / f"{name} ({number})_mask.png", 100 + number)
    with pytest.raises(Ambiguous, match=r"20 images are named like masks of others, e\.g\. ant/ant \(0\)_mask\.png"):
        add(tmp_path / "data")
    found = add(tmp_path / "data", leave_out=True)
    assert images(found) == 20
    assert "images named like masks of others: 20" in notes_text(found)
    assert images(add(tmp_path / "data", layout="class-folders")) == 40


def test_a_folder_of_masks_is_no_class_and_a_class_may_be_called_mask(tmp_path: Path) -> None:
    for _, number in numbered():
        save(tmp_path / "data" / "images" / f"{number}.png", number)
        save(tmp_path / "data" / "masks" / f"{number}.png", 50 + number)
        save(tmp_path / "faces" / "mask" / f"{number}.png", number)
        save(tmp_path / "faces" / "no mask" / f"{number + 50}.png", 50 + number)
    with pytest.raises(Ambiguous, match="the folder masks looks like annotations of the images next to it"):
        add(tmp_path / "data")
    assert add(tmp_path / "faces").card.classes == 2


def test_a_class_without_test_images_is_told(tmp_path: Path) -> None:
    root = folders(tmp_path / "data" / "train").parent
    save(root / "test" / "ant" / "1.png", 99)
    assert "1 class has no image in test and cannot be measured: bee" in notes_text(add(root))


def test_animations_and_stacks_are_counted_of_which_the_first_image_is_read(tmp_path: Path) -> None:
    root = folders(tmp_path / "data")
    picture(50).save(root / "ant" / "moving.gif", save_all=True, append_images=[picture(51)])
    picture(60).save(root / "ant" / "stack.tif", save_all=True, append_images=[picture(61), picture(62)])
    assert "2 images of train: animations or stacks" in notes_text(add(root, test_share=0.05, seed=1))


# -- tables ----------------------------------------------------------------------------------------------------------


def test_the_labels_of_a_submission_are_not_taken_for_measured_ones(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for _, number in numbered():
        save(root / ("train" if number % 10 < TEST else "test") / f"{number}.png", number)
    table(root / "train.csv", ("id", "label"), [(f"{n}.png", name) for name, n in numbered() if n % 10 < TEST])
    table(root / "sample_submission.csv", ("id", "label"), [(f"{n}.png", "ant") for _, n in numbered() if n % 10 > 6])
    found = add(root)
    assert images(found) == 14
    assert "(sample_submission.csv)" in notes_text(found)
    assert "images that are not listed: 6 (test/17.png" in notes_text(found)


def test_a_table_without_labels_is_told(tmp_path: Path) -> None:
    root = tmp_path / "data"
    table_lines = listed(root)
    table(root / "train.csv", ("file", "label"), table_lines[:8] + table_lines[10:18])
    table(root / "test.csv", ("file",), [(file,) for file, _ in table_lines[8:10]])
    assert "tables without a column of files and one of labels, or named submission: 1 (test.csv)" in notes_text(
        add(root)
    )


@pytest.mark.parametrize("column", ["patient_id", "PatientID", "video", "Subject"])
def test_images_of_one_group_in_a_split_that_is_drawn_are_told(column: str, tmp_path: Path) -> None:
    lines = listed(tmp_path / "data")
    table(tmp_path / "data" / "a.csv", ("file", "label", column), [(*line, n // 4) for n, line in enumerate(lines)])
    words = f"the column {column} of a.csv holds 5 values for 20 images: a random split does not keep"
    assert words in notes_text(add(tmp_path / "data"))


def test_columns_of_any_name_are_taken_when_they_are_chosen_and_named_when_not(tmp_path: Path) -> None:
    table(tmp_path / "data.csv", ("pic", "kind"), listed(tmp_path / "data"))
    (tmp_path / "data.csv").rename(tmp_path / "data" / "a.csv")
    with pytest.raises(ValueError, match=r"the columns of a\.csv are pic, kind"):
        add(tmp_path / "data")
    assert images(add(tmp_path / "data", file_column="pic", label_column="kind")) == 20


def test_backslashes_between_folders_are_understood(tmp_path: Path) -> None:
    lines = [(f"img\\{file}", name) for file, name in listed(tmp_path / "data")]
    table(tmp_path / "data" / "a.csv", ("file", "label"), lines)
    assert images(add(tmp_path / "data")) == 20


def test_classes_that_differ_in_how_a_number_is_written_are_told(tmp_path: Path) -> None:
    lines = [(file, ("1", "1.0")[n % 2] if name == "ant" else "2") for n, (file, name) in enumerate(listed(tmp_path))]
    table(tmp_path / "a.csv", ("file", "label"), lines)
    assert "spaces, accents' form or zeros: 1 and 1.0" in notes_text(add(tmp_path))


def test_metadata_in_json_lines_is_read_and_goes_before_class_folders(tmp_path: Path) -> None:
    root = folders(tmp_path / "data")
    lines = [json.dumps({"file_name": f"{name}/{number}.png", "label": f"{name}s"}) for name, number in numbered()]
    (root / "metadata.jsonl").write_text("\n".join(lines))
    found = add(root)
    assert (found.layout, images(found)) == ("csv", 20)
    (root / "metadata.jsonl").write_text("\n".join([*lines, "{"]))
    with pytest.raises(ValueError, match=r"metadata\.jsonl, line 21: not JSON"):
        add(root)


def test_captions_beside_classes_in_shards_are_counted(tmp_path: Path) -> None:
    members = [(f"{number}.png", png(number)) for _, number in numbered()]
    members += [(f"{number}.{end}", name.encode()) for name, number in numbered() for end in ("txt", "cls")]
    found = add(shard(tmp_path / "data" / "s.tar", members).parent)
    assert "files of labels or captions with the suffix .txt: 20" in notes_text(found)
