"""All dataset readers with their functions, targets, key files and possible folders.

Every layout is that of the paper's code (`../data/<Name>`); torchvision's, which has an additional folder level for
some datasets, is accepted too. Needs neither numpy nor torch, so that the console can list datasets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from backbones.io.plugins import DATASETS, PlugInProblem, find
from tasks.datasets.card import DatasetCard, Layout

VOC = "VOCdevkit/VOC2007"
VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
VOC_YEARS: Mapping[int, tuple[str, ...]] = MappingProxyType(
    {year: (f"VOC{year}/VOCdevkit/VOC{year}", f"VOCdevkit/VOC{year}", f"VOC{year}") for year in (2007, 2012)}
)
"""Possible folders of a year's challenge: those of the classification data, of torchvision and of detectron2."""
READERS = "tasks.datasets.readers"
NYU_LISTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {split: (f"nyu_{split}.txt", f"nyudepthv2_{split}_files_with_gt.txt") for split in ("train", "test")}
)
"""Lists of the training frames: named as by DINOv3 and by BTS."""
ADE_SPLITS = ("training", "validation")
ISIC_TRUTH = "ISIC2018_Task3_Training_GroundTruth/ISIC2018_Task3_Training_GroundTruth.csv"


VTAB_LISTS: Mapping[str, str] = MappingProxyType({"train": "train800.txt", "val": "val200.txt", "test": "test.txt"})
"""List of every split of a task of VTAB-1k."""
MSN_LISTS = (
    *(f"imagenet_subsets{number}/{images}imgs_class.txt" for number in (1, 2) for images in (1, 2, 5)),
    *(f"imagenet_subsets3/{images}imgs_class.txt" for images in (1, 2, 3)),
)
"""MSN's lists of 1, 2 and 5 images per class, three sets; the last one's file of 5 is named 3."""
IMAGENET_LISTS = ("1percent.txt", "10percent.txt", *MSN_LISTS)
"""Published lists of a part of ImageNet's training images."""


