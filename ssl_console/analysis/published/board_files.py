"""Result files of public boards in their own formats: the ImageNet attentive board of efficient-probing, and timm's.

Two numbers share a column only if their protocols are the same: on the attentive board that is the image size, the
tokens that are pooled and the number of queries, in timm's files the test images. A row whose weights are those of a
backbone card has the name of the card; every other row is kept under a name of the board's.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from ssl_console.analysis.published.tables import ChosenOn, PublishedColumn, PublishedTable

EP_COLUMNS = frozenset({"method", "arch", "pretrain", "image_size", "lp", "lp_variant", "ep", "ep_queries", "knn"})
TIMM_COLUMNS = frozenset({"model", "top1", "top1_err", "top5", "top5_err", "param_count", "img_size", "crop_pct"})
EP_SOURCE = "results.csv of billpsomas/efficient-probing"
TIMM_SOURCE = "results of huggingface/pytorch-image-models"
IMAGENET_IMAGES = 50_000
PUBLISHED_QUERIES = "32"
EP_CARDS: Mapping[tuple[str, str, str], str] = {
    ("MAE", "ViT-B/16", "IN-1K"): "timm/mae-vit-b16",
    ("MAE", "ViT-L/16", "IN-1K"): "timm/mae-vit-l16",
    ("DINO", "ViT-B/16", "IN-1K"): "timm/dino-vit-b16",
    ("DINOv2", "ViT-B/14", "LVD-142M"): "timm/dinov2-vit-b14",
    ("DINOv2", "ViT-L/14", "LVD-142M"): "timm/dinov2-vit-l14",
    ("DINOv3", "ViT-B/16", "LVD-1689M"): "timm/dinov3-vit-b16",
    ("DINOv3", "ViT-L/16", "LVD-1689M"): "timm/dinov3-vit-l16",
    ("DINOv3", "ViT-7B/16", "LVD-1689M"): "timm/dinov3-vit-7b16",
    ("CLIP", "ViT-B/16", "WIT-400M"): "timm/clip-vit-b16",
    ("CLIP", "ViT-L/14", "WIT-400M"): "timm/clip-vit-l14",
    ("SigLIP2", "ViT-L/16", "WebLI (10B imgs, 109 langs)"): "timm/siglip2-vit-l16",
    ("SigLIP2", "SO400M/14", "WebLI (10B imgs, 109 langs)"): "timm/siglip2-vit-so400m14",
    ("AIMv2", "ViT-L/14", "DFN-2B + COYO + HQITP"): "timm/aimv2-vit-l14",
    ("EVA02", "ViT-L/14", "IN-22K"): "timm/eva02-vit-l14",
    ("Hiera", "ViT-B/16", "IN-1K"): "timm/mae-hiera-base",
    ("PE-Core", "L-14/336", "MetaCLIP-curated 5.4B"): "timm/pe-core-vit-l14",
    ("I-JEPA", "ViT-H/14", "IN-1K"): "timm/ijepa-vit-h14",
}
"""Cards by method, architecture and pretraining data of the board."""


class BoardFileError(ValueError):
    """A file that is not a board, or has a wrong cell; states place and expectation."""


@dataclass(frozen=True)
class TestSet:
    """Test images of one of timm's files."""

    dataset: str
    images: int
    chosen_on: ChosenOn
    about: str


TIMM_FILES: Mapping[str, TestSet] = {
    "results-imagenet": TestSet(
        "imagenet", IMAGENET_IMAGES, "test", "validation images, on which models were selected"
    ),
    "results-imagenet-real": TestSet("imagenet-real", 46_837, "test", "the same images with the labels of ReaL"),
    "results-imagenet-a": TestSet("imagenet-a", 7_500, "fixed", "logits of 200 classes"),
    "results-imagenet-a-clean": TestSet("imagenet-a-clean", 10_000, "test", "validation images of these 200 classes"),
    "results-imagenet-r": TestSet("imagenet-r", 30_000, "fixed", "logits of 200 classes"),
    "results-imagenet-r-clean": TestSet("imagenet-r-clean", 10_000, "test", "validation images of these 200 classes"),
    "results-imagenetv2-matched-frequency": TestSet("imagenet-v2", 10_000, "fixed", "matched frequency"),
    "results-sketch": TestSet("imagenet-sketch", 50_889, "fixed", "1,000 classes"),
}
"""Test images by the name of the file."""


