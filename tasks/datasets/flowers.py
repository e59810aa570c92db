"""Oxford 102 Flowers, by torchvision's class (which compares the two .mat files with their published MD5)."""

from __future__ import annotations

from pathlib import Path

from torchvision.datasets import Flowers102

from tasks.card import DatasetCard
from tasks.datasets.dataset import Dataset
from tasks.datasets.listing import file_split
from tasks.datasets.torchvision_listing import list_splits

NAMES = """\
pink primrose, hard-leaved pocket orchid, canterbury bells, sweet pea, english marigold, tiger lily, moon orchid,
bird of paradise, monkshood, globe thistle, snapdragon, colt's foot, king protea, spear thistle, yellow iris,
globe-flower, purple coneflower, peruvian lily, balloon flower, giant white arum lily, fire lily, pincushion flower,
fritillary, red ginger, grape hyacinth, corn poppy, prince of wales feathers, stemless gentian, artichoke, sweet
william, carnation, garden phlox, love in the mist, mexican aster, alpine sea holly, ruby-lipped cattleya, cape
flower, great masterwort, siam tulip, lenten rose, barbeton daisy, daffodil, sword lily, poinsettia, bolero deep
blue, wallflower, marigold, buttercup, oxeye daisy, common dandelion, petunia, wild pansy, primula, sunflower,
pelargonium, bishop of llandaff, gaura, geranium, orange dahlia, pink-yellow dahlia?, cautleya spicata, japanese
anemone, black-eyed susan, silverbush, californian poppy, osteospermum, spring crocus, bearded iris, windflower,
tree poppy, gazania, azalea, water lily, rose, thorn apple, morning glory, passion flower, lotus, toad lily,
anthurium, frangipani, clematis, hibiscus, columbine, desert-rose, tree mallow, magnolia, cyclamen, watercress,
canna lily, hippeastrum, bee balm, ball moss, foxglove, bougainvillea, camellia, mallow, mexican petunia, bromelia,
blanket flower, trumpet creeper, blackberry lily"""
"""The categories in the order of `imagelabels.mat`, written here because not every torchvision has them."""


def read(root: Path, card: DatasetCard) -> Dataset:
    """The official train, val and test splits."""
    names = {name: name for name in ("train", "val", "test")}
    found = list_splits(card, root, lambda at, split: Flowers102(str(at), split=split), names, "flowers-102")
    classes = tuple(NAMES.replace("\n", " ").split(", "))
    splits = {name: file_split(card, name, root, part.files, part.labels, len(classes)) for name, part in found.items()}
    return Dataset(card.name, classes, multi_label=False, splits=splits)
