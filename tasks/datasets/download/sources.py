"""Sources of the datasets that can be fetched automatically: addresses and published MD5 sums.

They are those of torchvision's dataset classes, for SUN397 also the authors' partition files, and for ADE20K the
challenge's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

VGG = "https://www.robots.ox.ac.uk/~vgg/data"
VOC_SERVER = "https://thor.robots.ox.ac.uk/pascal/VOC"
EUROSAT_COMMIT = "c877bcd43f099cd0196738f714544e355477f3fd"


@dataclass(frozen=True)
class DownloadSource:
    """One published file of a dataset."""

    url: str
    md5: str | None = None
    """Published MD5 sum, if any."""
    unpack_into: str | None = ""
    """Folder below the dataset's for an archive; None for a file that is used as it is."""
    inner: tuple[str, ...] = ()
    """Archives within the archive: only these are unpacked."""

    @property
    def filename(self) -> str:
        """File name at the source."""
        return self.url.rpartition("/")[2]


SOURCES: Mapping[str, tuple[DownloadSource, ...]] = MappingProxyType(
    {
        "cifar10": (
            DownloadSource(
                "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"
            ),
        ),
        "cifar100": (
            DownloadSource(
                "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"
            ),
        ),
        "aircraft": (DownloadSource(f"{VGG}/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz"),),
        "caltech101": (
            DownloadSource(
                "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",
                "3138e1922a9193bfa496528edbbc45d0",
                unpack_into="caltech101",
                inner=("caltech-101/101_ObjectCategories.tar.gz",),
            ),
        ),
        "dtd": (DownloadSource(f"{VGG}/dtd/download/dtd-r1.0.1.tar.gz", "fff73e5086ae6bdbea199a49dfb8a4c1"),),
        "flowers": (
            DownloadSource(f"{VGG}/flowers/102/102flowers.tgz", "52808999861908f626f3c1f4e79d11fa"),
            DownloadSource(f"{VGG}/flowers/102/imagelabels.mat", "e0620be6f572b9609742df49c70aed4d", unpack_into=None),
            DownloadSource(f"{VGG}/flowers/102/setid.mat", "a5357ecc9cb78c4bef273ce3793fc85c", unpack_into=None),
        ),
        "food": (
            DownloadSource("http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz", "85eeb15f3717b99a5da872d97d918f87"),
        ),
        "pets": (
            DownloadSource(f"{VGG}/pets/data/images.tar.gz", "5c4f3ee8e5d25df40f4fd59a7f44e54c"),
            DownloadSource(f"{VGG}/pets/data/annotations.tar.gz", "95a8c909bbe2e81eed6a22bccdf3f68f"),
        ),
        "sun397": (
            DownloadSource(
                "http://vision.princeton.edu/projects/2010/SUN/SUN397.tar.gz", "8ca2778205c41d23104230ba66911c7a"
            ),
            DownloadSource(
                "https://vision.princeton.edu/projects/2010/SUN/download/Partitions.zip", unpack_into="SUN397"
            ),
        ),
        "ade20k": (DownloadSource("http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip"),),
        "voc2007": (
            DownloadSource(f"{VOC_SERVER}/voc2007/VOCtrainval_06-Nov-2007.tar", "c52e279531787c972589f7e41ab4ae64"),
            DownloadSource(f"{VOC_SERVER}/voc2007/VOCtest_06-Nov-2007.tar", "b6e924de25625d8de591ea690078ad9f"),
        ),
        "voc-detection": (
            DownloadSource(
                f"{VOC_SERVER}/voc2007/VOCtrainval_06-Nov-2007.tar",
                "c52e279531787c972589f7e41ab4ae64",
                unpack_into="VOC2007",
            ),
            DownloadSource(
                f"{VOC_SERVER}/voc2007/VOCtest_06-Nov-2007.tar",
                "b6e924de25625d8de591ea690078ad9f",
                unpack_into="VOC2007",
            ),
            DownloadSource(
                f"{VOC_SERVER}/voc2012/VOCtrainval_11-May-2012.tar",
                "6cd6e144f989b92b3379bac3b3de84fd",
                unpack_into="VOC2012",
            ),
        ),
        "eurosat": (
            DownloadSource(
                f"https://huggingface.co/datasets/torchgeo/eurosat/resolve/{EUROSAT_COMMIT}/EuroSAT.zip",
                "c8fa014336c82ac7804f0398fcb19387",
            ),
        ),
    }
)
"""Sources by reader."""