def read_board(path: PurePath, text: str, cards: Mapping[str, str]) -> PublishedTable:
    """The table of a board's file; `cards` are names of backbone cards by the timm tag of their weights.

    Raises BoardFileError for another format, a wrong number or no row.
    """
    rows = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))
    head = [name for name in rows[0] if name is not None] if rows else []
    known = set(head) >= EP_COLUMNS or set(head) >= TIMM_COLUMNS
    long = next((number for number, row in enumerate(rows, start=2) if None in row), None)
    if known and long is not None:
        raise BoardFileError(f"{path.name}: line {long} has more cells than there are columns ({len(head)})")
    if set(head) >= EP_COLUMNS:
        return _attentive_board(rows)
    if set(head) >= TIMM_COLUMNS:
        return _timm_results(path, rows, cards)
    raise BoardFileError(
        f"{path.name}: neither the attentive board (columns {', '.join(sorted(EP_COLUMNS))}) nor timm's results "
        f"({', '.join(sorted(TIMM_COLUMNS))}); its columns are {', '.join(head) or 'none'}"
    )


@dataclass(frozen=True)
class _Cell:
    """One number of a board."""

    column: PublishedColumn
    backbone: str
    value: float


def _table(
    title: str, source: str, note: str, cells: Sequence[_Cell], others: Mapping[str, str], remarks: Mapping[str, str]
) -> PublishedTable:
    columns = tuple(dict.fromkeys(cell.column for cell in cells))
    values = {(cell.backbone, cell.column): cell.value for cell in cells}
    names = dict.fromkeys(cell.backbone for cell in cells)
    rows = {name: tuple(values.get((name, column)) for column in columns) for name in names}
    return PublishedTable(
        title=title, source=source, note=note, columns=columns, rows=rows, others=dict(others), remarks=dict(remarks)
    )