def _needs(*paths: str | tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    return tuple((path,) if isinstance(path, str) else path for path in paths)


def _cifar(folder: str, *files: str) -> Layout:
    reader = f"{READERS}.torchvision_datasets:read_cifar"
    return Layout(_needs(*(f"{folder}/{file}" for file in files)), reader=reader)


_BUILT_IN: Mapping[str, Layout] = MappingProxyType(
    {
        "cifar10": _cifar(
            "cifar-10-batches-py", *(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"
        ),
        "cifar100": _cifar("cifar-100-python", "train", "test", "meta"),
        "aircraft": Layout(
            _needs(
                "data/images", "data/variants.txt", *(f"data/images_variant_{s}.txt" for s in ("train", "val", "test"))
            ),
            bases=("", "fgvc-aircraft-2013b"),
            reader=f"{READERS}.torchvision_datasets:read_aircraft",
        ),
        "caltech101": Layout(
            _needs("caltech101/101_ObjectCategories"),
            optional=("train.txt", "test.txt"),
            class_folders=("caltech101/101_ObjectCategories",),
            reader=f"{READERS}.image_lists:read_caltech101",
        ),
        "cars": Layout(
            _needs(
                "cars_train",
                "cars_test",
                "devkit/cars_train_annos.mat",
                ("devkit/cars_test_annos_withlabels.mat", "cars_test_annos_withlabels.mat"),
            ),
            optional=("devkit/cars_meta.mat",),
            bases=("", "stanford_cars"),
            reader=f"{READERS}.image_lists:read_cars",
        ),
        "dtd": Layout(
            _needs("images", *(f"labels/{split}1.txt" for split in ("train", "val", "test"))),
            bases=("", "dtd", "dtd/dtd"),
            reader=f"{READERS}.torchvision_datasets:read_dtd",
        ),
        "flowers": Layout(
            _needs("jpg", "imagelabels.mat", "setid.mat"),
            bases=("", "flowers-102"),
            reader=f"{READERS}.torchvision_datasets:read_flowers",
        ),
        "food": Layout(
            _needs("food-101/images", "food-101/meta/train.json", "food-101/meta/test.json"),
            reader=f"{READERS}.torchvision_datasets:read_food",
        ),
        "pets": Layout(
            _needs("images", "annotations/trainval.txt", "annotations/test.txt"),
            bases=("", "oxford-iiit-pet"),
            reader=f"{READERS}.torchvision_datasets:read_pets",
        ),
        "sun397": Layout(
            _needs("ClassName.txt", "Training_01.txt", "Testing_01.txt", "a"),
            bases=("", "SUN397"),
            reader=f"{READERS}.torchvision_datasets:read_sun397",
        ),
        "voc2007": Layout(
            _needs(
                f"{VOC}/JPEGImages",
                *(
                    f"{VOC}/ImageSets/Main/{name}_{split}.txt"
                    for split in ("train", "val", "test")
                    for name in VOC_CLASSES
                ),
            ),
            reader=f"{READERS}.voc:read_classification",
        ),
        "voc-detection": Layout(
            tuple(
                tuple(f"{folder}/{name}" for folder in VOC_YEARS[year])
                for year, name in (
                    (2007, "ImageSets/Main/trainval.txt"),
                    (2007, "ImageSets/Main/test.txt"),
                    (2007, "Annotations"),
                    (2012, "ImageSets/Main/trainval.txt"),
                    (2012, "Annotations"),
                )
            ),
            reader=f"{READERS}.voc:read_detection",
            targets=("boxes",),
        ),
        "ade20k": Layout(
            _needs(
                "objectInfo150.txt", *(f"{kind}/{split}" for kind in ("images", "annotations") for split in ADE_SPLITS)
            ),
            bases=("", "ADEChallengeData2016"),
            class_folders=("images", "annotations"),
            reader=f"{READERS}.ade20k:read",
            targets=("masks",),
        ),
        **{
            name: Layout(
                _needs(f"gnd_{name}.pkl", "jpg"),
                bases=("", name),
                reader=f"{READERS}.revisited:read",
                targets=("relevance",),
            )
            for name in ("roxford5k", "rparis6k")
        },
        "spair": Layout(
            _needs("JPEGImages", "PairAnnotation/test", "Layout/large/test.txt"),
            bases=("", "SPair-71k"),
            arguments=MappingProxyType({"layout": str}),
            reader=f"{READERS}.keypoint_pairs:read_spair",
            targets=("keypoint-pairs",),
        ),
        "vtab": Layout(_needs(*VTAB_LISTS.values()), below_root=False, reader=f"{READERS}.image_lists:read_vtab"),
        "imagenet-subset": Layout(
            _needs("train", "val"),
            optional=IMAGENET_LISTS,
            bases=("", "ILSVRC2012", "ILSVRC/Data/CLS-LOC"),
            class_folders=("train", "val"),
            below_root=False,
            arguments=MappingProxyType({"list": str}),
            reader=f"{READERS}.class_folders:read_subset",
        ),
        "nyuv2": Layout(
            _needs(
                "all_images",
                *(
                    f"surfacenormal_metadata/{file}"
                    for file in ("train_SN40.json", "test_SN40.json", "all_normals.pklz", "vocab40.mat")
                ),
            ),
            reader=f"{READERS}.nyuv2:read",
            targets=("normals",),
        ),
        "nyuv2-depth": Layout(
            tuple(NYU_LISTS.values()), bases=("", "nyu"), reader=f"{READERS}.nyuv2:read_depth", targets=("depth",)
        ),
        "imagenet": Layout(
            _needs("train", "val"),
            bases=("", "ILSVRC2012", "ILSVRC/Data/CLS-LOC"),
            class_folders=("train", "val"),
            below_root=False,
            reader=f"{READERS}.class_folders:read",
        ),
        "imagenet-shift": Layout(
            _needs("."),
            bases=("imagenetv2-matched-frequency-format-val", "imagenet-a", "imagenet-r", "sketch", ""),
            class_folders=(".",),
            below_root=False,
            reader=f"{READERS}.class_folders:read",
            targets=("shift",),
        ),
        "cropdiseases": Layout(
            _needs("dataset/train"), class_folders=("dataset/train",), reader=f"{READERS}.class_folders:read"
        ),
        "eurosat": Layout(
            _needs("2750"), bases=("", "eurosat"), class_folders=("2750",), reader=f"{READERS}.class_folders:read"
        ),
        "isic": Layout(_needs("ISIC2018_Task3_Training_Input", ISIC_TRUTH), reader=f"{READERS}.image_lists:read_isic"),
        "chestx": Layout(_needs("images", "Data_Entry_2017.csv"), reader=f"{READERS}.image_lists:read_chestx"),
        "imagefolder": Layout(
            _needs("."),
            class_folders=(".", "[tT]rain*", "[vV]al*", "[tT]est*"),
            below_root=False,
            arguments=MappingProxyType({"path": str}),
            reader=f"{READERS}.class_folders:read",
        ),
        "listed": Layout(
            _needs("."),
            below_root=False,
            arguments=MappingProxyType({"path": str, "index": str, "multi_label": bool, "image_column": str}),
            reader=f"{READERS}.csv_index:read",
        ),
        "digits": Layout(reader=f"{READERS}.embedded:read_digits"),
        "shapes": Layout(
            arguments=MappingProxyType(
                {"kind": str, "factor": str, "dense": bool, "train": int, "test": int, "size": int, "seed": int}
            ),
            reader=f"{READERS}.embedded:read_shapes",
            dense_targets=("boxes", "masks", "normals", "depth"),
        ),
        "shapes-pairs": Layout(
            arguments=MappingProxyType({"pairs": int, "size": int, "seed": int}),
            reader=f"{READERS}.keypoint_pairs:read_rendered",
            targets=("keypoint-pairs",),
        ),
    }
)


def targets_of(card: DatasetCard) -> tuple[str, ...]:
    """Targets of a dataset: those on its card, else all of its reader."""
    if card.targets is not None:
        return card.targets
    layout = LAYOUTS.get(card.reader, Layout())
    return layout.targets_for(card.reader_arguments)


def _with_plug_ins() -> tuple[Mapping[str, Layout], tuple[PlugInProblem, ...]]:
    """All layouts by reader, and the problems of plug-ins.

    A plug-in defines `LAYOUTS`, a mapping of reader names to `Layout`; those without a `reader` are named in its
    `READERS`.
    """
    layouts, problems = dict(_BUILT_IN), []
    for plug_in in find(DATASETS).plug_ins:
        modules = getattr(plug_in.module, "READERS", {})
        for name, layout in getattr(plug_in.module, "LAYOUTS", {}).items():
            reader = isinstance(layout, Layout) and (layout.reader or modules.get(name))
            if name in layouts or not reader:
                problems.append(plug_in.problem(f"the reader {name} exists already, has no module or is not a Layout"))
            else:
                layouts[name] = replace(layout, reader=str(reader))
    return MappingProxyType(layouts), tuple(problems)


LAYOUTS, LAYOUT_PROBLEMS = _with_plug_ins()
"""Every reader that a dataset card may name, and the problems of rejected plug-ins."""
