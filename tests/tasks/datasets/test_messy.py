"""Real-world datasets: everything is read, or reported as left out, or an option is required."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.datasets.dataset import LEFT_OPEN
from tasks.datasets.folders import Ambiguous
from tasks.datasets.registry import open_dataset
from tasks.datasets.splits import many_shot_indices
from tasks.metrics.classification import average_precisions
from tasks.metrics.scoring import without_left_open
from tests.tasks.datasets.messy import EACH, add, folders, images, notes_text, numbered, save

# -- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".gif", ".jfif", ".JPE", ".webp", ".bmp", ".TIFF", ".ppm", ".avif"])
def test_whatever_pillow_decodes_is_read(ending: str, tmp_path: Path) -> None:
    kind = {".jfif": "JPEG", ".JPE": "JPEG", ".avif": "AVIF"}.get(ending)
    for name, number in numbered():
        save(tmp_path / "data" / name / f"{number}{ending}", number, **({"format": kind} if kind else {}))
    assert images(add(tmp_path / "data")) == 2 * EACH


def test_images_without_an_ending_are_known_by_their_first_bytes(tmp_path: Path) -> None:
    root = folders(tmp_path / "data")
    for path in sorted((root / "bee").iterdir()):
        path.rename(path.with_suffix(""))
    assert images(add(root)) == 2 * EACH


def test_leftovers_of_notebooks_drives_and_archives_are_counted_and_not_read(tmp_path: Path) -> None:
    root = folders(tmp_path / "data")
    for number, place in enumerate(("ant/.ipynb_checkpoints", "ant/@eaDir/1.png", "__MACOSX/ant", "bee/._trash")):
        save(root / place / "copy.png", number)
    (root / "ant" / "notes.txt").write_text("not an image")
    (root / "ant" / "._1.png").write_bytes(b"resource fork")
    found = add(root)
    assert images(found) == 2 * EACH
    assert found.card.classes == 2
    assert "20 images are read; 5 files or lines are left out" in notes_text(found)
    assert "files in .ipynb_checkpoints: 1" in notes_text(found)
    assert "txt files: 1 (ant/notes.txt)" in notes_text(found)


def test_a_class_of_files_that_cannot_be_decoded_is_a_question(tmp_path: Path) -> None:
    root = folders(tmp_path / "data")
    (root / "cow").mkdir()
    (root / "cow" / "1.heic").write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(Ambiguous, match=r"cow has no image that can be read, and 1 \.heic files"):
        add(root)
    assert "cow" in notes_text(add(root, leave_out=True))


def test_a_class_of_which_a_part_cannot_be_decoded_is_a_question(tmp_path: Path) -> None:
    root = folders(tmp_path / "data")
    (root / "bee" / "1.heic").write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(Ambiguous, match=r"1 \.heic files, which cannot be decoded here: convert them"):
        add(root)
    assert images(add(root, leave_out=True)) == 2 * EACH


def test_an_empty_class_folder_is_told(tmp_path: Path) -> None:
    (folders(tmp_path / "data") / "wanted").mkdir()
    assert "wanted" in notes_text(add(tmp_path / "data"))


def test_a_split_without_class_folders_is_a_question(tmp_path: Path) -> None:
    root = folders(tmp_path / "data" / "train").parent
    save(root / "val" / "1.png", 99)
    with pytest.raises(Ambiguous, match="val has no class folders: its 1 image has no class"):
        add(root)


def test_a_folder_beside_splits_is_a_question_and_never_makes_the_splits_classes(tmp_path: Path) -> None:
    root = folders(tmp_path / "data" / "train").parent
    folders(root / "test")
    save(root / "extra" / "1.png", 99)
    with pytest.raises(Ambiguous, match="extra has 1 image and is next to the splits test, train"):
        add(root)
    assert add(root, leave_out=True).card.images == {"train": 2 * EACH, "test": 2 * EACH}


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    root = folders(tmp_path / "data")
    (root / "ant").rename(root / "train")
    assert (add(root).card.classes, images(add(root))) == (2, 2 * EACH)


def test_classes_that_differ_in_capital_letters_are_told(tmp_path: Path) -> None:
    root = folders(tmp_path / "data")
    save(root / "Ant" / "1.png", 99)
    assert "differ only in capital letters" in notes_text(add(root))


def test_copies_of_an_image_under_two_labels_are_named(tmp_path: Path) -> None:
    root = folders(tmp_path / "data")
    save(root / "bee" / "copy.png", 0)
    assert "1 image has copies with another label" in notes_text(add(root, split_column="none"))


def test_a_link_that_leads_nowhere_is_left_out_before_a_split_is_drawn(tmp_path: Path) -> None:
    root = folders(tmp_path / "data")
    (root / "ant" / "gone.png").symlink_to("nowhere.png")
    found = add(root, skip_unreadable=True)
    assert found.card.images == {"train": 16, "test": 4}
    assert "images that cannot be read: 1 (ant/gone.png)" in notes_text(found)


# -- tables ---------------------------------------------------------------------------------------------------------


def table(
    root: Path,
    head: str,
    line: Callable[[str, int], Sequence[str]],
    *,
    separator: str = ",",
    encoding: str = "utf-8",
    name: str = "labels.csv",
) -> Path:
    """A table of twenty images; `line(class, number)` returns the cells after the file name."""
    rows = [head.replace(",", separator)]
    for label, number in numbered():
        save(root / "images" / f"{number}.png", number)
        rows.append(separator.join([f"{number}.png", *line(label, number)]))
    (root / name).write_bytes("\n".join(rows).encode(encoding))
    return root


def half(number: int) -> str:
    return "train" if number % EACH < 6 else "test"


@pytest.mark.parametrize(
    ("separator", "encoding"),
    [(";", "utf-8"), ("\t", "utf-8-sig"), (",", "latin-1"), ("\t", "utf-16"), (";", "utf-16-le")],
)
def test_tables_are_read_in_the_usual_encodings_and_separators(separator: str, encoding: str, tmp_path: Path) -> None:
    def line(label: str, number: int) -> Sequence[str]:
        return label.replace("a", "ä"), half(number)

    table(tmp_path / "data", "image,label,split", line, separator=separator, encoding=encoding)
    found = add(tmp_path / "data")
    assert found.card.images == {"train": 12, "test": 8}
    assert "änt" in (tmp_path / "index.csv").read_text(encoding="utf-8")


def test_bytes_of_no_encoding_are_refused_with_file_and_line(tmp_path: Path) -> None:
    root = table(tmp_path / "data", "image,label", lambda label, _number: (label,))
    content = (root / "labels.csv").read_bytes().replace(b"\n1.png,ant", b"\n1.png,a\x81t")
    (root / "labels.csv").write_bytes(content)
    with pytest.raises(
        ValueError, match=r"labels\.csv, line 3: the byte 0x81 fits no known encoding .* save the file as UTF-8"
    ):
        add(root)


def test_a_column_for_each_class_is_read(tmp_path: Path) -> None:
    def line(label: str, number: int) -> Sequence[str]:
        return str(int(label == "ant")), str(int(label == "bee")), half(number)

    found = add(table(tmp_path / "data", "image,ant,bee,split", line))
    assert (found.card.classes, found.card.images) == (2, {"train": 12, "test": 8})


def test_metadata_of_an_imagefolder_gives_labels_and_its_folders_the_splits(tmp_path: Path) -> None:
    for split in ("train", "test"):
        rows = ["file_name,label"]
        for label, number in numbered():
            save(tmp_path / "data" / split / f"{number}.png", number + (split == "test") * 100)
            rows.append(f"{number}.png,{label}")
        (tmp_path / "data" / split / "metadata.csv").write_text("\n".join(rows))
    assert add(tmp_path / "data").card.images == {"train": 20, "test": 20}


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("split", ("train", "holdout")),
        ("subset", ("TRAINING", "Evaluation")),
        ("is_train", ("TRUE", "FALSE")),
        ("is_test", ("0", "1")),
        ("phase", ("train", "hold-out")),
    ],
)
def test_the_users_split_is_kept_whatever_its_words(column: str, words: tuple[str, str], tmp_path: Path) -> None:
    root = table(tmp_path / "data", f"image,label,{column}", lambda label, k: (label, words[half(k) == "test"]))
    found = add(root)
    assert found.card.images == {"train": 12, "test": 8}
    assert f"the split is the column {column}" in notes_text(found)


def test_folds_and_unknown_words_are_a_question_that_split_answers(tmp_path: Path) -> None:
    root = table(tmp_path / "data", "image,label,fold", lambda label, number: (label, str(number % 5)))
    with pytest.raises(Ambiguous, match=r"the column fold has unknown split names: '0' on 4 lines"):
        add(root)
    assert add(root, split_words=(("4", "test"), ("*", "train"))).card.images == {"train": 16, "test": 4}
    assert add(root, split_column="none").card.images == {"train": 16, "test": 4}
    slip = table(tmp_path / "slip", "image,label,split", lambda label, k: (label, "tets" if k > 17 else half(k)))
    with pytest.raises(Ambiguous, match="'tets' on 2 lines"):
        add(slip)


def test_a_split_of_some_images_alone_is_a_question_and_never_drawn_anew(tmp_path: Path) -> None:
    root = table(tmp_path / "data", "image,label,split", lambda label, k: (label, "" if k % 2 else "train"))
    with pytest.raises(Ambiguous, match="10 images are in train and 10 in no split"):
        add(root)


@pytest.mark.parametrize("joined", ["{}|odd", "{};odd", '"{}, odd"'])
def test_labels_that_seem_several_are_a_question(joined: str, tmp_path: Path) -> None:
    def line(label: str, number: int) -> Sequence[str]:
        return (joined.format(label) if number % 2 else label, half(number))

    root = table(tmp_path / "data", "image,label,split", line)
    with pytest.raises(Ambiguous, match="choose --several for several labels per image, or --single"):
        add(root)
    assert add(root, several=True).card.classes == 3
    assert add(root, several=False).card.classes == 4


def test_a_class_name_with_a_comma_is_one_class(tmp_path: Path) -> None:
    root = table(tmp_path / "data", "image,label", lambda label, _number: (f'"{label}, Tinca {label}"',))
    assert add(root).card.classes == 2


@pytest.mark.parametrize("missing", ["", "nan", "NULL", "<NA>"])
def test_a_missing_label_is_no_class_and_its_line_is_named(missing: str, tmp_path: Path) -> None:
    root = table(tmp_path / "data", "image,label", lambda label, number: (missing if number == 3 else label,))
    found = add(root)
    assert (found.card.classes, images(found)) == (2, 19)
    assert "lines of labels.csv without a label" in notes_text(found)
    assert "line 5: 3.png" in notes_text(found)


def test_an_image_without_any_of_several_labels_is_an_example_of_none(tmp_path: Path) -> None:
    root = table(tmp_path / "data", "image,labels", lambda label, number: ("" if number == 3 else label,))
    found = add(root, several=True)
    assert (found.card.classes, images(found)) == (2, 20)


def test_an_image_in_two_splits_or_under_two_labels_is_named(tmp_path: Path) -> None:
    root = table(tmp_path / "data", "image,label,split", lambda label, number: (label, half(number)))
    whole = (root / "labels.csv").read_text()
    (root / "labels.csv").write_text(f"{whole}\n0.png,bee,train")
    with pytest.raises(Ambiguous, match=r"1 image is listed twice, with two labels, .*0\.png in train as ant and"):
        add(root)
    (root / "labels.csv").write_text(f"{whole}\n0.png,ant,test")
    with pytest.raises(Ambiguous, match=r"1 image is listed in two splits, .*0\.png"):
        add(root)
    (root / "labels.csv").write_text(f"{whole}\n0.png,ant,train")
    assert "lines that list an image again: 1" in notes_text(add(root))


# -- objects --------------------------------------------------------------------------------------------------------


def voc(root: Path) -> Path:
    """Pictures of one object each; in every fifth one the object is difficult."""
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for name, number in numbered():
        save(root / "JPEGImages" / f"{number}.png", number)
        (root / "Annotations").mkdir(exist_ok=True)
        text = f"<object><name>{name}</name><difficult>{int(number % 5 == 4)}</difficult></object>"
        (root / "Annotations" / f"{number}.xml").write_text(f"<annotation>{text}</annotation>")
        lists[half(number)].append(str(number))
    for split, names in lists.items():
        (root / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names))
    return root


def test_difficult_objects_leave_a_label_open_in_the_test_and_their_images_out_of_training(tmp_path: Path) -> None:
    found = add(voc(tmp_path / "data"))
    assert "in which all objects of the class are difficult" in notes_text(found)
    dataset = open_dataset(found.card, Path("/"))
    assert dataset.classes == ("ant", "bee")
    assert (dataset.splits["test"].labels == LEFT_OPEN).sum() == 2
    split = many_shot_indices(dataset)
    assert sum(len(part) for _, part in (*split.train, *split.val)) == 12 - 2
    assert sum(len(part) for _, part in split.test) == 8


def test_an_image_that_leaves_a_label_open_changes_no_precision() -> None:
    random = np.random.default_rng(0)
    scores, labels = random.random((40, 3)), random.integers(0, 2, (40, 3))
    left_open = labels.copy()
    left_open[:10, 0] = LEFT_OPEN
    masked = without_left_open(scores, left_open)
    found = average_precisions(*masked)
    assert found[0] == pytest.approx(average_precisions(scores[10:, :1], labels[10:, :1])[0])
    assert found[1:].tolist() == average_precisions(scores, labels)[1:].tolist()


def test_nearly_black_images_are_duplicates_only_where_their_files_are_equal(tmp_path: Path) -> None:
    def dark(path: Path, number: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.zeros((64, 64, 3), np.uint8)
        values[number, number] = 1
        Image.fromarray(values).save(path)

    for name, number in numbered():
        dark(tmp_path / "data" / "train" / name / f"{number}.png", number)
        dark(tmp_path / "data" / "test" / name / f"{number}.png", number + 20)
    assert "also in train" not in notes_text(add(tmp_path / "data"))
    dark(tmp_path / "data" / "test" / "ant" / "copy.png", 3)
    assert "1 of 21 images of test is also in train" in notes_text(add(tmp_path / "data"))


def test_copies_between_validation_and_test_are_named(tmp_path: Path) -> None:
    for split, first in (("train", 0), ("val", 50), ("test", 100)):
        for name, number in numbered():
            save(tmp_path / "data" / split / name / f"{number}.png", first + number)
    save(tmp_path / "data" / "test" / "ant" / "copy.png", 50)
    assert "1 of 21 images of test is also in val" in notes_text(add(tmp_path / "data"))