def _number(row: Mapping[str, str | None], name: str, place: str) -> float | None:
    """A cell as a percentage; None where it is empty."""
    text = (row.get(name) or "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 100:
        raise BoardFileError(f"{place}: {name} is {text!r}, not a percentage")
    return value


# --- the attentive board


def _attentive_board(rows: Sequence[Mapping[str, str]]) -> PublishedTable:
    cells: list[_Cell] = []
    others, remarks = {}, {}
    for number, row in enumerate(rows, start=2):
        place = f"line {number}, {row['method']} {row['arch']}"
        card = EP_CARDS.get((row["method"], row["arch"], row["pretrain"]))
        slug = re.sub(r"[^a-z0-9]+", "-", f"{row['method']} {row['arch']}".lower()).strip("-")
        name = card or f"board/{slug}"
        if name in {cell.backbone for cell in cells}:
            raise BoardFileError(f"{place}: a second row of {name}")
        cells += _attentive_cells(row, name, place)
        if card is None:
            others[name] = f"{row['method']} {row['arch']}, {row['pretrain']}"
        if remark := _remark(row):
            remarks[name] = remark
    return _table(
        "ImageNet-1k, attentive board: nearest neighbours, linear probe and attentive probe",
        EP_SOURCE,
        "A column has one image size, one rule of pooling and one number of queries; linear and attentive probes read "
        "features of different widths where a row has that remark. Every score is that of the best epoch, k or "
        "temperature.",
        cells,
        others,
        remarks,
    )


def _attentive_cells(row: Mapping[str, str], name: str, place: str) -> Iterator[_Cell]:
    size = (row["image_size"] or "").strip()
    if not size.isdigit():
        raise BoardFileError(f"{place}: image_size is {size!r}, not a number of pixels")
    at = "" if size == "224" else f"-{size}"
    queries = (row["ep_queries"] or PUBLISHED_QUERIES).strip()
    few = "" if queries == PUBLISHED_QUERIES else f"-q{queries}"
    pooled, tokens = row["lp_variant"] == "pos", row.get("ep_variant") == "ep_all"
    pixels = f"{size} px"
    means, every = ("mean of patches", "-mean") if pooled else ("class token", ""), "-all" if tokens else ""
    trained = "LARS, batch 4096, 90 epochs; best epoch"
    read = "class and patch tokens" if tokens else "patches"
    nearest = f"k-NN of efficient-probing at {pixels}: features before the final norm; best k and T"
    linear = f"linear probe of efficient-probing at {pixels} on the {means[0]}: random resized crops, {trained}"
    attentive = f"efficient probing at {pixels}: {queries} queries on {read}, {trained}"
    kinds = (
        ("knn", "knn", f"ep{at}", nearest),
        ("lp", "linear-heads", f"ep{means[1]}{at}", linear),
        ("ep", "attentive", f"ep{every}{few}{at}", attentive),
    )
    for field, protocol, variant, about in kinds:
        value = _number(row, field, place)
        if value is not None:
            column = PublishedColumn(
                task=f"{protocol}/imagenet", metric="accuracy", table=f"attentive board, {field}", n=IMAGENET_IMAGES,
                variant=variant, protocol=about, source=EP_SOURCE, chosen_on="test",
            )  # fmt: skip
            yield _Cell(column, name, value)


def _remark(row: Mapping[str, str]) -> str:
    """Reasons for which a row is not comparable with the others of its columns."""
    notes = (row.get("notes") or "").lower()
    projected = row.get("loader") == "openclip" and row["lp_variant"] == "cls"
    reasons = (
        (bool(re.search(r"early-stop|manually stopped|epoch-6 peak", notes)), "stopped early"),
        (projected or "3xc" in notes, "linear and attentive probe read different widths"),
        ("attn_pool" in (row.get("gap_reason") or ""), "its own attention pool is not read"),
    )
    return "; ".join(words for holds, words in reasons if holds)


# --- timm


def _timm_results(path: PurePath, rows: Sequence[Mapping[str, str]], cards: Mapping[str, str]) -> PublishedTable:
    known = TIMM_FILES.get(path.stem)
    if known is None:
        raise BoardFileError(
            f"{path.name}: timm's files are recognised by their names, as no column states the test images: "
            f"{', '.join(TIMM_FILES)}"
        )
    column = PublishedColumn(
        task=f"classifier/{known.dataset}", metric="accuracy", table=path.name, n=known.images, variant="timm",
        protocol=f"classifier of the weights, at the size and crop of its card; {known.about}", source=TIMM_SOURCE,
        chosen_on=known.chosen_on,
    )  # fmt: skip
    cells, others, remarks = [], {}, {}
    for number, row in enumerate(rows, start=2):
        place = f"{path.name}, line {number}, {row['model']}"
        value = _number(row, "top1", place)
        if value is None:
            raise BoardFileError(f"{place}: no top1")
        name = cards.get(row["model"], f"timm-results/{row['model']}")
        cells.append(_Cell(column, name, value))
        if name.startswith("timm-results/"):
            others[name] = row["model"]
        remarks[name] = f"{row['img_size']} px, crop {row['crop_pct']}, {row.get('interpolation') or 'unknown'}"
    note = "Classifiers that were trained end to end: nothing that is measured here has this protocol."
    return _table(f"timm, {path.stem.removeprefix('results-')}", TIMM_SOURCE, note, cells, others, remarks)
