"""Where each reader's data lie: the key files of a layout, and the folders that may hold them.

Every layout is the one of the paper's code (`../data/<Name>`); torchvision's, which has one more folder level for
some datasets, is accepted too. Needs neither numpy nor torch, so that the console can list what is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from backbones.io.plugins import DATASETS, PlugInProblem, find

VOC = "VOCdevkit/VOC2007"
VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
VOC_YEARS: Mapping[int, tuple[str, ...]] = MappingProxyType(
    {year: (f"VOC{year}/VOCdevkit/VOC{year}", f"VOCdevkit/VOC{year}", f"VOC{year}") for year in (2007, 2012)}
)
"""Where a year's challenge may lie: as the classification data do, as torchvision or as detectron2 have it."""
ADE_SPLITS = ("training", "validation")
ISIC_TRUTH = "ISIC2018_Task3_Training_GroundTruth/ISIC2018_Task3_Training_GroundTruth.csv"


@dataclass(frozen=True)
class Layout:
    """The key files of one reader, relative to the folder that a `read` function is given."""

    required: tuple[tuple[str, ...], ...] = ()
    """What must be there; of several ways to write one, any will do. Empty for data that need no files."""
    optional: tuple[str, ...] = ()
    """Files that change the data if they are there."""
    bases: tuple[str, ...] = ("",)
    """Folder levels below the dataset's folder where the required files may begin."""
    class_folders: tuple[str, ...] = ()
    """Folders (or globs) whose subfolders belong to the signature: their times tell when an image came or went."""
    below_root: bool = True
    """Whether the layout is so particular that it may also begin in the data root itself."""
    arguments: Mapping[str, type] = field(default_factory=dict)
    """The card's `reader_arguments` that the reader takes."""

    @property
    def embedded(self) -> bool:
        """Whether the data come with the package, or are drawn by it."""
        return not self.required


def _needs(*paths: str | tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    return tuple((path,) if isinstance(path, str) else path for path in paths)


def _cifar(folder: str, *files: str) -> Layout:
    return Layout(_needs(*(f"{folder}/{file}" for file in files)))


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
        ),
        "caltech101": Layout(
            _needs("caltech101/101_ObjectCategories"),
            optional=("train.txt", "test.txt"),
            class_folders=("caltech101/101_ObjectCategories",),
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
        ),
        "dtd": Layout(
            _needs("images", *(f"labels/{split}1.txt" for split in ("train", "val", "test"))),
            bases=("", "dtd", "dtd/dtd"),
        ),
        "flowers": Layout(_needs("jpg", "imagelabels.mat", "setid.mat"), bases=("", "flowers-102")),
        "food": Layout(_needs("food-101/images", "food-101/meta/train.json", "food-101/meta/test.json")),
        "pets": Layout(
            _needs("images", "annotations/trainval.txt", "annotations/test.txt"), bases=("", "oxford-iiit-pet")
        ),
        "sun397": Layout(_needs("ClassName.txt", "Training_01.txt", "Testing_01.txt", "a"), bases=("", "SUN397")),
        "voc2007": Layout(
            _needs(
                f"{VOC}/JPEGImages",
                *(
                    f"{VOC}/ImageSets/Main/{name}_{split}.txt"
                    for split in ("train", "val", "test")
                    for name in VOC_CLASSES
                ),
            )
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
            )
        ),
        "ade20k": Layout(
            _needs(
                "objectInfo150.txt", *(f"{kind}/{split}" for kind in ("images", "annotations") for split in ADE_SPLITS)
            ),
            bases=("", "ADEChallengeData2016"),
            class_folders=("images", "annotations"),
        ),
        "nyuv2": Layout(
            _needs(
                "all_images",
                *(
                    f"surfacenormal_metadata/{file}"
                    for file in ("train_SN40.json", "test_SN40.json", "all_normals.pklz", "vocab40.mat")
                ),
            )
        ),
        "imagenet": Layout(
            _needs("train", "val"),
            bases=("", "ILSVRC2012", "ILSVRC/Data/CLS-LOC"),
            class_folders=("train", "val"),
            below_root=False,
        ),
        "cropdiseases": Layout(_needs("dataset/train"), class_folders=("dataset/train",)),
        "eurosat": Layout(_needs("2750"), bases=("", "eurosat"), class_folders=("2750",)),
        "isic": Layout(_needs("ISIC2018_Task3_Training_Input", ISIC_TRUTH)),
        "chestx": Layout(_needs("images", "Data_Entry_2017.csv")),
        "imagefolder": Layout(
            _needs("."),
            class_folders=(".", "[tT]rain*", "[vV]al*", "[tT]est*"),
            below_root=False,
            arguments=MappingProxyType({"path": str}),
        ),
        "listed": Layout(
            _needs("."),
            below_root=False,
            arguments=MappingProxyType({"path": str, "index": str, "multi_label": bool}),
        ),
        "digits": Layout(),
        "shapes": Layout(
            arguments=MappingProxyType(
                {"kind": str, "factor": str, "dense": bool, "train": int, "test": int, "size": int, "seed": int}
            )
        ),
    }
)


def _with_plug_ins() -> tuple[Mapping[str, Layout], Mapping[str, str], tuple[PlugInProblem, ...]]:
    """All layouts by reader, the modules of the plugged-in readers, and what was wrong with plug-ins.

    A plug-in has `LAYOUTS`, of `Layout` by reader, and `READERS`, the full name of each one's module.
    """
    layouts, modules, problems = dict(_BUILT_IN), {}, []
    for plug_in in find(DATASETS).plug_ins:
        readers = getattr(plug_in.module, "READERS", {})
        for name, layout in getattr(plug_in.module, "LAYOUTS", {}).items():
            if name in layouts or name not in readers or not isinstance(layout, Layout):
                problems.append(plug_in.problem(f"the reader {name} exists already, has no module or is no Layout"))
            else:
                layouts[name], modules[name] = layout, str(readers[name])
    return MappingProxyType(layouts), MappingProxyType(modules), tuple(problems)


LAYOUTS, OUTSIDE_READERS, LAYOUT_PROBLEMS = _with_plug_ins()
"""Every reader that a dataset card may name; the modules of those from plug-ins; and why others were left out."""
